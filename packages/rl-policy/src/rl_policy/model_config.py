"""Which network: a small typed config with RLlib's names, and the registry of custom models."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from importlib import import_module
from typing import Any

ACTIVATIONS = ("tanh", "relu", "sigmoid", "silu", "elu", "linear")
IMAGE_ORDERS = ("HWC", "CHW", "flat")

_CUSTOM_MODELS: dict[str, Any] = {}


@dataclass(frozen=True)
class ModelConfig:
    """The network of a policy; names as in RLlib's model config.

    Defaults are two 64x64 tanh nets, one for the policy and one for the value.
    """

    fcnet_hiddens: tuple[int, ...] = (64, 64)
    """Units of each hidden layer (not after a single image and nothing else)."""
    fcnet_activation: str = "tanh"
    """`tanh`, `relu`, `sigmoid`, `silu`, `elu` or `linear`."""
    conv_filters: tuple[tuple[int, int, int], ...] | None = None
    """(channels, kernel, stride) of each convolution over images; None: by the image's size."""
    image_order: str | None = None
    """Axes of image observations: `HWC`, `CHW`, or `flat` for no images; None: by their shape."""
    conv_activation: str = "relu"
    """After each convolution."""
    post_fcnet_hiddens: tuple[int, ...] = ()
    """Units of dense layers after the convolutions or after `fcnet_hiddens`."""
    post_fcnet_activation: str = "relu"
    """After each of these dense layers."""
    free_log_std: bool = False
    """True: a Gaussian's log standard deviation is a parameter and not an output of the net."""
    vf_share_layers: bool | None = None
    """True: the value head reads the policy's features; None: only where a net is recurrent."""
    use_lstm: bool = False
    """True: an LSTM follows the hidden layers, for what one observation does not show."""
    use_gru: bool = False
    """True: a GRU instead of an LSTM: half the state, three quarters of the weights."""
    max_seq_len: int = 20
    """Rows of one sequence that a recurrent net is learned on."""
    burn_in: int = 0
    """Rows before each sequence that only warm up the recurrent state."""
    lstm_cell_size: int = 64
    """Units of the LSTM's or GRU's state."""
    lstm_use_prev_action: bool = False
    """True: the LSTM or GRU also reads the action before."""
    lstm_use_prev_reward: bool = False
    """True: the LSTM or GRU also reads the reward before."""
    custom_model: str | type | None = None
    """`module:Class`, the class or its registered name; with an LSTM or GRU: of its features."""
    custom_model_config: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of the custom model's constructor."""
    custom_action_dist: str | None = None
    """A name given to `register_action_dist`."""

    def __post_init__(self) -> None:
        for name in ("fcnet_hiddens", "post_fcnet_hiddens"):
            object.__setattr__(self, name, _sizes(name, getattr(self, name)))
        for name in ("fcnet_activation", "conv_activation", "post_fcnet_activation"):
            object.__setattr__(self, name, _activation(name, getattr(self, name)))
        if self.conv_filters is not None:
            object.__setattr__(self, "conv_filters", _filters(self.conv_filters))
        for name in ("max_seq_len", "lstm_cell_size"):
            _sizes(name, [getattr(self, name)])
        if self.image_order not in (None, *IMAGE_ORDERS):
            hint = did_you_mean(str(self.image_order), IMAGE_ORDERS)
            raise ValueError(f"model: unknown image_order {self.image_order!r}{hint}")
        self._check_recurrence()

    def _check_recurrence(self) -> None:
        if self.use_lstm and self.use_gru:
            raise ValueError("model: use_lstm and use_gru exclude each other; keep one of them")
        if isinstance(self.burn_in, bool) or int(self.burn_in) != self.burn_in or self.burn_in < 0:
            raise ValueError(
                f"model: burn_in must be a whole number of rows, 0 or more, got {self.burn_in!r}"
            )
        if self.burn_in and self.cell is None and self.custom_model is None:
            raise ValueError(
                "model: burn_in warms up a recurrent state, and this net has none; set use_lstm or "
                "use_gru too, or leave burn_in out"
            )

    @property
    def cell(self) -> str | None:
        """`lstm`, `gru` or None: what makes the built-in nets recurrent."""
        return "lstm" if self.use_lstm else "gru" if self.use_gru else None

    @property
    def separate_value(self) -> bool:
        """The value has layers of its own."""
        if self.vf_share_layers is None:
            return self.cell is None
        return not self.vf_share_layers

    @classmethod
    def from_mapping(cls, given: Mapping[str, Any] | ModelConfig) -> ModelConfig:
        """Build from a plain mapping such as `config["model"]`.

        Raises:
            ValueError: an unknown key (the nearest known one is named) or a wrong value.
        """
        if isinstance(given, ModelConfig):
            return given
        known = [f.name for f in fields(cls)]
        for key in given:
            if key not in known:
                raise ValueError(f"unknown model config key {key!r}{did_you_mean(key, known)}")
        return cls(**given)

    def to_mapping(self) -> dict[str, Any]:
        """Plain data, such that `from_mapping` gives an equal config."""
        return asdict(self) | {"custom_model": self.custom_model}


