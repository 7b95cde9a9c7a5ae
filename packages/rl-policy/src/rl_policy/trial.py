"""A custom model runs once when it is made, so that what does not fit is found then."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from rl_policy.action_dist import ActionDist
from rl_policy.actor import InputEncoder
from rl_policy.model_config import ModelConfig
from rl_policy.spaces import space_columns
from rl_policy.spec import NetActorSpec, history_needs
from rl_policy.xp import array_namespace
from rl_sample.protocols import Needs


def try_model(package: str, model: Any, policy: Any, dist: ActionDist) -> None:
    """Compute one row of zeros; Keras's layers make their variables on that occasion.

    Args:
        package: "torch" or "tf".
        model: just made by a user's class or hook.
        policy: the learner, or the spec of an actor.
        dist: of the actions that the model's outputs decide.

    Raises:
        ValueError: the model cannot compute that, or gives outputs, values or a state of another
            shape than asked.
    """
    needs = policy.needs if isinstance(policy, NetActorSpec) else policy.definition.asked_needs()
    config = ModelConfig.from_mapping(policy.config["model"])
    needs = Needs(act={**model.needs.act, **needs.act, **history_needs(config)})
    spaces = policy.observation_space, policy.action_space
    inputs = zero_inputs(NetActorSpec(*spaces, policy.config, config, dist, needs))
    initial = [array_namespace(s).to_numpy(s) for s in model.get_initial_state()]
    state = tuple(np.zeros((1, *s.shape), s.dtype) for s in initial)
    net = import_module(f"rl_policy.{package}.net").wrap_model(model)
    try:
        _, state_out = net.forward(inputs, state)
        net.values(inputs, state)
    except (NotImplementedError, ValueError):
        raise
    except Exception as error:
        raise ValueError(
            f"{type(model).__name__} cannot compute one row of zeros, on which it is tried when it "
            f"is made (observations {spaces[0]}, columns {sorted(inputs)}): "
            f"{type(error).__name__}: {error}"
        ) from error
    finally:
        model.train()
    given, expected = ([list(s.shape[1:]) for s in states] for states in (state_out, state))
    if given != expected:
        raise ValueError(
            f"{type(model).__name__}.forward() gave states of shapes {given} after the step, and "
            f"get_initial_state() says {expected}: return (outputs, state) with the same shapes"
        )


def zero_inputs(spec: NetActorSpec) -> dict[str, Any]:
    """What `Net.forward` gets, one row of zeros: encoded observations and `needs.act`."""
    sources = {"actions": spec.dist.raw_space, "obs": spec.observation_space}
    shapes: dict[str, tuple[tuple[int, ...], Any]] = space_columns("obs", spec.observation_space)
    for name, (column, offsets) in spec.needs.act.items():
        times = () if len(offsets) == 1 else (len(offsets),)
        space = sources.get(column)
        columns = {name: ((), np.float32)} if space is None else space_columns(name, space)
        shapes |= {leaf: ((*times, *shape), dtype) for leaf, (shape, dtype) in columns.items()}
    zeros = {name: np.zeros((1, *shape), dtype) for name, (shape, dtype) in shapes.items()}
    return InputEncoder(spec).encode(zeros)
