"""Typed configs: a flat dict comes in, a nested model lives inside, a flat mapping comes out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import Field, PositiveFloat, PositiveInt, ValidationError, model_validator
from pydantic.fields import FieldInfo

from rl_algos.keys import ConfigError, key_index, locate, nest, on_section_defaults
from rl_algos.mistakes import explain
from rl_algos.sections import (
    DebuggingSection,
    EnvironmentSection,
    EvaluationSection,
    ExplorationSection,
    MultiAgentSection,
    OptimisationSection,
    ReportingSection,
    ResourceSection,
    RolloutSection,
    Schedule,
    Section,
)
from rl_policy import DEFAULT_POLICY_CONFIG, ModelConfig
from rl_sample.protocols import DEFAULT_POLICY_ID

if TYPE_CHECKING:
    from typing_extensions import Self

C = TypeVar("C", bound="TrainerConfig")

EVALUATION_KEYS = (
    "env",
    "env_config",
    "num_envs_per_worker",
    "vectorize",
    "inference",
    "sampler_class",
    "callbacks",
    "explore",
    "policy_mapping_fn",
    "num_cpus_per_worker",
    "seed",
)
"""Keys that `evaluation_config` may hold; all others belong to what is evaluated."""


class TrainerConfig(Section):
    """What every algorithm has; an algorithm's own keys are added at the top, sections below.

    Built from flat keys (`{"env": "CartPole-v1", "num_workers": 2}`), from sections
    (`{"model": {"fcnet_hiddens": [32]}}`), or both: names are unique over all of them.
    """

    preset: str | None = "auto"
    """Whose preset lies under these keys: `auto` the environment's own, an id, or None for none."""
    train_batch_size: PositiveInt = 2048
    """Environment steps that one update learns on; larger is steadier, but learns less often."""
    gamma: Annotated[float, Field(ge=0, le=1)] = 0.99
    """Discount per step; rewards 1 / (1 - gamma) steps ahead still count."""
    lr: PositiveFloat = 1e-3
    """Step size of the optimiser; higher learns faster until it diverges."""
    lr_schedule: Schedule | None = None
    """`lr` over environment steps, instead of the constant."""

    environment: EnvironmentSection = EnvironmentSection()
    workers: RolloutSection = RolloutSection()
    model: ModelConfig = ModelConfig()
    exploration: ExplorationSection = ExplorationSection()
    evaluation: EvaluationSection = EvaluationSection()
    optimisation: OptimisationSection = OptimisationSection()
    multiagent: MultiAgentSection = MultiAgentSection()
    resources: ResourceSection = ResourceSection()
    reporting: ReportingSection = ReportingSection()
    debugging: DebuggingSection = DebuggingSection()

    @model_validator(mode="before")
    @classmethod
    def _from_flat(cls, keys: Any) -> Any:
        return on_section_defaults(cls, nest(cls, keys)) if isinstance(keys, Mapping) else keys

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_sizes(self)
        check_schedules(self)
        check_callables(self)
        check_policies(self)
        check_evaluation(self)
        check_framework(self)
        return self

    def __getitem__(self, key: str) -> Any:
        """The value of any key, whichever section it lives in: `config["num_workers"]`."""
        section, field = locate(type(self), key)
        return getattr(self if section is None else getattr(self, section), field)

    def flat(self) -> dict[str, Any]:
        """All keys and values, `{"lr": 0.0003, "num_workers": 0, …}`."""
        return {key: self[key] for key in key_index(type(self))}

    def policy_keys(self) -> dict[str, Any]:
        """What a policy's `config` holds: the algorithm's keys and those of every policy."""
        index = key_index(type(self))
        names = [
            k for k, (section, _) in index.items() if not section or k in DEFAULT_POLICY_CONFIG
        ]
        return {**{key: self[key] for key in names}, "model": self.model}


