from __future__ import annotations

import numpy as np
import pytest

from rl_policy import masked_mean


def test_without_padding_it_is_the_mean(lib):
    assert float(masked_mean(lib.array([1.0, 2.0, 6.0]), {})) == pytest.approx(3.0)


def test_padding_does_not_count_whatever_it_holds(lib):
    x = lib.array([1.0, 2.0, np.inf])
    valid = lib.array([True, True, False], dtype=bool)
    assert float(masked_mean(x, {"valid": valid})) == pytest.approx(1.5)
