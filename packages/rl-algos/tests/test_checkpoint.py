"""Which checkpoint of a directory is meant, and which may go."""

from __future__ import annotations

import json
import warnings

import pytest

from rl_algos import CheckpointError, PPOConfig
from rl_algos.checkpoint import best, check, config_difference, latest, locate, prune
from rl_algos.stored import encode_config
from rl_sample.files import new_directory


def write(directory, iteration, *, config=None, result=None, **about):
    """A checkpoint with nothing in it but a config."""
    path = directory / f"checkpoint_{iteration:06d}"
    said = {
        "kind": "rl-algos checkpoint",
        "format": 1,
        "rl_algos": "0.1",
        "algorithm": "PPO",
        "iteration": iteration,
        "run": "a",
        "saved_at": float(iteration),
        "result": result or {},
    }
    with new_directory(path, **{**said, **about}) as draft:
        (draft / "config.json").write_text(json.dumps(encode_config(config or {})))
    return path


@pytest.fixture
def three(tmp_path):
    """Iterations 1, 2 and 3, with the returns 1, 3 and 2."""
    return [
        write(tmp_path, i, result={"episode_reward_mean": score, "info/loss": score})
        for i, score in ((1, 1.0), (2, 3.0), (3, 2.0))
    ]


def damage(path):
    (path / "config.json").write_text("[]")


def numbers(directory):
    return sorted(int(path.name[-6:]) for path in directory.iterdir())


def test_the_newest_and_the_best(three, tmp_path):
    assert latest(tmp_path) == locate(tmp_path) == three[2]
    assert best(tmp_path) == best(tmp_path, "info/loss") == three[1]
    assert best(tmp_path, "min-info/loss") == three[0]
    assert locate(three[0]) == three[0]
    assert check(three[0])["iteration"] == 1


def test_the_newest_is_the_one_saved_last(three, tmp_path):
    again = write(tmp_path, 2, saved_at=9.0)  # by a run that went on from an older checkpoint
    assert latest(tmp_path) == again


@pytest.mark.parametrize("find", [latest, locate, lambda d: locate(d / "checkpoint_000003")])
def test_a_damaged_one_is_passed_over_with_a_warning(three, tmp_path, find):
    damage(three[2])
    with pytest.warns(RuntimeWarning, match=r"000003/config\.json is damaged.*\n.*000002 is taken"):
        assert find(tmp_path) == three[1]
    (three[1] / "manifest.json").unlink()
    with pytest.warns(RuntimeWarning, match=r"000002/manifest\.json is missing"):
        assert find(tmp_path) == three[0]
    damage(three[0])
    with pytest.raises(CheckpointError, match=r"(?s)000001/config\.json.*no other checkpoint is"):
        find(tmp_path)


def test_the_best_that_is_whole(three, tmp_path):
    damage(three[1])
    with pytest.warns(RuntimeWarning, match=r"000003 is taken instead"):
        assert best(tmp_path) == three[2]


def test_damage_to_one_that_is_not_asked_for_is_no_matter(three, tmp_path):
    damage(three[0])
    assert latest(tmp_path) == three[2]


def test_a_figure_that_no_result_has(three, tmp_path):
    with pytest.raises(CheckpointError, match="'episode_reward_mena'; did you mean 'episode_rew"):
        best(tmp_path, "episode_reward_mena")
    with pytest.raises(CheckpointError, match=r"'x'; there are \['episode_reward_mean', 'info/l"):
        best(tmp_path, "x")


def test_paths_that_hold_nothing(tmp_path):
    with pytest.raises(CheckpointError, match="holds no checkpoint; give the path that save"):
        latest(tmp_path)
    with pytest.raises(CheckpointError, match=r"nothing is not a directory; give the path that"):
        locate(tmp_path / "nothing")
    path = write(tmp_path, 1)
    message = r"there is no .*checkpoint_000002; in .* there are \['checkpoint_000001'\]"
    with pytest.raises(CheckpointError, match=message):
        locate(tmp_path / "checkpoint_000002")
    damage(path)
    with pytest.raises(CheckpointError, match=r"config\.json is damaged"):
        locate(path)


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"kind": "policy"}, r"says kind 'policy', format 1, not kind 'rl-algos checkpoint'"),
        ({"format": 2, "rl_algos": "9.0"}, r"format 2, as rl-algos 9\.0 writes it; this version"),
    ],
)
def test_foreign_and_newer_ones_are_told_apart(tmp_path, about, message):
    write(tmp_path, 1)
    path = write(tmp_path, 2, **about)
    for find in (check, locate):  # it was asked for by name: no other will do
        with pytest.raises(CheckpointError, match=message):
            find(path)
    with pytest.warns(RuntimeWarning, match=message):
        assert latest(tmp_path).name == "checkpoint_000001"


def test_one_under_another_name(three, tmp_path):
    mine = three[0].rename(tmp_path / "mine")
    assert locate(mine) == mine
    damage(mine)
    with pytest.raises(CheckpointError, match=r"mine/config\.json is damaged"):
        locate(mine)


def test_one_that_a_killed_save_moved_aside(three, tmp_path):
    aside = three[2].rename(tmp_path / ".checkpoint_000003.rl-old-0123abcd")
    assert latest(tmp_path) == locate(three[2]) == aside


@pytest.mark.parametrize(
    ("keep", "score_by", "left"),
    [
        (1, None, [3]),
        (2, None, [2, 3]),
        (9, None, [1, 2, 3]),
        (1, "episode_reward_mean", [2, 3]),
        (2, "episode_reward_mean", [2, 3]),
        (1, "min-info/loss", [1, 3]),
    ],
)
def test_keeping_some(three, tmp_path, keep, score_by, left):
    prune(tmp_path, "a", keep, score_by)
    assert numbers(tmp_path) == left


def test_other_runs_and_damaged_ones_are_not_ours_to_delete(three, tmp_path):
    write(tmp_path, 7, run="b")
    (three[0] / "manifest.json").unlink()
    prune(tmp_path, "a", 1)
    assert numbers(tmp_path) == [1, 3, 7]


def test_a_score_that_no_checkpoint_has(three, tmp_path):
    with pytest.warns(RuntimeWarning, match=r"has 'x', which says which to keep: the newest are"):
        prune(tmp_path, "a", 2, "x")
    assert numbers(tmp_path) == [2, 3]


def test_what_differs_in_a_config(tmp_path):
    stored = PPOConfig(env="CartPole-v1", lr_schedule=[(0, 1.0)], policy_mapping_fn=lambda *a: "x")
    path = write(tmp_path, 1, config=stored.flat())
    assert config_difference(path, {}) == {}
    assert config_difference(path, stored) == {}
    assert config_difference(path, {"lr_schedule": [[0, 1.0]], "model": {"use_lstm": False}}) == {}
    keys = {"env": "Pendulum-v1", "gamma": 0.5, "model": {"use_lstm": True}, "callbacks": dict}
    assert config_difference(path, {**keys, "policy_mapping_fn": len, "beta": 1}) == {
        "env": ("CartPole-v1", "Pendulum-v1"),
        "gamma": (0.99, 0.5),
        "use_lstm": (False, True),
        "callbacks": (None, "builtins:dict"),
        "beta": (None, 1),
    }


def test_nothing_is_said_of_whole_checkpoints(three, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        latest(tmp_path)
        best(tmp_path)
        prune(tmp_path, "a", 3)
