"""A checkpoint is there as a whole or not at all, and says which file is wrong."""

from __future__ import annotations

import json
from collections import OrderedDict

import numpy as np
import pytest

from rl_algos import CheckpointError, PPOConfig
from rl_algos.checkpoint import (
    check,
    decode_config,
    encode_config,
    new_checkpoint,
    read_state,
    write_state,
)

STATE = {
    "weights": {"net/w": np.arange(6, dtype=np.float32).reshape(2, 3), "step": np.array(7)},
    "history": [1, (2.5, None), {"name": "x", "flags": np.array([True, False])}],
    "big": 2**100,
    "scalar": np.float64(0.5),
}


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "runs" / "checkpoint_000001"
    with new_checkpoint(path, algorithm="PPO") as draft:
        write_state(draft, "trainer", STATE)
    return path


def test_state_comes_back_as_it_was(saved):
    state = read_state(saved, "trainer")
    np.testing.assert_array_equal(state["weights"]["net/w"], STATE["weights"]["net/w"])
    assert state["weights"]["step"].shape == ()
    assert state["history"][1] == (2.5, None)
    assert state["history"][2]["flags"].tolist() == [True, False]
    assert state["big"] == 2**100
    assert state["scalar"] == 0.5
    assert check(saved)["algorithm"] == "PPO"


def test_nothing_remains_of_a_save_that_failed(tmp_path):
    def save():
        with new_checkpoint(tmp_path / "a") as draft:
            write_state(draft, "trainer", STATE)
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        save()
    assert list(tmp_path.iterdir()) == []


def test_saving_again_replaces(saved):
    with new_checkpoint(saved, algorithm="PG") as draft:
        write_state(draft, "other", {})
    assert check(saved)["files"].keys() == {"other.json", "other.safetensors"}
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]


def test_a_changed_file_is_named(saved):
    (saved / "trainer.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"trainer\.json is not what was saved"):
        check(saved)


def test_a_missing_file_is_named(saved):
    (saved / "trainer.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"trainer\.safetensors is missing"):
        check(saved)


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (None, r"no manifest\.json: it is not a checkpoint, or saving it was interrupted"),
        ("{", r"manifest\.json is damaged or foreign"),
        ("[]", r"manifest\.json is damaged or foreign"),
        (json.dumps({"kind": "policy", "format": 1, "files": {}}), "says 'policy' format 1"),
    ],
)
def test_a_directory_that_is_no_checkpoint_is_told_apart(saved, manifest, message):
    (saved / "manifest.json").unlink()
    if manifest is not None:
        (saved / "manifest.json").write_text(manifest)
    with pytest.raises(CheckpointError, match=message):
        check(saved)


def test_a_path_that_is_not_there(tmp_path):
    with pytest.raises(CheckpointError, match="not a directory; give the path that save"):
        check(tmp_path / "nothing")


def test_config_values_are_json_names_or_holes():
    def local(agent, episode, worker):
        return "a"

    encoded = encode_config({"lr": 0.1, "env": OrderedDict, "policy_mapping_fn": local})
    assert encoded["env"] == {"$import": "collections:OrderedDict"}
    json.dumps(encoded)
    with pytest.raises(CheckpointError, match=r"could not store \['policy_mapping_fn'\]"):
        decode_config(encoded, {})
    decoded = decode_config(encoded, {"policy_mapping_fn": local})
    assert decoded == {"lr": 0.1, "env": OrderedDict}


def test_a_name_that_cannot_be_imported_any_more_can_be_given_again():
    encoded = {"env": {"$import": "gone:Env"}}
    with pytest.raises(CheckpointError, match=r"env='gone:Env' cannot be imported.*env=…"):
        decode_config(encoded, {})
    assert decode_config(encoded, {"env": "CartPole-v1"}) == {}


def test_a_whole_config_survives():
    config = PPOConfig(env="CartPole-v1", lr_schedule=[(0, 1.0), (5, 0.5)], fcnet_hiddens=[3])
    stored = json.loads(json.dumps(encode_config(config.flat())))
    assert PPOConfig(**decode_config(stored, {})) == config
