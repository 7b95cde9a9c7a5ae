"""Experiments from YAML: RLlib 1.x's files as they are, and what cannot be meant named at once."""

from __future__ import annotations

import json
import textwrap

import pytest
from typer.testing import CliRunner

from rl_algos import ConfigError, frameworks, get_algorithm, resolve_config, rllib_config
from rl_algos.cli import app
from rl_algos.rllib_keys import IGNORED, MODEL_UNSUPPORTED, RENAMED, UNSUPPORTED
from rl_algos.yaml_experiment import read_experiments

CARTPOLE_PPO = """
cartpole-ppo:
    env: CartPole-v0
    run: PPO
    stop:
        episode_reward_mean: 150
        timesteps_total: 100000
    config:
        # Works for both torch and tf.
        framework: tf
        gamma: 0.99
        lr: 0.0003
        num_workers: 1
        observation_filter: MeanStdFilter
        num_sgd_iter: 6
        vf_loss_coeff: 0.01
        model:
            fcnet_hiddens: [32]
            fcnet_activation: linear
            vf_share_layers: true
"""
PENDULUM_PPO = """
pendulum-ppo:
    env: Pendulum-v1
    run: PPO
    stop:
        episode_reward_mean: -500
        timesteps_total: 400000
    config:
        framework: torch
        train_batch_size: 512
        vf_clip_param: 10.0
        num_workers: 0
        num_envs_per_worker: 20
        lambda: 0.1
        gamma: 0.95
        lr: 3e-4
        sgd_minibatch_size: 64
        num_sgd_iter: 6
        observation_filter: MeanStdFilter
"""
CARTPOLE_A2C = """
cartpole-a2c-microbatch:
    env: CartPole-v0
    run: A2C
    stop: {episode_reward_mean: 150, timesteps_total: 500000}
    config:
        framework: tf2
        num_workers: 2
        gamma: 0.95
        rollout_fragment_length: 20
        microbatch_size: 40
        train_batch_size: 120
        seed: 13
"""
CARTPOLE_PG = """
cartpole-pg:
    env: CartPole-v0
    run: PG
    stop: {episode_reward_mean: 150, timesteps_total: 100000}
    config:
        framework: tf
        num_workers: 0
"""
REPEAT_LSTM = """
repeat-after-me-ppo-w-lstm:
    env: some.package.RepeatAfterMeEnv
    run: PPO
    stop: {episode_reward_mean: 50, timesteps_total: 100000}
    config:
        framework: tf
        env_config: {config: {repeat_delay: 2}}
        gamma: 0.9
        lr: 0.0003
        num_workers: 0
        num_envs_per_worker: 20
        num_sgd_iter: 5
        entropy_coeff: 0.00001
        model:
            use_lstm: true
            lstm_cell_size: 64
            max_seq_len: 20
            fcnet_hiddens: [64]
            vf_share_layers: true
"""
HALFCHEETAH = """
halfcheetah-ppo:
    env: HalfCheetah-v2
    run: PPO
    stop: {episode_reward_mean: 9800, time_total_s: 10800}
    config:
        framework: tf
        lambda: 0.95
        kl_coeff: 1.0
        num_sgd_iter: 32
        lr: .0003
        sgd_minibatch_size: 4096
        train_batch_size: 65536
        num_workers: 16
        num_gpus: 1
        grad_clip: 0.5
        num_envs_per_worker: 16
        batch_mode: truncate_episodes
        simple_optimizer: true
        observation_filter: MeanStdFilter
"""
ATARI_PPO = """
atari-ppo:
    env:
        grid_search: [ALE/Breakout-v5, ALE/Qbert-v5]
    run: PPO
    config:
        framework: tf
        env_config: {frameskip: 1}
        lambda: 0.95
        kl_coeff: 0.5
        clip_rewards: True
        clip_param: 0.1
        vf_clip_param: 10.0
        entropy_coeff: 0.01
        train_batch_size: 5000
        rollout_fragment_length: 100
        sgd_minibatch_size: 500
        num_sgd_iter: 10
        num_workers: 10
        num_envs_per_worker: 5
        batch_mode: truncate_episodes
        observation_filter: NoFilter
        model:
            vf_share_layers: true
            dim: 42
            grayscale: true
        num_gpus: 1
"""


