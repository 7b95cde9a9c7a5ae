"""One conformance test that every implementation of the array namespace has to pass."""

from __future__ import annotations

import math
from importlib import import_module

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from rl_policy.xp import NAMES, NAMESPACES, array_namespace, load_namespace

TRACED = True


def close(lib, got, expected, dtype=None):
    """Check values, that the result is an array of the library, and perhaps its dtype."""
    assert array_namespace(got) is lib.module
    plain = lib.plain(got)
    assert_allclose(plain, expected, rtol=1e-6)
    assert plain.shape == np.shape(expected)
    if dtype is not None:
        assert plain.dtype == dtype


def test_has_every_name_and_no_other_public_function(lib):
    public = {
        name
        for name, value in vars(lib.module).items()
        if callable(value) and not name.startswith("_") and name not in ("Callable", "Sequence")
    } - {"Any", "TypeAlias", "Array", "partial"}
    assert public == set(NAMES)


ELEMENTWISE = {
    "abs": abs,
    "exp": math.exp,
    "floor": math.floor,
    "square": lambda x: x * x,
    "sign": lambda x: (x > 0) - (x < 0),
    "tanh": math.tanh,
    "relu": lambda x: max(x, 0.0),
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "softplus": lambda x: math.log(1 + math.exp(x)),
    "log": math.log,
    "log1p": math.log1p,
    "sqrt": math.sqrt,
}


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise(lib, name):
    values = [0.5, 1.0, 2.5] if name in ("log", "log1p", "sqrt") else [-2.5, -0.5, 0.0, 1.5]
    expected = [ELEMENTWISE[name](v) for v in values]
    close(lib, getattr(lib.xp, name)(lib.array([values])), [expected], np.float32)


def test_sigmoid_and_softplus_stay_finite_at_the_ends_of_float32(lib):
    low = lib.xp.float_min(lib.array([0.0]))
    x = lib.array([low, -80.0, 80.0, -low])
    assert_allclose(lib.xp.to_numpy(lib.xp.sigmoid(x)), [0, math.exp(-80), 1, 1], rtol=1e-5)
    assert_allclose(lib.xp.to_numpy(lib.xp.softplus(x)), [0, math.exp(-80), 80, -low], rtol=1e-5)


def test_isfinite(lib):
    got = lib.xp.isfinite(lib.array([1.0, math.inf, math.nan]))
    assert_array_equal(lib.xp.to_numpy(got), [True, False, False])


def test_maximum_minimum_and_clip_take_numbers_and_arrays(lib):
    x, y = lib.array([-2.0, 0.5, 3.0]), lib.array([1.0, 0.0, 5.0])
    close(lib, lib.xp.maximum(x, y), [1, 0.5, 5])
    close(lib, lib.xp.maximum(x, 0.0), [0, 0.5, 3], np.float32)
    close(lib, lib.xp.maximum(0.0, x), [0, 0.5, 3], np.float32)
    close(lib, lib.xp.minimum(x, y), [-2, 0, 3])
    close(lib, lib.xp.minimum(x, 1.0), [-2, 0.5, 1], np.float32)
    close(lib, lib.xp.clip(x, -1.0, 1.0), [-1, 0.5, 1], np.float32)
    close(lib, lib.xp.clip(x, y - 1, y), [0, 0, 4])


def test_where_gives_a_number_the_dtype_of_the_array(lib):
    x = lib.array([1.0, 2.0])
    close(lib, lib.xp.where(x > 1.5, x, 0.0), [0, 2], np.float32)
    close(lib, lib.xp.where(x > 1.5, lib.xp.float_min(x), x), [1, np.finfo("f4").min], np.float32)


def test_comparisons_and_operators(lib):
    x, y = lib.array([1, 2, 3]), lib.array([1, 5, 3])
    assert_array_equal(lib.xp.to_numpy(lib.xp.equal(x, y)), [True, False, True])
    assert_array_equal(lib.xp.to_numpy(lib.xp.not_equal(x, 2)), [True, False, True])
    assert_array_equal(lib.xp.to_numpy((x < y) | ~(x > 2) & (x == y)), [True, True, False])