def register_custom_model(name: str, model_class: Any) -> None:
    """Make `model_class` known as `config["model"]["custom_model"] = name`.

    Args:
        name: any string; a later registration replaces an earlier one.
        model_class: a subclass of `rl_policy.torch.TorchModel` or `rl_policy.tf.TFModel`, called
            with `(observation_space, action_space, num_outputs, model_config, name,
            **custom_model_config)`.
    """
    _CUSTOM_MODELS[name] = model_class


def find_custom_model(model: str | type) -> Any:
    """The class behind a registered name or `module:Class` (a class is returned as it is).

    Raises:
        ValueError: nobody registered that name, or it cannot be imported.
    """
    if not isinstance(model, str):
        return model
    if model in _CUSTOM_MODELS:
        return _CUSTOM_MODELS[model]
    module, colon, name = model.partition(":")
    if not colon:
        raise ValueError(
            f"no custom model is registered as {model!r}{did_you_mean(model, _CUSTOM_MODELS)}; "
            f"call register_custom_model({model!r}, YourModel) first, or name it as 'module:Class'"
        )
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"custom_model {model!r} cannot be imported as 'module:Class': {error}"
        ) from error


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or what there is where nothing comes near."""
    names = [str(name) for name in known]
    near = difflib.get_close_matches(str(given), names, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known: {', '.join(sorted(names))}" if names else ""


def _sizes(name: str, values: Any) -> tuple[int, ...]:
    if isinstance(values, int) or any(int(v) != v or v < 1 for v in values):
        raise ValueError(f"model: {name} must be positive whole numbers, got {values!r}")
    return tuple(int(v) for v in values)


def _activation(name: str, value: str | None) -> str:
    value = {None: "linear", "swish": "silu"}.get(value, value)  # RLlib's spellings
    if value not in ACTIVATIONS:
        raise ValueError(f"model: unknown {name} {value!r}{did_you_mean(str(value), ACTIVATIONS)}")
    return value


def _filters(values: Iterable[Any]) -> tuple[tuple[int, int, int], ...]:
    filters = []
    for row in values:
        try:
            channels, kernel, stride = row
            kernel = kernel if isinstance(kernel, int) else _square(kernel)
        except (TypeError, ValueError):
            raise ValueError(
                "model: conv_filters must be a list of [channels, kernel, stride], such as "
                f"[[16, 8, 4], [32, 4, 2]]; got {row!r}"
            ) from None
        filters.append((int(channels), kernel, int(stride)))
    return tuple(filters)


def _square(kernel: Any) -> int:
    height, width = kernel
    if height != width:
        raise ValueError
    return int(height)