@pytest.fixture
def read(tmp_path):
    """Reads experiments from YAML text."""

    def reading(text, *arguments):
        file = tmp_path / "tuned.yaml"
        file.write_text(textwrap.dedent(text))
        return read_experiments(file, *arguments)

    return reading


def problems(read, text):
    """The lines of the error that a file gives, without the first."""
    with pytest.raises(ConfigError) as error:
        read(text)
    return str(error.value).splitlines()[1:]


def test_cartpole(read):
    (found,) = read(CARTPOLE_PPO)
    assert (found.name, found.algorithm) == ("cartpole-ppo", "PPO")
    assert found.settings["stop"] == {"episode_reward_mean": 150, "timesteps_total": 100000}
    config = resolve_config("PPO", found.config).config
    assert (config["env"], config["num_workers"], config["lr"]) == ("CartPole-v0", 1, 0.0003)
    assert config["fcnet_hiddens"] == (32,)
    assert config["vf_share_layers"]


def installed(monkeypatch, *names):
    """Let only these frameworks be there."""
    for module in (frameworks, rllib_config):
        monkeypatch.setattr(module, "is_installed", lambda name: name in names)


def one_config(read, **keys):
    (found,) = read(json.dumps({"a": {"run": "PPO", "env": "CartPole-v1", "config": keys}}))
    return resolve_config("PPO", found.config).config, found.notes


@pytest.mark.parametrize(
    ("keys", "name", "tracing"),
    [
        ({"framework": "tf"}, "tf", False),
        ({"framework": "tf2", "eager_tracing": True}, "tf2", True),
        ({"framework": "tfe"}, "tf2", False),
        ({"framework": "tf", "eager_tracing": True}, "tf", False),
        ({"eager_tracing": True}, "auto", False),
        ({"use_pytorch": True}, "torch", False),
        ({"use_pytorch": False}, "tf", False),
    ],
)
def test_frameworks_are_ours(read, monkeypatch, keys, name, tracing):
    installed(monkeypatch, "torch", "tf", "tf2")
    config, notes = one_config(read, **keys)
    assert (config["framework"], config["eager_tracing"], notes) == (name, tracing, ())


@pytest.mark.parametrize(
    ("wanted", "there", "note"),
    [
        ("tf", ("torch",), "framework: tf is not installed; training with torch"),
        ("tfe", ("torch",), "framework: tfe is not installed; training with torch"),
        ("torch", ("tf", "tf2"), "framework: torch is not installed; training with tf"),
    ],
)
def test_a_file_trains_with_the_framework_that_is_there(read, monkeypatch, wanted, there, note):
    installed(monkeypatch, *there)
    config, notes = one_config(read, framework=wanted)
    assert (config["framework"], notes) == ("auto", (note,))


def test_pendulum_and_a_batch_of_whole_fragments(read):
    (found,) = read(PENDULUM_PPO)
    config = resolve_config("PPO", found.config).config
    assert (config["lambda"], config["lr"], config["framework"]) == (0.1, 3e-4, "torch")
    assert config["train_batch_size"] == 520  # the first multiple of 20 from 512 on
    assert found.notes == (
        "train_batch_size: 520 instead of 512, the next multiple of the 20 steps that are sampled "
        "at once",
    )


def test_a2c_with_microbatches_has_one_environment_per_worker(read):
    (found,) = read(CARTPOLE_A2C)
    config = resolve_config("A2C", found.config).config
    assert (config["num_envs_per_worker"], config["rollout_fragment_length"]) == (1, 20)
    assert (config["train_batch_size"], config["microbatch_size"]) == (120, 40)
    assert "num_envs_per_worker: 1, as it is in RLlib when it is not given" in found.notes


def test_pg_and_a_recurrent_net(read):
    (pg,) = read(CARTPOLE_PG)
    assert resolve_config("PG", pg.config).config["num_workers"] == 0
    (lstm,) = read(REPEAT_LSTM)
    config = resolve_config("PPO", lstm.config).config
    assert config["use_lstm"]
    assert config["env"] == "some.package:RepeatAfterMeEnv"
    assert config["env_config"] == {"config": {"repeat_delay": 2}}