def test_reductions(lib):
    x = lib.array([[1.0, 2.0], [3.0, 6.0]])
    for name, whole, rows in [
        ("sum", 12, [3, 9]),
        ("mean", 3, [1.5, 4.5]),
        ("max", 6, [2, 6]),
        ("min", 1, [1, 3]),
    ]:
        reduce = getattr(lib.xp, name)
        assert float(reduce(x)) == whole
        close(lib, reduce(x, axis=-1), rows, np.float32)
        close(lib, reduce(x, axis=1, keepdims=True), np.reshape(rows, (2, 1)))
    close(lib, lib.xp.sum(x > 1.5, axis=-1), [1, 2], np.int64)
    close(lib, lib.xp.sum(lib.xp.astype(x, "int8"), axis=0), [4, 8], np.int64)


def test_argmax_gives_the_first_of_equals_and_the_first_true(lib):
    close(lib, lib.xp.argmax(lib.array([[1.0, 3.0, 3.0]]), axis=-1), [1], np.int64)
    close(lib, lib.xp.argmax(lib.array([[1.0, 3.0, 3.0]]) > 2, axis=-1), [1], np.int64)
    close(lib, lib.xp.argmax(lib.array([[1.0], [3.0]]), axis=0), [1], np.int64)


def test_cumsum_is_unchanged_by_zeros(lib):
    close(lib, lib.xp.cumsum(lib.array([[1.0, 2.0, 4.0]]), axis=-1), [[1, 3, 7]], np.float32)
    x = np.random.default_rng(0).random((50, 200)).astype(np.float32)
    x[:, ::3] = 0
    sums = lib.xp.to_numpy(lib.xp.cumsum(lib.array(x), axis=-1))
    assert (sums[:, 3::3] == sums[:, 2:-1:3]).all()
    assert (np.diff(sums) >= 0).all()


def test_log_space_functions_are_stable(lib):
    x = lib.array([[1000.0, 1000.0], [-1000.0, 0.0]])
    close(lib, lib.xp.logsumexp(x, axis=-1), [1000 + math.log(2), 0], np.float32)
    close(lib, lib.xp.logsumexp(x, axis=-1, keepdims=True), [[1000 + math.log(2)], [0]])
    close(lib, lib.xp.softmax(x, axis=-1), [[0.5, 0.5], [0, 1]])
    close(lib, lib.xp.log_softmax(x), [[-math.log(2)] * 2, [-1000, 0]])
    low = lib.xp.float_min(x)
    close(lib, lib.xp.softmax(lib.array([[low, 3.0, low]])), [[0, 1, 0]])


def test_matmul_and_one_hot(lib):
    close(lib, lib.xp.matmul(lib.array([[1.0, 2.0]]), lib.array([[3.0], [4.0]])), [[11]])
    expected = [[0, 1, 0], [0, 0, 0]]
    close(lib, lib.xp.one_hot(lib.array([1, 7]), 3), expected, np.float32)


def test_shapes(lib):
    x = lib.array(np.arange(6.0).reshape(2, 3))
    assert tuple(map(int, lib.xp.shape(x))) == (2, 3)
    close(lib, lib.xp.reshape(x, (-1, 2)), [[0, 1], [2, 3], [4, 5]])
    close(lib, lib.xp.transpose(x, (1, 0)), [[0, 3], [1, 4], [2, 5]])
    close(lib, lib.xp.expand_dims(x, axis=1), [[[0, 1, 2]], [[3, 4, 5]]])
    close(lib, lib.xp.broadcast_to(lib.array([1.0, 2.0]), (2, 2)), [[1, 2], [1, 2]])
    close(lib, lib.xp.flip(x, axis=0), [[3, 4, 5], [0, 1, 2]])
    close(lib, x[..., -1:], [[2], [5]])
    close(lib, x[:, None, 0], [[0], [3]])


