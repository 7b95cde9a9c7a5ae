from __future__ import annotations

import pytest

from rl_policy import ModelConfig, register_custom_model
from rl_policy.model_config import find_custom_model


def test_the_defaults_are_two_64x64_tanh_nets():
    config = ModelConfig()
    assert config.fcnet_hiddens == (64, 64)
    assert config.fcnet_activation == "tanh"
    assert config.separate_value


def test_values_share_the_layers_of_recurrent_nets_unless_told_otherwise():
    assert not ModelConfig(use_gru=True).separate_value
    assert ModelConfig(use_lstm=True, vf_share_layers=False).separate_value
    assert not ModelConfig(vf_share_layers=True).separate_value
    assert [ModelConfig(**{key: True}).cell for key in ("use_lstm", "use_gru")] == ["lstm", "gru"]
    assert ModelConfig().cell is None


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
        ({"use_lstm": True, "use_gru": True}, "use_lstm and use_gru exclude each other"),
        ({"use_gru": True, "burn_in": -1}, "burn_in must be a whole number of rows.*got -1"),
        ({"burn_in": 4}, "burn_in warms up a recurrent state.*set use_lstm or use_gru"),
        ({"image_order": "CWH"}, "unknown image_order 'CWH'; did you mean 'CHW'"),
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