def test_keys_that_ask_for_nothing_are_passed_over(read):
    (found,) = read(HALFCHEETAH)
    assert "num_gpus: 1 is passed over: the CPU does it" in found.notes
    config = resolve_config("PPO", found.config).config
    assert config["train_batch_size"] == 65536
    assert config["kl_coeff"] == 1.0
    defaults = {
        **{key: value for key, (value, _) in UNSUPPORTED.items() if isinstance(value, int | None)},
        **dict.fromkeys(IGNORED, 1),
        "num_gpus": 0,
        "model": {k: v for k, (v, _) in MODEL_UNSUPPORTED.items() if isinstance(v, int | None)},
    }
    (quiet,) = read(json.dumps({"a": {"run": "PPO", "env": "CartPole-v1", "config": defaults}}))
    assert quiet.notes == ()
    assert set(quiet.config) == {"env"}


def test_all_that_is_not_supported_is_named_at_once_with_a_hint(read):
    lines = problems(read, ATARI_PPO)
    assert len(lines) == 4
    assert "env: grid_search is for Ray Tune: from rl_algos.tune import PPOTrainer" in lines[0]
    assert "clip_rewards: true is not supported: wrap the environment in" in lines[1]
    assert "model: dim: 42 is not supported: wrap the environment in AtariPreprocessing" in lines[2]
    assert "model: grayscale: true is not supported" in lines[3]
    assert all(line.startswith("  atari-ppo: ") for line in lines)


def test_problems_of_all_experiments_are_in_one_error(read):
    lines = problems(
        read,
        """
        one:
            env: CartPole-v1
            run: PPO
            stopp: {episode_reward_mean: 150}
            restore: somewhere
            stop: {episode_reward_mean: high}
            config:
                nmu_workers: 2
                lr: fast
                num_sgd_iter: {grid_search: [1, 4]}
                model: {fcnet_hidden: [1]}
                exploration_config: {type: EpsilonGreedy}
        two: {env: CartPole-v1, run: IMPALA}
        three: {env: CartPole-v1}
        four: {run: PPO, checkpoint_freq: often}
        five: {run: PPO, env: CartPole-v1, num_samples: 0}
        """,
    )
    expected = [
        "one: there is no key 'stopp' beside config; did you mean 'stop'?",
        "one: restore is not supported: rl train --resume CHECKPOINT",
        "one: stop: 'episode_reward_mean' is a number to reach, not 'high'",
        "one: PPOConfig has no key 'nmu_workers'; did you mean 'num_workers'",
        "one: num_sgd_iter: grid_search is for Ray Tune",
        "one: model has no key 'fcnet_hidden'; did you mean 'fcnet_hiddens'",
        'one: exploration_config: {"type": "EpsilonGreedy"} is not supported',
        "one: lr = 'fast': ",
        "two: there is no algorithm 'IMPALA'",
        "three: run names the algorithm, such as PPO; it is None",
        "four: checkpoint_freq is a whole number of at least 0, not 'often'",
        "four: no environment is given: set env",
        "five: num_samples is a whole number of at least 1, not 0",
    ]
    assert len(lines) == len(expected)
    for line, start in zip(lines, expected, strict=True):
        assert line.strip().startswith(start)


def test_tune_s_settings_are_used_or_noted(read):
    (found,) = read(
        """
        a:
            run: PPO
            env: CartPole-v1
            checkpoint_freq: 5
            checkpoint_at_end: false
            keep_checkpoints_num: 2
            checkpoint_score_attr: min-episode_len_mean
            local_dir: results
            max_failures: 3
            config: {evaluation_num_episodes: 3, min_iter_time_s: 1}
        """
    )
    assert found.settings == {
        "checkpoint_freq": 5,
        "checkpoint_at_end": False,
        "keep": 2,
        "score_by": "min-episode_len_mean",
        "local_dir": "results",
    }
    assert found.notes == (
        "max_failures is passed over: a run that ended early goes on with --resume",
    )
    assert found.config["evaluation_duration"] == 3
    assert found.config["min_time_s_per_reporting"] == 1


