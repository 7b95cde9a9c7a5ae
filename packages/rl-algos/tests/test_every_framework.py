"""Every algorithm with every framework: it trains, goes on from a checkpoint, and agrees."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tiny_trainers import TF, TF2, TINY, TINY_PPO, TORCH, TRACED

from rl_algos import PG, PPO, build_trainer, checkpoint, get_algorithm
from rl_policy import build_policy, discounted, masked_mean
from rl_policy.xp import array_namespace

SMALL = {"fcnet_hiddens": [8], "seed": 3}


def margin_loss(policy, model, dist_class, train_batch):
    """A user's own: −log π × return, with a bonus for the square of the logits."""
    logits, _ = model.from_batch(train_batch)
    xp = array_namespace(logits)
    logp = dist_class(logits, model).logp(train_batch["actions"])
    size = masked_mean(xp.sum(xp.square(logits), axis=-1), train_batch)
    loss = -masked_mean(logp * train_batch["advantages"], train_batch)
    return loss + policy.coeffs["margin"] * size, {"size": size}


OWN = build_trainer(
    "Own",
    {"train_batch_size": 32, "margin": 0.1},
    build_policy(
        "OwnPolicy",
        loss_fn=margin_loss,
        postprocess_fn=discounted,
        get_default_config=lambda: {"margin": 0.1, "coeffs": ("lr", "margin")},
    ),
)
KEYS = {
    "PPO": TINY_PPO,
    "PPO with everything": {
        **TINY_PPO,
        "kl_coeff": 0.2,
        "vf_clip_range": 1.0,
        "entropy_coeff_schedule": [[0, 0.1], [100, 0.0]],
        "observation_filter": "MeanStdFilter",
        "num_sgd_iter": 2,
        "vf_share_layers": True,
    },
    "PPO with an LSTM": {
        **TINY_PPO,
        "use_lstm": True,
        "lstm_cell_size": 4,
        "max_seq_len": 8,
        "lstm_use_prev_action": True,
        "lstm_use_prev_reward": True,
    },
    "PPO with a GRU": {**TINY_PPO, "use_gru": True, "max_seq_len": 8, "burn_in": 3},
    "PPO on Pendulum": {**TINY_PPO, "env": "Pendulum-v1", "free_log_std": True},
    "A2C": TINY,
    "A2C in microbatches": {**TINY, "microbatch_size": 16, "optimizer": "rmsprop"},
    "PG": TINY,
    "Own": TINY,
}


def algorithm(case):
    name = case.partition(" ")[0]
    return OWN if name == "Own" else get_algorithm(name)


@pytest.mark.parametrize("keys", [TORCH, TF, TF2])
@pytest.mark.parametrize("case", KEYS)
def test_it_trains(case, keys):
    check_training(case, keys)


@pytest.mark.parametrize("keys", [TRACED])
@pytest.mark.parametrize("case", ["PPO with an LSTM", "A2C in microbatches", "PG", "Own"])
def test_it_trains_where_eager_code_is_traced(case, keys):
    check_training(case, keys)


def check_training(case, keys):
    with algorithm(case)({**KEYS[case], **SMALL, **keys}) as trainer:
        before = trainer.get_policy().get_weights()
        for _ in range(2):
            result = trainer.train()
        after = trainer.get_policy().get_weights()
        assert trainer.get_policy().framework == keys["framework"]
    stats = result["info"]["learner"]["default_policy"]["learner_stats"]
    assert stats["total_loss"] != 0 and all(map(np.isfinite, stats.values()))
    assert result["timesteps_total"] >= 64
    assert all(np.isfinite(after[name]).all() for name in after)
    assert sum(np.abs(after[name] - before[name]).sum() for name in after) > 0


def parts(trainer):
    """What a trainer has learned, less the names of what made it."""
    state = trainer.get_policy().state_dict()
    return {k: state[k] for k in ("weights", "optimizers", "filter", "coeffs", "rng", "step")}


