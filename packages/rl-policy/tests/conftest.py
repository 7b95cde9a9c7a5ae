"""Array libraries to run a test with: ask for the fixture `lib`."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest

from rl_policy.xp import load_namespace


class Library:
    """An array library: its namespace, how to make its arrays, and how to read them."""

    def __init__(self, name):
        self.name = name
        self.xp = load_namespace(name)
        self.plain = self.xp.to_numpy

    def array(self, value, dtype=None):
        """Make an array; lists of floats become float32, NumPy arrays keep their dtype."""
        array = np.array(value, dtype=dtype)
        if dtype is None and array.dtype == np.float64 and not isinstance(value, np.ndarray):
            array = array.astype(np.float32)
        return array if self.name == "numpy" else import_module("torch").from_numpy(array)


@pytest.fixture(params=["numpy", pytest.param("torch", marks=pytest.mark.torch)])
def lib(request):
    return Library(request.param)