def test_join_and_split(lib):
    x, y = lib.array([[1.0, 2.0]]), lib.array([[3.0, 4.0]])
    close(lib, lib.xp.concat([x, y], axis=-1), [[1, 2, 3, 4]])
    close(lib, lib.xp.stack([x, y], axis=0), [[[1, 2]], [[3, 4]]])
    first, second = lib.xp.split(lib.array([[1.0, 2.0, 3.0]]), [1, 2])
    close(lib, first, [[1]])
    close(lib, second, [[2, 3]])
    with pytest.raises(ValueError, match=r"sizes \(1, 1\) do not add up to 3"):
        lib.module.split(lib.array([[1.0, 2.0, 3.0]]), (1, 1))


def test_take(lib):
    x = lib.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    close(lib, lib.xp.take(x, lib.array([2, 0, 0]), axis=-1), [[3, 1, 1], [6, 4, 4]])
    close(lib, lib.xp.take_along_axis(x, lib.array([[2], [0]]), axis=-1), [[3], [4]])
    close(lib, lib.xp.take_along_axis(x, lib.array([[1, 0, 1]]), axis=0), [[4, 2, 6]])
    cube, index = np.arange(24.0, dtype=np.float32).reshape(2, 3, 4), np.arange(6) % 4
    for axis, shape in [(0, (1, 3, 4)), (1, (2, 2, 4)), (2, (2, 3, 1))]:
        picks = np.resize(index, shape) % cube.shape[axis]
        expected = np.take_along_axis(cube, picks, axis=axis)
        close(lib, lib.xp.take_along_axis(lib.array(cube), lib.array(picks), axis=axis), expected)


def test_constants_and_dtypes(lib):
    x = lib.array([1.5, 2.5])
    close(lib, lib.xp.zeros_like(x), [0, 0], np.float32)
    close(lib, lib.xp.ones_like(x), [1, 1], np.float32)
    close(lib, lib.xp.full_like(x, 7), [7, 7], np.float32)
    close(lib, lib.xp.asarray([1, 2, 3], x), [1, 2, 3], np.float32)
    close(lib, lib.xp.asarray(np.array([1, 2]), x, dtype="int64"), [1, 2], np.int64)
    for dtype in ("float32", "float64", "int8", "int32", "int64", "bool"):
        assert lib.xp.to_numpy(lib.xp.astype(x, dtype)).dtype == np.dtype(dtype)
    assert lib.xp.float_min(lib.array([1.0], "float64")) == np.finfo("float64").min
    close(lib, lib.xp.stop_gradient(x), [1.5, 2.5])


def test_scan_carries_and_stacks_in_the_order_of_its_input(lib):
    def discount(carry, x):
        total = x + 0.5 * carry
        return total, total

    x = lib.array([[1.0], [2.0], [4.0]])
    start = lib.array([8.0])
    last, totals = lib.xp.scan(discount, start, x)
    close(lib, totals, [[5], [4.5], [6.25]])
    close(lib, last, [6.25])
    last, totals = lib.xp.scan(discount, start, x, reverse=True)
    close(lib, totals, [[4], [6], [8]])
    close(lib, last, [4])


def test_scan_over_several_arrays_gives_several(lib):
    def step(carry, row):
        x, keep = row
        return x + keep * carry, (carry, x * 10)

    x, keep = lib.array([1.0, 2.0, 3.0]), lib.array([1.0, 0.0, 1.0])
    last, (carries, tens) = lib.xp.scan(step, lib.array(5.0), (x, keep))
    close(lib, carries, [5, 6, 2])
    close(lib, tens, [10, 20, 30])
    close(lib, last, 5)


def test_namespace_is_found_by_type_and_remembered(lib):
    x = lib.array([1.0])
    assert array_namespace(x) is lib.module
    assert array_namespace(1.0, x, 3, True) is lib.module
    assert NAMESPACES[type(x)] is lib.module


def test_namespace_of_numpy_scalars():
    assert array_namespace(np.float32(1)) is load_namespace("numpy")


@pytest.mark.torch
def test_namespace_of_a_subclass():
    parameter = import_module("torch").nn.Parameter(import_module("torch").zeros(2))
    assert array_namespace(parameter) is load_namespace("torch")