def same(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return np.array_equal(a, b)


def figures(result):
    return {k: v for k, v in result.items() if "time" not in k and k != "info"}


# ------------------------------------------------------------------------ the frameworks agree


@pytest.mark.torch
@pytest.mark.parametrize("keys", [TF, TF2])
@pytest.mark.parametrize("case", ["PPO with everything", "PPO with an LSTM", "A2C", "PG"])
def test_the_first_episodes_are_those_of_torch(case, keys):
    """Acting is the same NumPy code, and the first weights are the same numbers."""
    results, weights = [], []
    for framework in ({"framework": "torch"}, keys):
        more = {"num_envs_per_worker": 4, "train_batch_size": 128}
        with algorithm(case)({**KEYS[case], **SMALL, **more, **framework}) as trainer:
            weights.append(trainer.get_policy().get_weights())
            results.append([trainer.train() for _ in range(2)])
            weights.append(trainer.get_policy().get_weights())
    assert same(weights[0], weights[2])
    assert results[0][0]["hist_stats"] == results[1][0]["hist_stats"]
    assert results[0][0]["episodes_this_iter"] > 0
    for name, array in weights[1].items():  # rounding has parted them by now, but not by much
        np.testing.assert_allclose(array, weights[3][name], rtol=1e-3, atol=1e-4, err_msg=name)


# ------------------------------------------------------------------- checkpoints of one another


@pytest.mark.torch
@pytest.mark.parametrize("keys", [TF, TF2])
@pytest.mark.parametrize("case", ["PPO with everything", "PPO with an LSTM", "A2C in microbatches"])
def test_a_checkpoint_moves_between_frameworks(tmp_path, case, keys):
    definition = algorithm(case)
    with definition({**KEYS[case], **SMALL, "framework": "torch"}) as trainer:
        for _ in range(2):
            trainer.train()
        path, saved = trainer.save(tmp_path), parts(trainer)
        counters = dict(trainer.workers.counters)
        onwards = [figures(trainer.train())]
    with definition.from_checkpoint(path, **keys) as there:
        assert there.get_policy().framework == keys["framework"]
        assert same(parts(there), saved)
        assert (there.iteration, there.workers.counters) == (2, counters)
        back = there.save(tmp_path / "tf")
        onwards.append(figures(there.train()))
    assert onwards[0] == onwards[1]  # the open episodes and the noise went along
    assert checkpoint.config_difference(path, {"framework": "tf"}) == {"framework": ("torch", "tf")}
    with definition.from_checkpoint(back, framework="torch", eager_tracing=False) as again:
        assert same(parts(again), saved)
        again.train()


@pytest.mark.torch
@pytest.mark.tensorflow
def test_a_trainer_restores_what_another_framework_saved(tmp_path):
    with PPO({**TINY_PPO, **SMALL, "framework": "tf"}) as one:
        one.train()
        path, saved = one.save(tmp_path), parts(one)
    with PPO({**TINY_PPO, **SMALL, "framework": "torch"}) as other:
        other.restore(path)
        assert same(parts(other), saved)
        other.train()


@pytest.mark.parametrize("keys", [TORCH, TF, TF2])
@pytest.mark.parametrize("case", ["PPO with everything", "PPO with an LSTM", "A2C", "Own"])
def test_two_and_two_are_four_bit_for_bit(tmp_path, case, keys):
    definition = algorithm(case)
    with definition({**KEYS[case], **SMALL, **keys}) as trainer:
        for _ in range(2):
            trainer.train()
        path = trainer.save(tmp_path)
        results = [figures(trainer.train()) for _ in range(2)]
        truth = parts(trainer)
    with definition.from_checkpoint(path) as again:
        assert [figures(again.train()) for _ in range(2)] == results
        assert same(parts(again), truth)


# ----------------------------------------------------------------------------- what is reported


@pytest.mark.parametrize("keys", [TORCH, TF, TF2])
def test_a_run_says_with_what_it_learned(keys):
    from rl_algos.loggers import describe_run

    with PG({**TINY, **SMALL, **keys}) as trainer:
        told = json.loads(json.dumps(describe_run(trainer)))
    ((name, version),) = told["frameworks"].items()
    assert name == keys["framework"] == told["config"]["framework"]
    assert version.split(".")[0].isdigit()
    assert {"torch", "keras"} & told["provenance"]["versions"].keys()
