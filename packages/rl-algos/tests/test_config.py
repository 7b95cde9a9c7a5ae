"""Flat keys in, a nested typed model inside, and errors that say how to mend them."""

from __future__ import annotations

import pytest

from rl_algos import PPO, ConfigError, PGConfig, PPOConfig, TrainerConfig
from rl_algos.config import fragment_length, validated
from rl_algos.keys import key_index, section_names
from rl_algos.sections import Section


def test_a_flat_key_goes_to_its_section():
    config = validated(PPOConfig, {"env": "CartPole-v1", "num_workers": 2, "lr": 0.1})
    assert config.environment.env == "CartPole-v1"
    assert config.workers.num_workers == 2
    assert config.lr == 0.1
    assert config["num_workers"] == 2


def test_a_section_may_be_given_whole_and_mixed_with_flat_keys():
    config = validated(PPOConfig, {"model": {"fcnet_hiddens": [32]}, "fcnet_activation": "relu"})
    assert config.model.fcnet_hiddens == (32,)
    assert config.model.fcnet_activation == "relu"


def test_lambda_is_a_key_although_it_is_a_python_keyword():
    assert validated(PPOConfig, {"lambda": 0.5}).lambda_ == 0.5
    assert validated(PPOConfig, {"lambda": 0.5})["lambda"] == 0.5


def test_flat_keys_give_the_same_config_again():
    config = validated(PPOConfig, {"lambda": 0.5, "num_workers": 4, "fcnet_hiddens": [8]})
    assert validated(PPOConfig, config.flat()) == config


def test_the_config_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        PPOConfig().lr = 1.0


def test_a_policy_gets_the_algorithms_keys_and_its_own_but_not_the_environment():
    keys = PPOConfig().policy_keys()
    assert {"clip_param", "lambda", "seed", "observation_filter"} <= keys.keys()
    assert "env" not in keys
    assert "num_workers" not in keys
    assert keys["model"].fcnet_hiddens == (64, 64)


def test_pg_keeps_its_own_default_of_a_section_when_another_key_of_it_is_given():
    config = validated(PGConfig, {"num_workers": 2})
    assert config.workers.batch_mode == "complete_episodes"


NUMBER = "expected a number greater than 0 \\(Step size of the optimiser"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        # names
        ({"num_wokers": 2}, "no key 'num_wokers'; did you mean 'num_workers'"),
        ({"wrokers": {"num_workers": 2}}, "no key 'wrokers'; did you mean 'workers'"),
        ({"lambda_": 0.9}, "no key 'lambda_'; did you mean 'lambda'"),
        ({"min_iter_time_s": 1}, "it is 'min_time_s_per_reporting' here"),
        ({"horizon": 100}, "RLlib's horizon has another way here: limit episodes"),
        ({"xyzzy": 1}, "no key 'xyzzy'; `rl show PPO` lists all there are"),
        ({3: 1}, "no key 3; `rl show"),
        ({"model": {"fcnet_hidens": [1]}}, "did you mean 'fcnet_hiddens'"),
        ({"model": {"num_workers": 1}}, "'num_workers' does not belong into section 'model'"),
        ({"model": 3}, "'model' is a section, give it a dict"),
        ({"workers": None}, "'workers' is a section, give it a dict of its keys, not None"),
        ({"num_workers": 1, "workers": {"num_workers": 2}}, "'num_workers' is given twice"),
        # numbers
        ({"lr": 0.1, "num_workers": -1}, r"num_workers = -1: expected .* at least 0 \(Ray actors"),
        ({"lr": -1}, f"lr = -1: {NUMBER}"),
        ({"lr": "fast"}, "lr = 'fast': expected a number"),
        ({"lr": None}, "lr = None: expected a number"),
        ({"lr": [0.1]}, r"lr = \[0.1\]: expected a number"),
        ({"lr": True}, "lr = True: expected a number"),
        ({"lr": float("nan")}, "lr = nan: expected a finite number"),
        ({"lr": float("inf")}, "lr = inf: expected a finite number"),
        ({"gamma": 1.5}, "gamma = 1.5: expected a number of at most 1"),
        ({"num_workers": True}, "num_workers = True: expected a number"),
        ({"num_workers": 1.5}, "num_workers = 1.5: expected a whole number"),
        ({"train_batch_size": "big"}, "train_batch_size = 'big': expected a whole number"),
        ({"grad_clip": -1}, "grad_clip = -1: expected a number greater than 0 or None"),
        ({"seed": "abc"}, "seed = 'abc': expected a whole number or None"),
        # choices
        ({"framework": "jax"}, r"framework = 'jax': expected 'auto', 'torch', 'tf' or 'tf2' \("),
        ({"framework": "pytorch"}, "did you mean 'torch'"),
        ({"log_level": "verbose"}, r"log_level = 'verbose': expected 'DEBUG', .* or None \("),
        ({"log_level": "info"}, "did you mean 'INFO'"),
        ({"observation_filter": "meanstd"}, "did you mean 'MeanStdFilter'"),
        ({"batch_mode": "complete"}, "did you mean 'complete_episodes'"),
        ({"explore": 2}, "explore = 2: expected True or False"),
        (
            {"rollout_fragment_length": 0},
            r"rollout_fragment_length = 0: expected a number greater than 0 or 'auto' \(",
        ),
        ({"model": {"fcnet_activation": "tanhh"}}, "did you mean 'tanh'"),
        # things
        ({"fcnet_hiddens": ["a"]}, r"fcnet_hiddens\[0\] = 'a': expected a whole number"),
        ({"env_config": [1]}, r"env_config = \[1\]: expected a dict"),
        ({"policies": ["a"]}, r"policies = \['a'\]: expected a dict"),
        ({"policies_to_train": "a"}, "policies_to_train = 'a': expected a list or None"),
        ({"policy_mapping_fn": 3}, "policy_mapping_fn = 3: expected a function"),
        ({"sampler_class": 3}, "sampler_class = 3: expected a class"),
        # schedules
        ({"lr_schedule": 0.1}, "lr_schedule = 0.1: expected a list or None"),
        ({"lr_schedule": [[0]]}, r"lr_schedule\[0\] = \[0\]: expected \[env step, value\]"),
        ({"lr_schedule": []}, r"lr_schedule = \[\]: expected at least one point"),
        ({"lr_schedule": [[9, 1], [0, 2]]}, "with rising steps, such as"),
        ({"lr_schedule": [[0, -1.0]]}, "expected values of at least 0, not -1.0"),
    ],
)
def test_a_key_that_cannot_be_meant_is_named(keys, message):
    with pytest.raises(ConfigError, match=message):
        validated(PPOConfig, keys)