@pytest.mark.torch
def test_mixed_libraries_are_refused():
    with pytest.raises(TypeError, match="arrays of two libraries are mixed"):
        array_namespace(np.zeros(2), import_module("torch").zeros(2))


@pytest.mark.tensorflow
def test_namespace_of_tensorflows_variables_and_of_keras_ones():
    tf, xp = import_module("tensorflow"), load_namespace("tensorflow")
    for variable in (tf.Variable([1.0, 2.0]), import_module("keras").Variable([1.0, 2.0])):
        assert array_namespace(variable) is xp
        assert xp.float_min(variable) == np.finfo("f4").min
        assert xp.to_numpy(xp.exp(variable * 2.0)).tolist() == pytest.approx([7.38906, 54.59815])
        assert xp.to_numpy(xp.asarray([3], variable)).dtype == np.float32
        assert xp.to_numpy(xp.sum(variable)) == xp.to_numpy(xp.max(variable)) + 1 == 3


@pytest.mark.tensorflow
def test_a_graph_tells_what_it_knows_of_a_shape_and_has_no_values():
    tf, xp = import_module("tensorflow"), load_namespace("tensorflow")
    seen = []

    @tf.function(input_signature=[tf.TensorSpec([None, 3])])
    def graph(x):
        seen.append((xp.shape(x), array_namespace(x)))
        with pytest.raises(TypeError, match=r"x:0 has no value while TensorFlow traces"):
            xp.to_numpy(x)
        return xp.reshape(x, (xp.shape(x)[0] * 3, 1))

    assert graph(tf.zeros((2, 3))).shape == (6, 1)
    (rows, size), namespace = seen[0]
    assert (array_namespace(rows), size, namespace) == (xp, 3, xp)


# Gradients


def test_gradients_stop_and_flow(autograd):
    xp, x = autograd.module, autograd.array([2.0])
    (grad,) = autograd.grads(lambda x: xp.stop_gradient(x) * xp.square(x), x)
    assert grad.tolist() == [8.0]


