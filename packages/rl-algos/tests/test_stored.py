"""State and config keys come back from a checkpoint's files as they were."""

from __future__ import annotations

import json
from collections import OrderedDict

import numpy as np
import pytest

from rl_algos import CheckpointError, PPOConfig
from rl_algos.stored import decode_config, encode_config, is_hole, read_state, write_state
from rl_sample import MultiAgentBatch, SampleBatch

STATE = {
    "weights": {"net/w": np.arange(6, dtype=np.float32).reshape(2, 3), "step": np.array(7)},
    "history": [1, (2.5, None), {"name": "x", "flags": np.array([True, False])}],
    "big": 2**100,
    "scalar": np.float64(0.5),
    "": {"a/b": np.array([1]), "a": {"b": np.array([2])}},
}


def test_state_comes_back_as_it_was(tmp_path):
    write_state(tmp_path, "trainer", STATE)
    state = read_state(tmp_path, "trainer")
    np.testing.assert_array_equal(state["weights"]["net/w"], STATE["weights"]["net/w"])
    assert state["weights"]["step"].shape == ()
    assert state["history"][1] == (2.5, None)
    assert state["history"][2]["flags"].tolist() == [True, False]
    assert state["big"] == 2**100
    assert state["scalar"] == 0.5
    assert (state[""]["a/b"], state[""]["a"]["b"]) == (1, 2)


def test_state_without_arrays_is_one_file(tmp_path):
    write_state(tmp_path, "plan", {"parts": {}})
    assert [file.name for file in tmp_path.iterdir()] == ["plan.json"]
    assert read_state(tmp_path, "plan") == {"parts": {}}


def test_batches_that_an_operator_holds_back_come_back(tmp_path):
    batch = SampleBatch(obs=np.float32([[1], [2]]), terminateds=[False, True])
    write_state(tmp_path, "plan", {"waiting": [(2, batch), (1, MultiAgentBatch({"p": batch}, 3))]})
    (_, single), (_, multi) = read_state(tmp_path, "plan")["waiting"]
    assert single["obs"].tolist() == [[1], [2]]
    assert multi.policy_batches["p"]["dones"].tolist() == [False, True]
    assert multi.env_steps() == 3


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"a": {"b": {1, 2}}}, r"plan/a/b cannot be saved: \{1, 2\} \(set\)"),
        ({"a": {0: "x"}}, r"plan/a cannot be saved: .*dicts with string keys"),
        ({"a": [np.array(["x"])]}, r"plan/a/0 cannot be saved"),
    ],
)
def test_what_cannot_be_stored_is_named(tmp_path, value, place):
    with pytest.raises(CheckpointError, match=place):
        write_state(tmp_path, "plan", value)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    write_state(tmp_path, "plan", {"x": np.zeros(3)})
    (tmp_path / "plan.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"plan\.safetensors cannot be read"):
        read_state(tmp_path, "plan")
    with pytest.raises(CheckpointError, match=r"other\.json cannot be read"):
        read_state(tmp_path, "other")


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


def test_lists_and_dicts_of_importable_things_go_by_name():
    keys = {"callbacks": [OrderedDict, "a:b"], "evaluation_config": {"env": OrderedDict, "n": 1}}
    encoded = json.loads(json.dumps(encode_config(keys)))
    assert encoded["callbacks"] == [{"$import": "collections:OrderedDict"}, "a:b"]
    assert decode_config(encoded, {}) == keys
    for hole in ([OrderedDict, lambda: 0], {"env": {"deep": lambda: 0}}):
        assert is_hole(encode_config({"x": hole})["x"])