def test_samples_are_runs_with_seeds_of_their_own(read):
    text = "a: {run: PPO, env: CartPole-v1, num_samples: 2, config: {seed: 7}}"
    assert [(e.name, e.config["seed"]) for e in read(text)] == [("a/1", 7), ("a/2", 8)]
    assert all("seed" not in e.config for e in read(text.replace("seed: 7", "")))


def test_what_is_given_besides_goes_first(read):
    (found,) = read(CARTPOLE_PPO, None, {"num_workers": 0, "fcnet_hiddens": [8]})
    assert (found.config["num_workers"], found.config["fcnet_hiddens"]) == (0, [8])
    (other,) = read(CARTPOLE_PG, "PPO", {"env": "Pendulum-v1"})
    assert (other.algorithm, other.config["env"]) == ("PPO", "Pendulum-v1")


def test_one_experiment_needs_no_name(read):
    (found,) = read("{run: PPO, env: CartPole-v1}")
    assert found.name == "tuned"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a:\n  run: PPO\n  env: [CartPole\n  b: c\n", r"tuned.yaml, line 4, column 4: expected"),
        ("a:\n\trun: PPO\n", r"tuned.yaml, line 2, column 1: found character '\\t'"),
        ("a:\n  run: PPO\n  run: PG\n", "line 3, column 3: 'run' is given twice"),
        ("a: !!python/object:os.system {}\n", "line 1, column 4: could not determine a construct"),
        ("", "holds no experiments: write 'my-experiment: {run: PPO, env: CartPole-v1}'"),
        ("[1, 2]", "holds no experiments"),
        ("a: PPO", "'a' is an experiment such as .*, not 'PPO'"),
        ("a: {run: PPO, config: [1]}", "config is a mapping of keys to values"),
    ],
)
def test_files_that_cannot_be_read(read, text, message):
    with pytest.raises(ConfigError, match=message):
        read(text)


def test_the_tables_of_rllib_s_keys_name_no_key_of_ours():
    for algorithm in ("PPO", "PG", "A2C"):
        ours = set(get_algorithm(algorithm).config_class().flat())
        theirs = {*UNSUPPORTED, *IGNORED, *RENAMED} - {"optimizer", "microbatch_size"}
        assert not theirs & ours
        assert not set(MODEL_UNSUPPORTED) & ours
        assert set(RENAMED.values()) <= ours
    assert not set(UNSUPPORTED) & IGNORED


@pytest.mark.torch
def test_experiments_run_one_after_the_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = {"num_sgd_iter": 1, "train_batch_size": 64, "sgd_minibatch_size": 64}
    one = {"run": "PPO", "env": "CartPole-v1", "config": config, "stop": {"timesteps_total": 64}}
    broken = {**one, "env": "no_such_module:Env"}
    unreached = {**one, "stop": {"episode_reward_mean": 1000, "timesteps_total": 64}}
    file = tmp_path / "all.yaml"
    file.write_text(json.dumps({"one": one, "broken": broken, "last": unreached}))
    done = CliRunner().invoke(app, ["train", "-f", "all.yaml", "--loggers", "json"])
    assert done.exit_code == 2  # the worst of 0, 2 and 1
    assert "1/3 one" in done.output
    assert "no_such_module" in done.stderr
    assert "1,000 not reached" in done.output
    runs = [path.relative_to(tmp_path).parts for path in tmp_path.glob("rl_results/*/*")]
    assert sorted(parts[1] for parts in runs) == ["last", "one"]
    file.write_text(json.dumps({"last": unreached}))
    more = ["train", "-f", "all.yaml", "--stop", '{"timesteps_total": 64}', "--local-dir", "here"]
    done = CliRunner().invoke(app, more)
    assert done.exit_code == 0, done.output
    assert len(list(tmp_path.glob("here/last/PPO_CartPole-v1_*"))) == 1


def test_problems_of_a_file_end_with_exit_code_2_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "atari.yaml").write_text(ATARI_PPO)
    done = CliRunner().invoke(app, ["train", "-f", "atari.yaml"])
    assert done.exit_code == 2
    assert done.stderr.startswith("error: atari.yaml cannot be run as it is:\n  atari-ppo: env: ")
    assert not (tmp_path / "rl_results").exists()
