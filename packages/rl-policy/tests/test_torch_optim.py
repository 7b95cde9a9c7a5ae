"""Our optimisers on one flat vector do what torch's do parameter by parameter."""

from __future__ import annotations

from importlib import import_module

import pytest
from numpy.testing import assert_allclose

pytestmark = pytest.mark.torch


def bind(flat, grads):
    """Fill `flat.grad`, as the learner does."""
    import_module("rl_policy.torch.backend")._bind(flat, grads)


def parameters(torch):
    torch.manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape)) for shape in [(3, 2), (2,), ()]]


@pytest.mark.parametrize("name", ["Adam", "RMSprop", "SGD"])
def test_steps_equal_torchs(name):
    torch, ours = import_module("torch"), import_module("rl_policy.torch")
    left, right = parameters(torch), parameters(torch)
    options = {"SGD": {}}.get(name, {"eps": 1e-5})
    reference = getattr(torch.optim, name)(left, lr=0.01, **options)
    flat = getattr(ours, name)(right)
    for step in range(5):
        grads = [torch.full_like(p, 0.5 - step) * p.detach() for p in left]
        for p, g in zip(left, grads, strict=True):
            p.grad = g
        bind(flat.flat, grads)
        reference.step()
        flat.step(0.01)
    for p, q in zip(left, right, strict=True):
        assert_allclose(p.detach(), q.detach(), rtol=1e-5)


def test_adam_on_paper():
    """First step: m̂ = g, v̂ = g², so θ moves by lr · g / (|g| + ε)."""
    torch, ours = import_module("torch"), import_module("rl_policy.torch")
    p = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    adam = ours.Adam([p], epsilon=1.0)
    bind(adam.flat, [torch.tensor([3.0, -1.0])])
    adam.step(0.1)
    assert_allclose(p.detach(), [1 - 0.1 * 3 / 4, -2 + 0.1 * 1 / 2], rtol=1e-5)


def test_parameters_are_views_of_one_vector():
    torch, ours = import_module("torch"), import_module("rl_policy.torch")
    layer = torch.nn.Linear(2, 3)
    flat = ours.FlatParameters(layer.parameters())
    before = layer(torch.ones(1, 2)).detach().clone()
    flat.values.mul_(2.0)
    assert_allclose(layer(torch.ones(1, 2)).detach(), 2 * before, rtol=1e-6)
    bind(flat, [torch.ones(3, 2), None])
    assert flat.grad.tolist() == [1.0] * 6 + [0.0] * 3
    layer.weight.grad = torch.full((3, 2), 5.0)
    layer.bias.grad = None
    flat.gather_grad()
    assert flat.grad.tolist() == [5.0] * 6 + [0.0] * 3
    layer.weight.grad.mul_(2.0)
    assert flat.grad.tolist() == [10.0] * 6 + [0.0] * 3


def test_mixed_parameters_are_refused():
    torch, ours = import_module("torch"), import_module("rl_policy.torch")
    mixed = [torch.nn.Parameter(torch.zeros(1)), torch.nn.Parameter(torch.zeros(1).double())]
    with pytest.raises(ValueError, match="one dtype on one device"):
        ours.Adam(mixed)
    with pytest.raises(ValueError, match="no parameter at all"):
        ours.Adam([])
