"""The sections that the configs of all algorithms share: one documented key per line of thought."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from rl_algos.frameworks import ALIASES

Framework = Annotated[
    Literal["auto", "torch", "tf", "tf2"],
    BeforeValidator(lambda name: ALIASES.get(name, name) if isinstance(name, str) else name),
]
Schedule = list[tuple[Annotated[int, Field(ge=0)], float]]
"""Points `[[env step, value], …]`, linear in between, constant outside."""


class Section(BaseModel):
    """A frozen group of keys; an unknown key or a value of the wrong type is an error."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        arbitrary_types_allowed=True,
        use_attribute_docstrings=True,
        populate_by_name=True,
        allow_inf_nan=False,
    )

    @field_validator("*", mode="before")
    @classmethod
    def _no_flag_is_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Python's True is 1; who writes `lr=True` means something else."""
        if isinstance(value, bool) and _is_number(cls.model_fields[info.field_name or ""]):
            raise PydanticCustomError("float_type", "Input should be a valid number")
        return value


def _is_number(field: FieldInfo) -> bool:
    """Whether a field holds a number and nothing that True could mean."""
    kinds = {field.annotation, *get_args(field.annotation)}
    kinds |= {get_args(kind)[0] for kind in kinds if get_origin(kind) is Annotated}
    return bool(kinds & {int, float}) and bool not in kinds


class EnvironmentSection(Section):
    """The environment and what lies between it and the policy."""

    env: Any = None
    """Gymnasium id, `module:Class`, class, callable(EnvContext) or registered name."""
    env_config: dict[str, Any] = {}
    """Keyword arguments of the environment's constructor."""
    observation_filter: Literal["NoFilter", "MeanStdFilter"] = "NoFilter"
    """`MeanStdFilter` normalises observations by running mean and deviation, clipped at 10."""
    normalize_actions: bool = True
    """The policy acts in [-1, 1]; actions are rescaled to the bounds of a Box action space."""
    clip_actions: bool = False
    """Clip what the environment gets to the Box's bounds; the loss sees the unclipped action."""


class RolloutSection(Section):
    """Who samples, how many at once, and in what pieces."""

    num_workers: Annotated[int, Field(ge=0)] = 0
    """Ray actors that sample; 0 samples in this process, without Ray."""
    num_envs_per_worker: PositiveInt = 8
    """Environments a worker steps in lock-step; more of them make acting cheaper per step."""
    vectorize: bool = False
    """Use the environment's own vectorised version, where it has one."""
    rollout_fragment_length: PositiveInt | Literal["auto"] = "auto"
    """Env steps per environment and fragment; `auto`: one fragment of each worker is a batch."""
    batch_mode: Literal["truncate_episodes", "complete_episodes"] = "truncate_episodes"
    """Cut fragments by length and bootstrap, or wait until episodes are over."""
    inference: Literal["auto", "numpy", "framework"] = "auto"
    """What workers compute actions with; `auto`: NumPy where the model has a NumPy forward."""
    sampler_class: Any = None
    """Replaces the sampler, a class or `module:Class`."""
    callbacks: Any = None
    """Subclass of `rl_workers.Callbacks`, or a list of such classes, each as class or name."""


class ExplorationSection(Section):
    """How actions are drawn while sampling."""

    explore: bool = True
    """Sample actions from the distribution; False takes the most likely one."""


class EvaluationSection(Section):
    """Episodes that are played to see how good the policies are; nothing learns from them."""

    evaluation_interval: PositiveInt | None = None
    """Iterations from one evaluation to the next; None evaluates only when asked to."""
    evaluation_duration: PositiveInt = 10
    """How much is played, each environment an equal share of it; only whole episodes count."""
    evaluation_duration_unit: Literal["episodes", "timesteps"] = "episodes"
    """What `evaluation_duration` counts; episodes are played to the end when steps run out."""
    evaluation_num_workers: Annotated[int, Field(ge=0)] = 0
    """Ray actors that only evaluate; 0 evaluates in this process."""
    evaluation_config: dict[str, Any] = {}
    """Keys that differ while evaluating; its `env_config` is laid over that of the training."""
    evaluation_parallel_to_training: bool = False
    """Evaluate while the iteration trains, with the weights of its start; needs Ray actors."""


class OptimisationSection(Section):
    """The optimiser behind every algorithm's `lr`."""

    optimizer: Literal["adam", "sgd", "rmsprop"] = "adam"
    """The update rule."""
    adam_epsilon: PositiveFloat = 1e-5
    """Adam's ε; larger damps the steps of parameters with tiny gradients."""
    grad_clip: PositiveFloat | None = 0.5
    """Largest global norm of a gradient; None does not clip."""


class MultiAgentSection(Section):
    """More than one policy."""

    policies: dict[str, Any] = {}
    """{policy id: PolicySpec or None}; empty: one `default_policy` plays all agents."""
    policy_mapping_fn: Any = None
    """`f(agent_id, eps_id, worker_index) -> policy id`, asked once per agent and episode."""
    policies_to_train: list[str] | None = None
    """Policies that learn; None: all of them."""


class ResourceSection(Section):
    """How much of the machine is used."""

    num_cpus_for_driver: PositiveInt | None = 1
    """Threads of the framework in this process; more pay for large nets; None: as it likes."""
    num_cpus_per_worker: Annotated[float, Field(ge=0)] = 1
    """CPUs that Ray reserves for each sampling worker."""


class ReportingSection(Section):
    """What a result is made of."""

    metrics_num_episodes_for_smoothing: PositiveInt = 100
    """`episode_reward_*` are over this many of the last finished episodes."""
    min_time_s_per_reporting: Annotated[float, Field(ge=0)] = 0
    """One `train()` goes on for at least so many seconds."""


class DebuggingSection(Section):
    """Reproducing and watching a run."""

    framework: Framework = "auto"
    """`torch`, `tf` (TensorFlow, traced), `tf2` (eager); `auto`: the first that is installed."""
    eager_tracing: bool = False
    """With `tf2`: trace updates, which is many times faster, but a debugger cannot step in."""
    seed: Annotated[int, Field(ge=0)] | None = None
    """Seeds weights, environments, action noise and minibatches; None draws one."""
    log_level: Literal["DEBUG", "INFO", "WARN", "ERROR"] | None = None
    """Least severe message that the `rl_…` loggers let through; None leaves them as they are."""