def validated(config_class: type[C], keys: Mapping[str, Any]) -> C:
    """A config from its keys, each of them possible and no two of them contradicting each other.

    Raises:
        ConfigError: with one line for each key that is unknown or has a value it cannot have.
    """
    try:
        return config_class.model_validate(dict(keys))
    except ValidationError as error:
        raise ConfigError(explain(error, config_class)) from error


def fragment_length(config: TrainerConfig) -> int:
    """Environment steps per environment and fragment, with `auto` worked out."""
    given = config.workers.rollout_fragment_length
    if given != "auto":
        return given
    return max(1, config.train_batch_size // _environments(config))


def check_sizes(config: TrainerConfig) -> None:
    """Raise ConfigError where batch, fragment, worker and minibatch sizes contradict each other."""
    workers, batch = config.workers, config.train_batch_size
    given, environments = workers.rollout_fragment_length, _environments(config)
    who = f"num_workers={workers.num_workers} and num_envs_per_worker={workers.num_envs_per_worker}"
    unit = environments if given == "auto" else environments * given
    if workers.batch_mode == "truncate_episodes" and batch % unit:
        fragments = "" if given == "auto" else f" with rollout_fragment_length={given}"
        below, above = batch // unit * unit, -(-batch // unit) * unit
        near = " or ".join(str(size) for size in (below, above) if size)
        raise ConfigError(
            f"train_batch_size={batch} is not a multiple of the {unit} steps that {who} "
            f"sample at once{fragments}: set train_batch_size={near}, or change the others"
        )
    minibatch = getattr(config, "sgd_minibatch_size", None)
    if minibatch is not None and minibatch > batch:
        raise ConfigError(
            f"sgd_minibatch_size={minibatch} is larger than train_batch_size={batch}, of which it "
            f"is a part: set sgd_minibatch_size to at most {batch}"
        )
    model = config.model
    if minibatch and model.cell and minibatch < model.max_seq_len + model.burn_in:
        before = f" after burn_in={model.burn_in}" if model.burn_in else ""
        raise ConfigError(
            f"sgd_minibatch_size={minibatch} cannot hold one sequence of "
            f"max_seq_len={model.max_seq_len}{before}: raise the first or lower the second"
        )


def check_schedules(config: TrainerConfig) -> None:
    """Raise ConfigError where the points of a schedule do not follow each other."""
    for name, points in config:
        if not name.endswith("_schedule") or points is None:
            continue
        steps = [step for step, _ in points]
        if not steps or any(a >= b for a, b in pairwise(steps)):
            raise ConfigError(
                f"{name} = {points!r}: expected at least one point [env step, value], with rising "
                "steps, such as [[0, 0.001], [100000, 0.0]]"
            )
        of = type(config).model_fields.get(name.removesuffix("_schedule"))
        lowest = min(value for _, value in points)
        if of is not None and lowest < 0 and _is_at_least_zero(of):
            raise ConfigError(f"{name} = {points!r}: expected values of at least 0, not {lowest}")


def check_callables(config: TrainerConfig) -> None:
    """Raise ConfigError where a key that names code holds something else."""
    expected = {
        "policy_mapping_fn": "a function (agent_id, eps_id, worker_index) -> policy id",
        "sampler_class": "a class that takes the arguments of rl_workers.Sampler",
    }
    for key, what in expected.items():
        value = config[key]
        if not (value is None or callable(value) or isinstance(value, str)):
            raise ConfigError(f"{key} = {value!r}: expected {what}, or its name 'module:name'")


def check_policies(config: TrainerConfig) -> None:
    """Raise ConfigError where the multi-agent keys contradict each other."""
    multi = config.multiagent
    known = list(multi.policies) or [DEFAULT_POLICY_ID]
    if len(known) > 1 and multi.policy_mapping_fn is None:
        raise ConfigError(
            f"policies names {known}, but no policy_mapping_fn says which agent plays which: "
            "set policy_mapping_fn=f(agent_id, eps_id, worker_index)"
        )
    for name in multi.policies_to_train or ():
        if name not in known:
            raise ConfigError(
                f"policies_to_train names {name!r}, which is not one of policies={known}"
            )


def check_evaluation(config: TrainerConfig) -> None:
    """Raise ConfigError where the evaluation keys contradict each other or cannot be meant."""
    section = config.evaluation
    keys = evaluation_keys(config.flat(), section.evaluation_config, key_index(type(config)))
    if section.evaluation_interval is not None and keys["env"] is None:
        raise ConfigError(
            f"evaluation_interval={section.evaluation_interval} needs an environment to play in: "
            "set env, or evaluation_config={'env': …}"
        )
    if section.evaluation_parallel_to_training and section.evaluation_num_workers == 0:
        raise ConfigError(
            "evaluation_parallel_to_training=True needs workers that play meanwhile, but "
            "evaluation_num_workers=0 evaluates in the process that trains: set "
            "evaluation_num_workers to at least 1"
        )
    if section.evaluation_parallel_to_training and section.evaluation_interval is None:
        raise ConfigError(
            "evaluation_parallel_to_training=True, but nothing is evaluated while training: set "
            "evaluation_interval, for example to 1"
        )


def check_framework(config: TrainerConfig) -> None:
    """Raise ConfigError where tracing is asked of what is traced already, or never is."""
    name = config.debugging.framework
    if config.debugging.eager_tracing and name != "tf2":
        raise ConfigError(
            f"eager_tracing=True is about framework='tf2', not about framework={name!r}: set "
            "framework='tf2', or leave eager_tracing out ('tf' is traced always, 'torch' never)"
        )


def _is_at_least_zero(field: FieldInfo) -> bool:
    return any(getattr(bound, name, None) == 0 for bound in field.metadata for name in ("gt", "ge"))


def evaluation_keys(
    keys: Mapping[str, Any], overrides: Mapping[str, Any], known: Iterable[str] = ()
) -> dict[str, Any]:
    """What holds while evaluating: `keys` with `overrides` on top; `env_config`s are merged.

    Args:
        keys: flat keys of the training, at least `EVALUATION_KEYS`.
        overrides: what `evaluation_config` holds.
        known: all config keys, to tell one that means nothing here from one that is misspelt.

    Raises:
        ConfigError: a key of `overrides` is unknown or has a value it cannot have.
    """
    checked = {key: _override(key, value, known) for key, value in overrides.items()}
    found = {key: keys[key] for key in EVALUATION_KEYS}
    found |= {"explore": False, "seed": None, **checked}
    found["env_config"] = {**keys["env_config"], **checked.get("env_config", {})}
    return found


def _override(key: str, value: Any, known: Iterable[str]) -> Any:
    """The checked value of a key of `evaluation_config`."""
    own = EvaluationSection.model_fields
    if key not in EVALUATION_KEYS:
        beside = next((name for name in (key, f"evaluation_{key}") if name in own), None)
        near = difflib.get_close_matches(key, EVALUATION_KEYS, n=1, cutoff=0.5)
        if beside is not None:
            hint = f"set {beside} itself, beside evaluation_config"
        elif key in known:
            hint = f"it changes nothing while evaluating. What does: {', '.join(EVALUATION_KEYS)}"
        else:
            hint = f"did you mean {near[0]!r}?" if near else f"keys: {', '.join(EVALUATION_KEYS)}"
        raise ConfigError(f"evaluation_config cannot hold {key!r}: {hint}")
    section = TrainerConfig.model_fields[locate(TrainerConfig, key)[0] or ""].annotation
    try:
        return getattr(section.model_validate({key: value}), key)  # type: ignore[union-attr]
    except ValidationError as error:
        raise ConfigError(f"evaluation_config: {explain(error, TrainerConfig)}") from error


def _environments(config: TrainerConfig) -> int:
    return max(1, config.workers.num_workers) * config.workers.num_envs_per_worker
