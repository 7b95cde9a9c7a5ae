"""What every model is asked, whatever framework its networks are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym

from rl_policy.model_config import ModelConfig
from rl_policy.train_batch import forward_batch
from rl_sample.protocols import Needs


class ModelFace:
    """The methods that policies, losses and hooks call on a `TorchModel` or `TFModel`.

    A custom model overrides `forward` and, to have a critic, `value_function`; a recurrent one
    also `get_initial_state`. `needs` asks the sampler for more inputs. Tensors are the
    framework's own.
    """

    needs: Needs = Needs()
    mask_outputs: Callable[[Any, Any], Any] | None = None
    """Set by the policy where actions can be masked: (outputs, action mask) -> outputs."""
    __call__: Callable[..., Any]
    """Calls `forward`."""
    training: bool
    """True in the model that learns, False in one that only acts: for dropout and the like."""

    def __init__(
        self,
        obs_space: gym.Space[Any],
        action_space: gym.Space[Any],
        num_outputs: int,
        model_config: ModelConfig,
        name: str,
    ) -> None:
        """Subclasses take `custom_model_config` as further keyword arguments."""
        super().__init__()
        self.obs_space = obs_space
        self.action_space = action_space
        self.num_outputs = num_outputs
        self.model_config = model_config
        self.name = name

    def forward(self, input_dict: Mapping[str, Any], state: Any, seq_lens: Any) -> tuple[Any, Any]:
        """Compute one pass.

        Args:
            input_dict: `obs` [B, …] raw and nested; `obs_flat` [B, D] float32, encoded and
                filtered, without images (of an observation that is one image: that, raw); all
                other columns that there are. For a recurrent model rows are N sequences of T rows
                each, B = N * T, padded at their ends.
            state: recurrent state at the start of each sequence, [N, …] each.
            seq_lens: [N] rows of each sequence that are no padding; acting: ones.

        Returns:
            Inputs of the action distribution [B, num_outputs] and the state after each sequence.
        """
        raise NotImplementedError(f"{type(self).__name__} does not implement forward()")

    def value_function(self) -> Any:
        """Values [B] of the last forward's rows."""
        raise NotImplementedError(
            f"{type(self).__name__} has no value_function(); write one, or use neither use_critic "
            "nor use_gae"
        )

    def get_initial_state(self) -> list[Any]:
        """The recurrent state of one sequence at an episode's start, all zero; [] without one."""
        return []

    def custom_loss(self, policy_loss: Any, loss_inputs: Mapping[str, Any]) -> Any:
        """Change the loss, for example by adding a term."""
        return policy_loss

    def metrics(self) -> dict[str, Any]:
        """Scalars to report with the statistics of learning."""
        return {}

    from_batch = forward_batch

    def check_outputs(self, outputs: Any) -> None:
        """Refuse outputs of `forward`, or features for a recurrent cell, of another form.

        Raises:
            ValueError: not [B, num_outputs].
        """
        shape = getattr(outputs, "shape", ())
        if getattr(shape, "rank", 2) is None:  # a traced tensor of which nothing is known
            return
        shape = tuple(shape)
        if len(shape) != 2 or shape[1] not in (self.num_outputs, None):
            given = f"shape {list(shape)}" if shape else f"type {type(outputs).__name__}"
            raise ValueError(
                f"{type(self).__name__}.forward() gave outputs of {given}, expected [B, "
                f"{self.num_outputs}]: end the network in a layer of num_outputs units and return "
                "(outputs, state)"
            )

    def check_values(self, values: Any, rows: int) -> None:
        """Refuse values of `value_function` for `rows` rows in another form than [rows].

        Raises:
            ValueError: [rows, 1] for example, which losses would spread over [rows, rows].
        """
        shape = tuple(values.shape)
        if shape != (rows,):
            raise ValueError(
                f"{type(self).__name__}.value_function() gave shape {list(shape)} for {rows} rows, "
                f"expected [{rows}]: drop the last axis, for example with values[:, 0]"
            )

    @property
    def has_value(self) -> bool:
        """The model has a `value_function`."""
        return type(self).value_function is not ModelFace.value_function
