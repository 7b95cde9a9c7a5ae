"""Learning with PyTorch: losses, optimisers and hooks that are written in it."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
from learning import TWO, VECTOR, Learning, ones
from numpy.testing import assert_array_equal

from rl_policy import build_torch_policy
from rl_sample import SampleBatch

pytestmark = pytest.mark.torch


def make(*args, **keywords):
    return Learning("torch").make(*args, **keywords)


def test_the_policy_gradient_example_runs_as_written():
    torch = import_module("torch")

    def policy_gradient_loss(policy, model, dist_class, train_batch):
        logits, _ = model.from_batch(train_batch)
        action_dist = dist_class(logits, model)
        return -torch.mean(action_dist.logp(train_batch["actions"]) * train_batch["rewards"])

    MyTorchPolicy = build_torch_policy(name="MyTorchPolicy", loss_fn=policy_gradient_loss)
    policy = MyTorchPolicy(VECTOR, TWO, {"lr": 0.01, "seed": 0})
    obs = np.random.default_rng(0).uniform(-1, 1, (64, 4)).astype(np.float32)
    for _ in range(60):
        actions = policy.compute_actions(obs)[0]
        rewards = np.where(actions == (obs[:, 0] > 0), 1.0, -1.0)
        policy.learn_on_batch(SampleBatch({"obs": obs, "actions": actions, "rewards": rewards}))
    chosen = policy.compute_actions(obs, explore=False)[0]
    assert (chosen == (obs[:, 0] > 0)).mean() > 0.9


def test_columns_become_tensors_when_they_are_read():
    def loss(policy, model, dist_class, train_batch):
        assert "big" in train_batch
        assert "big" not in train_batch.loaded.tensors
        assert train_batch["float64"].element_size() == 4
        return model.from_batch(train_batch)[0].mean()

    make(loss).learn_on_batch(ones(2, big=np.zeros((2, 9)), float64=np.zeros(2)))


def test_losses_may_read_python_objects():
    def loss(policy, model, dist_class, train_batch):
        lives = [info["lives"] for info in train_batch["infos"]]
        return model.from_batch(train_batch)[0].mean() * sum(lives)

    infos = np.array([{"lives": 1}, {"lives": 2}])
    assert np.isfinite(make(loss).learn_on_batch(ones(2, infos=infos)).stats["total_loss"])


def test_user_optimisers_are_restored_too():
    torch = import_module("torch")

    def optimizer(policy, config):
        return torch.optim.Adam(policy.model.parameters(), lr=0.01)

    batch = ones()
    first, second = make(optimizer_fn=optimizer), make(optimizer_fn=optimizer)
    first.learn_on_batch(batch, epochs=3)
    second.load_state_dict(first.state_dict())
    for policy in (first, second):
        policy.learn_on_batch(batch)
    for name, array in first.get_weights().items():
        assert_array_equal(array, second.get_weights()[name])


def test_gradient_hooks_work_on_parameters():
    torch = import_module("torch")
    calls = []

    def compute(policy, optimizer, loss):
        calls.append("compute_gradients_fn")
        params = [p for group in optimizer.param_groups for p in group["params"]]
        grads = torch.autograd.grad(loss, params, allow_unused=True)
        return list(zip(grads, params, strict=True))

    def clip(policy, optimizer, loss):
        calls.append("extra_grad_process_fn")
        params = [p for group in optimizer.param_groups for p in group["params"]]
        torch.nn.utils.clip_grad_norm_(params, 0.001)
        return {"clipped": 1.0}

    def apply(policy, optimizer, pairs):
        calls.append("apply_gradients_fn")
        assert torch.stack([g.norm() for g, _ in pairs]).norm() == pytest.approx(0.001, rel=1e-2)
        with torch.no_grad():
            for grad, param in pairs:
                param -= grad

    policy = make(
        compute_gradients_fn=compute, extra_grad_process_fn=clip, apply_gradients_fn=apply
    )
    before = policy.get_weights()
    assert policy.learn_on_batch(ones()).stats["clipped"] == 1.0
    assert calls == ["compute_gradients_fn", "extra_grad_process_fn", "apply_gradients_fn"]
    moved = sum(((a - before[n]) ** 2).sum() for n, a in policy.get_weights().items())
    assert np.sqrt(moved) == pytest.approx(0.001, rel=0.02)
