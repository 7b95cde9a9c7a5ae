"""What tests are run with: array libraries (`lib`), ways to learn (`learning`, `eager`)."""

from __future__ import annotations

from importlib import import_module

import learning as ways
import numpy as np
import pytest

from rl_policy.xp import load_namespace


class Library:
    """An array library: its namespace, how to make its arrays, and how to read them.

    `traced` is TensorFlow with every function, and every method of a distribution, in a graph.
    """

    def __init__(self, name):
        self.name = name
        self.module = load_namespace("tensorflow" if name == "traced" else name)
        self.xp = import_module("traced").TracedNamespace() if name == "traced" else self.module
        self.plain = self.module.to_numpy

    def array(self, value, dtype=None):
        """Make an array; lists of floats become float32, NumPy arrays keep their dtype."""
        array = np.array(value, dtype=dtype)
        if dtype is None and array.dtype == np.float64 and not isinstance(value, np.ndarray):
            array = array.astype(np.float32)
        if self.name == "torch":
            return import_module("torch").from_numpy(array)
        return array if self.name == "numpy" else import_module("tensorflow").constant(array)

    def run(self, function, *arrays):
        """Call `function(*arrays)`, all of it in one graph where this library is traced."""
        if self.name == "traced":
            function = import_module("traced").traced(function, known=True)
        return function(*arrays)

    def dist(self, kind, inputs):
        """Make a distribution of `inputs`; traced, each of its methods is a graph of its own."""
        inputs = self.array(inputs)
        traced = self.name == "traced"
        return import_module("traced").TracedDist(kind, inputs) if traced else kind(inputs)

    def grads(self, function, *arrays):
        """Give the gradients of `function(*arrays)`, added up, as NumPy arrays."""
        if self.name == "torch":
            torch = import_module("torch")
            leaves = [x.clone().requires_grad_() for x in arrays]
            total = function(*leaves).sum()
            found = torch.autograd.grad(total, leaves, allow_unused=True)
        else:
            tf = import_module("tensorflow")

            def slopes(*leaves):
                with tf.GradientTape() as tape:
                    tape.watch(leaves)
                    total = tf.reduce_sum(function(*leaves))
                zero = tf.UnconnectedGradients.ZERO
                return tape.gradient(total, leaves, unconnected_gradients=zero)

            found = self.run(slopes, *arrays)
        return [
            np.zeros_like(self.plain(x)) if g is None else self.plain(g)
            for x, g in zip(arrays, found, strict=True)
        ]


LIBRARIES = [
    "numpy",
    pytest.param("torch", marks=pytest.mark.torch),
    pytest.param("tensorflow", marks=pytest.mark.tensorflow),
    pytest.param("traced", marks=pytest.mark.tensorflow),
]


def pytest_generate_tests(metafunc):
    """Modules with `TRACED = True`, whose tests go through `lib.xp`, `run` or `dist`, trace too."""
    if "lib" in metafunc.fixturenames:
        traced = getattr(metafunc.module, "TRACED", False)
        metafunc.parametrize("lib", LIBRARIES if traced else LIBRARIES[:3], indirect=True)


@pytest.fixture
def lib(request):
    return Library(request.param)


@pytest.fixture(params=LIBRARIES[1:])
def autograd(request):
    """A `Library` that has gradients."""
    return Library(request.param)


@pytest.fixture(params=ways.EVERY)
def learning(request):
    """A `Learning`, whatever the framework."""
    return ways.Learning(request.param)


@pytest.fixture(params=ways.EAGER)
def eager(request):
    """A `Learning` in which a loss's Python runs at each update."""
    return ways.Learning(request.param)
