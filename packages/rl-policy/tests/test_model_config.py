from __future__ import annotations

import pytest

from rl_policy import ModelConfig, register_custom_model
from rl_policy.model_config import find_custom_model


def test_the_defaults_are_two_64x64_tanh_nets():
    config = ModelConfig()
    assert config.fcnet_hiddens == (64, 64)
    assert config.fcnet_activation == "tanh"
    assert not config.vf_share_layers


def test_mapping_and_back():
    given = {"fcnet_hiddens": [32], "conv_filters": [[16, [8, 8], 4]], "fcnet_activation": "swish"}
    config = ModelConfig.from_mapping(given)
    assert config.fcnet_hiddens == (32,)
    assert config.conv_filters == ((16, 8, 4),)
    assert config.fcnet_activation == "silu"
    assert ModelConfig.from_mapping(config.to_mapping()) == config
    assert ModelConfig.from_mapping(config) is config


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"fcnet_hidens": [1]}, "unknown model config key 'fcnet_hidens'; did you mean 'fcnet_hid"),
        ({"fcnet_activation": "tahn"}, "unknown fcnet_activation 'tahn'; did you mean 'tanh'"),
        ({"fcnet_hiddens": 64}, "fcnet_hiddens must be positive whole numbers, got 64"),
        ({"fcnet_hiddens": [0]}, "positive whole numbers"),
        ({"lstm_cell_size": 0}, "lstm_cell_size must be positive"),
        ({"conv_filters": [[16, 8]]}, r"list of \[channels, kernel, stride\].*got \[16, 8\]"),
        ({"conv_filters": [[16, [8, 4], 2]]}, "channels, kernel, stride"),
        ({"use_lstm": True, "custom_model": "x"}, "get_initial_state"),
    ],
)
def test_wrong_values_are_named(given, message):
    with pytest.raises(ValueError, match=message):
        ModelConfig.from_mapping(given)


def test_custom_models_are_found_by_name():
    register_custom_model("my_model", int)
    assert find_custom_model("my_model") is int
    assert find_custom_model(float) is float
    with pytest.raises(ValueError, match=r"'my_modle'; did you mean 'my_model'.*register_custom"):
        find_custom_model("my_modle")