SLOPES = {
    "abs": (np.sign, -2),
    "exp": (np.exp, -2),
    "log": (np.reciprocal, 0.3),
    "log1p": (lambda x: 1 / (1 + x), -0.5),
    "sqrt": (lambda x: 0.5 / np.sqrt(x), 0.3),
    "square": (lambda x: 2 * x, -2),
    "tanh": (lambda x: 1 - np.tanh(x) ** 2, -2),
    "sigmoid": (lambda x: np.exp(-x) / (1 + np.exp(-x)) ** 2, -2),
    "softplus": (lambda x: 1 / (1 + np.exp(-x)), -2),
    "relu": (lambda x: (x > 0).astype(x.dtype), -2),
    "floor": (np.zeros_like, -2),
    "sign": (np.zeros_like, -2),
    "lgamma": (load_namespace("numpy").digamma, 0.3),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", SLOPES)
def test_elementwise_gradients(autograd, name, dtype):
    slope, low = SLOPES[name]
    x = (low + 0.37 * np.arange(12)).astype(dtype)
    (grad,) = autograd.grads(getattr(autograd.module, name), autograd.array(x))
    assert grad.dtype == dtype
    assert_allclose(grad, slope(x), rtol=1e-10 if dtype == "float64" else 2e-5)


def test_gradients_at_a_bound_are_one_and_beyond_it_none(autograd):
    xp, x = autograd.module, autograd.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    one_sided = [
        (lambda x: xp.clip(x, -1.0, 1.0), [0, 1, 1, 1, 0]),
        (lambda x: xp.maximum(x, -1.0), [0, 1, 1, 1, 1]),
        (lambda x: xp.maximum(-1.0, x), [0, 1, 1, 1, 1]),
        (lambda x: xp.minimum(x, 1.0), [1, 1, 1, 1, 0]),
        (lambda x: xp.minimum(1.0, x), [1, 1, 1, 1, 0]),
        (xp.relu, [0, 0, 0, 1, 1]),
    ]
    for function, expected in one_sided:
        assert autograd.grads(function, x)[0].tolist() == expected


def test_gradients_between_two_arrays_add_up_to_one(autograd):
    x, y = autograd.array([1.0, 2.0, 3.0]), autograd.array([2.0, 2.0, 2.0])
    for name, expected in [("maximum", [0, 1]), ("minimum", [1, 0])]:
        to_x, to_y = autograd.grads(getattr(autograd.module, name), x, y)
        assert (to_x + to_y).tolist() == [1, 1, 1]
        assert to_x[[0, 2]].tolist() == expected


def test_gradients_of_reductions(autograd):
    xp, x = autograd.module, autograd.array([[1.0, 3.0, 3.0]])
    weights = np.exp([1, 3, 3]) / np.exp([1, 3, 3]).sum()
    for function, expected in [
        (lambda x: xp.max(x, axis=-1), [0, 0.5, 0.5]),
        (lambda x: xp.min(x), [1, 0, 0]),
        (lambda x: xp.mean(x, axis=-1), [1 / 3] * 3),
        (lambda x: xp.logsumexp(x, axis=-1), weights),
        (lambda x: xp.log_softmax(x)[..., 0], [1, 0, 0] - weights),
        (lambda x: xp.cumsum(x, axis=-1), [3, 2, 1]),
        (lambda x: xp.take_along_axis(x, xp.argmax(x, axis=-1)[..., None], axis=-1), [0, 1, 0]),
        (lambda x: xp.take(x, xp.asarray([2, 2, 0], x, dtype="int64"), axis=-1), [1, 0, 2]),
        (lambda x: xp.split(x, [1, 2])[1] * 2.0, [0, 2, 2]),
    ]:
        assert_allclose(autograd.grads(function, x)[0], [expected], rtol=1e-6)


def test_what_where_leaves_out_has_no_gradient(autograd):
    xp, x = autograd.module, autograd.array([-1.0, 4.0])
    (grad,) = autograd.grads(lambda x: xp.where(x > 0, x * x, xp.float_min(x)), x)
    assert grad.tolist() == [0, 8]
    # The slope of what was left out is multiplied by 0, so it has to be finite: bound it first.
    safe = autograd.grads(lambda x: xp.where(x > 0, xp.sqrt(xp.maximum(x, 1.0)), 0.0), x)
    assert safe[0].tolist() == [0, 0.25]


@pytest.mark.parametrize("rows", [5, 40])
@pytest.mark.parametrize("reverse", [False, True])
def test_gradients_through_scan(autograd, rows, reverse):
    xp = autograd.module
    x = np.linspace(-1, 1, rows * 2).reshape(rows, 2)
    decay = np.full((2,), 0.9)

    def total(x, decay):
        last, (each, _) = xp.scan(
            lambda carry, row: (carry * decay + row[0], (carry * row[1], row[0])),
            xp.zeros_like(decay),
            (x, xp.square(x)),
            reverse=reverse,
        )
        return xp.sum(last) + xp.sum(each)

    def loop(x, decay):
        carry, sums = np.zeros(2), 0.0
        for row in x[::-1] if reverse else x:
            sums, carry = sums + (carry * row**2).sum(), carry * decay + row
        return carry.sum() + sums

    arrays = [autograd.array(x), autograd.array(decay)]
    assert_allclose(autograd.plain(autograd.run(total, *arrays)), loop(x, decay))
    to_x, to_decay = autograd.grads(total, *arrays)
    step = 1e-6 * np.eye(1, x.size, 3).reshape(x.shape)
    assert_allclose(to_x[1, 1], (loop(x + step, decay) - loop(x - step, decay)) / 2e-6, rtol=1e-6)
    step = np.array([1e-6, 0])
    near = (loop(x, decay + step) - loop(x, decay - step)) / 2e-6
    assert_allclose(to_decay[0], near, rtol=1e-6)


def test_wrong_arguments_teach():
    with pytest.raises(TypeError, match="list is no array of numpy or tensorflow or torch"):
        array_namespace([1.0])
    with pytest.raises(TypeError, match="got only Python numbers"):
        array_namespace(1.0)
    with pytest.raises(
        ValueError, match="no array namespace for 'jax'; known: numpy, tensorflow, torch"
    ):
        load_namespace("jax")
