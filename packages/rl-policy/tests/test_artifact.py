from __future__ import annotations

import json

import numpy as np
import pytest
from bare_policies import bare_policy
from gymnasium.spaces import Box, Dict, Discrete
from numpy.testing import assert_array_equal

from rl_policy import ArtifactError, load_policy, xp_only
from rl_policy.hooks import ActingHooks
from rl_sample.files import new_directory

SPACE = Dict({"x": Box(-np.inf, np.inf, (3,)), "n": Discrete(4)})


@pytest.fixture
def saved(tmp_path):
    model = {"use_lstm": True, "lstm_use_prev_action": True, "lstm_cell_size": 5}
    arrays = {"filter/mean": np.ones(7, np.float32), "filter/inv_std": np.ones(7, np.float32)}
    config = {"observation_filter": "MeanStdFilter", "explore": False, "gamma": 0.9}
    policy = bare_policy(SPACE, Discrete(2), model=model, arrays=arrays, **config)
    return policy, policy.save(tmp_path / "policy")


def test_a_loaded_policy_acts_exactly_alike(saved):
    policy, path = saved
    loaded = load_policy(path)
    obs = {
        "x": np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32),
        "n": np.arange(9) % 4,
    }
    for explore in (True, False):
        ours, _, columns = policy.compute_actions(obs, explore=explore, noise=noise(9))
        theirs, _, others = loaded.compute_actions(obs, explore=explore, noise=noise(9))
        assert_array_equal(ours, theirs)
        assert_array_equal(columns["action_dist_inputs"], others["action_dist_inputs"])
    assert loaded.config["gamma"] == 0.9
    assert (loaded.version, loaded.global_step) == (3, 120)
    assert loaded.observation_space == SPACE


def noise(rows):
    return {"action": np.linspace(0.01, 0.99, rows, dtype=np.float32)}


def test_only_plain_files_are_written(saved):
    _, path = saved
    assert {f.name for f in path.iterdir()} == {
        "manifest.json",
        "policy.json",
        "weights.safetensors",
    }
    assert [p for p in path.parent.iterdir() if p != path] == []
    assert json.loads((path / "policy.json").read_text())["step"] == 120


def test_saving_again_replaces(saved, tmp_path):
    policy, path = saved
    policy.set_weights({name: array + 1 for name, array in policy.get_weights().items()})
    policy.save(path)
    assert load_policy(path).version == 4


def test_other_directories_are_not_overwritten(saved, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    with pytest.raises(FileExistsError, match=r"mine exists and has no manifest\.json"):
        saved[0].save(tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.tex").exists()


def test_a_failing_write_leaves_the_old_policy(saved, monkeypatch):
    policy, path = saved
    monkeypatch.setattr("rl_sample.files.os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        policy.save(path)
    assert load_policy(path).version == 3
    assert [p for p in path.parent.iterdir() if p != path] == []


def fail(descriptor):
    raise OSError("disk full")


def test_foreign_and_missing_directories(tmp_path):
    with pytest.raises(ArtifactError, match=r"is no saved policy, .*manifest.json is missing"):
        load_policy(tmp_path)
    (tmp_path / "manifest.json").write_text("[]")
    with pytest.raises(ArtifactError, match=r"manifest.json is damaged or not ours"):
        load_policy(tmp_path)
    with new_directory(tmp_path / "newer", format="rl-policy/9"):
        pass
    with pytest.raises(ArtifactError, match=r"format 'rl-policy/9'; this version reads"):
        load_policy(tmp_path / "newer")


@pytest.mark.parametrize("name", ["policy.json", "weights.safetensors"])
def test_every_damage_names_its_file(saved, name):
    _, path = saved
    data = (path / name).read_bytes()
    for damaged in (data[:-1], data[:50] + bytes([data[50] ^ 1]) + data[51:], b""):
        (path / name).write_bytes(damaged)
        with pytest.raises(ArtifactError, match=f"{name} is damaged"):
            load_policy(path)
    (path / name).unlink()
    with pytest.raises(ArtifactError, match=f"{name} is missing"):
        load_policy(path)


def rewrite(path, change):
    """Change policy.json and make the manifest agree."""
    text = (path / "policy.json").read_text()
    weights = (path / "weights.safetensors").read_bytes()
    with new_directory(path, format="rl-policy/1") as draft:
        (draft / "policy.json").write_text(json.dumps(change(json.loads(text))))
        (draft / "weights.safetensors").write_bytes(weights)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": {"custom_model": None, "fcnet_hidden": []}}, "did you mean 'fcnet_hiddens'"),
        ({"hooks": {"action_sampler_fn": "no_such_module:f"}}, "no_such_module"),
        ({"needs": None}, "policy.json does not describe a policy"),
    ],
)
def test_descriptions_that_cannot_be_built(saved, change, message):
    rewrite(saved[1], lambda data: data | change)
    with pytest.raises(ArtifactError, match=message):
        load_policy(saved[1])


def test_weights_of_another_net_are_refused(saved):
    rewrite(saved[1], lambda data: data | {"model": {**data["model"], "use_lstm": False}})
    with pytest.raises(ArtifactError, match=r"weights.safetensors does not hold the weights"):
        load_policy(saved[1])


@xp_only
def importable(policy, input_dict, state_batches, model, action_dist, noise):
    return {"best": action_dist.deterministic_sample()}


def test_hooks_are_saved_by_name(tmp_path):
    policy = bare_policy(SPACE, Discrete(2), hooks=ActingHooks(extra_action_out_fn=importable))
    loaded = load_policy(policy.save(tmp_path / "policy"))
    obs = {"x": np.zeros((2, 3), np.float32), "n": np.zeros(2, np.int64)}
    assert "best" in loaded.compute_actions(obs)[2]
    local = bare_policy(
        SPACE, Discrete(2), hooks=ActingHooks(extra_action_out_fn=xp_only(lambda *args: {}))
    )
    with pytest.raises(ArtifactError, match="hook extra_action_out_fn .*cannot be imported"):
        local.save(tmp_path / "local")