def test_numbers_may_come_as_text():
    # YAML 1.1 reads 1e-3 as text.
    config = validated(PPOConfig, {"lr": "1e-3", "num_workers": "2", "num_sgd_iter": 3.0})
    assert (config.lr, config["num_workers"], config.num_sgd_iter) == (0.001, 2, 3)


@pytest.mark.parametrize("config", ["CartPole-v1", 3, [("env", "CartPole-v1")]])
def test_a_config_is_a_dict(config):
    with pytest.raises(ConfigError, match=r"a config is a dict of keys such as \{'env'"):
        PPO(config)
    with pytest.raises(ConfigError, match="no environment is given: set env"):
        PPO()


def test_all_wrong_values_are_told_at_once():
    with pytest.raises(ConfigError) as caught:
        validated(PPOConfig, {"lr": -1, "gamma": 2})
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("keys", "length"),
    [
        ({"train_batch_size": 1024, "num_envs_per_worker": 8}, 128),
        ({"train_batch_size": 1024, "num_envs_per_worker": 8, "num_workers": 2}, 64),
        ({"train_batch_size": 1024, "rollout_fragment_length": 16}, 16),
        ({"train_batch_size": 1000, "batch_mode": "complete_episodes", "num_workers": 3}, 41),
    ],
)
def test_auto_fragments_make_one_batch(keys, length):
    assert fragment_length(validated(PPOConfig, keys)) == length


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"train_batch_size": 1000, "num_workers": 3},
            "train_batch_size=1000 .* num_workers=3 and num_envs_per_worker=8 .*=984 or 1008",
        ),
        ({"train_batch_size": 4}, "sgd_minibatch_size|num_envs_per_worker=8 .*train_batch_size=8"),
        (
            {"train_batch_size": 1024, "rollout_fragment_length": 100},
            "rollout_fragment_length=100: set train_batch_size=800 or 1600",
        ),
        (
            {"train_batch_size": 512, "sgd_minibatch_size": 1024},
            "sgd_minibatch_size=1024 is larger than train_batch_size=512",
        ),
        (
            {"use_lstm": True, "sgd_minibatch_size": 10},
            "sgd_minibatch_size=10 cannot hold .*max_seq_len=20",
        ),
        (
            {"sgd_minibatch_size": 24, "use_gru": True, "burn_in": 5},
            "cannot hold one sequence of max_seq_len=20 after burn_in=5",
        ),
        (
            {"framework": "tf", "eager_tracing": True},
            "framework='tf': set framework='tf2'",
        ),
        ({"eager_tracing": True}, "eager_tracing=True is about framework='tf2', not .*'auto'"),
        ({"policies": {"a": None, "b": None}}, "policies .* policy_mapping_fn"),
        ({"policies_to_train": ["x"]}, "policies_to_train names 'x'"),
    ],
)
def test_keys_that_contradict_each_other_are_both_named(keys, message):
    with pytest.raises(ConfigError, match=message):
        validated(PPOConfig, keys)


def test_two_sections_cannot_share_a_name():
    class More(Section):
        lr: float = 0.0

    class Ambiguous(TrainerConfig):
        more: More = More()

    with pytest.raises(TypeError, match="two keys 'lr'"):
        key_index(Ambiguous)


def test_ppo_has_few_keys_and_each_is_documented():
    index = key_index(PPOConfig)
    assert len([key for key, (section, _) in index.items() if section is None]) <= 20
    assert len(index) <= 90
    for name, field in PPOConfig.model_fields.items():
        assert field.description or name in section_names(PPOConfig), name
    for name in section_names(PPOConfig):
        if name != "model":  # rl-policy documents its own
            section = PPOConfig.model_fields[name].annotation
            assert all(field.description for field in section.model_fields.values()), name
