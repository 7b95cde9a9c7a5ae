"""Typed configs: a flat dict comes in, a nested model lives inside, a flat mapping comes out."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import BaseModel, Field, PositiveFloat, PositiveInt, ValidationError, model_validator

from rl_algos.sections import (
    DebuggingSection,
    EnvironmentSection,
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


class ConfigError(ValueError):
    """A config key or value that cannot be meant; says what was expected and how to mend it."""


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
    optimisation: OptimisationSection = OptimisationSection()
    multiagent: MultiAgentSection = MultiAgentSection()
    resources: ResourceSection = ResourceSection()
    reporting: ReportingSection = ReportingSection()
    debugging: DebuggingSection = DebuggingSection()

    @model_validator(mode="before")
    @classmethod
    def _from_flat(cls, keys: Any) -> Any:
        return _on_section_defaults(cls, nest(cls, keys)) if isinstance(keys, Mapping) else keys

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_sizes(self)
        check_policies(self)
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


@cache
def key_index(config_class: type[TrainerConfig]) -> dict[str, tuple[str | None, str]]:
    """Every key a user may give: {key: (its section or None, its field)}.

    Raises:
        TypeError: two sections share a name, so that a flat key would be ambiguous.
    """
    index: dict[str, tuple[str | None, str]] = {}
    for key, section, field in _leaves(config_class):
        if key in index:
            raise TypeError(f"{config_class.__name__} has two keys {key!r}; rename one of them")
        index[key] = (section, field)
    return index


@cache
def section_names(config_class: type[TrainerConfig]) -> tuple[str, ...]:
    """The names of a config's sections, `("environment", "workers", …)`."""
    fields = config_class.model_fields
    return tuple(name for name, field in fields.items() if _is_section(field.annotation))


def locate(config_class: type[TrainerConfig], key: str) -> tuple[str | None, str]:
    """Where a key lives: (section or None, field).

    Raises:
        ConfigError: there is no such key; the nearest ones are named.
    """
    index = key_index(config_class)
    if key not in index:
        near = difflib.get_close_matches(key, [*index, *section_names(config_class)], n=2)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"keys: {list(index)}"
        raise ConfigError(f"{config_class.__name__} has no key {key!r}; {hint}")
    return index[key]


def nest(config_class: type[TrainerConfig], keys: Mapping[str, Any]) -> dict[str, Any]:
    """Flat keys, sections, or both, as `{key: value, section: {key: value}}`.

    Raises:
        ConfigError: a key is unknown or given twice.
    """
    nested: dict[str, Any] = {}
    for key, section, value in _entries(config_class, keys):
        place = nested if section is None else nested.setdefault(section, {})
        if key in place:
            raise ConfigError(f"key {key!r} is given twice, alone and in section {section!r}")
        place[key] = value
    return nested


def validated(config_class: type[C], keys: Mapping[str, Any]) -> C:
    """A config from its keys, each of them possible and no two of them contradicting each other.

    Raises:
        ConfigError: with one line for each key that is unknown or has a value it cannot have.
    """
    try:
        return config_class.model_validate(dict(keys))
    except ValidationError as error:
        index = key_index(config_class)
        raise ConfigError("\n".join(_explain(e, index) for e in error.errors())) from error


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
    if minibatch is not None and config.model.use_lstm and minibatch < config.model.max_seq_len:
        raise ConfigError(
            f"sgd_minibatch_size={minibatch} cannot hold one sequence of "
            f"max_seq_len={config.model.max_seq_len}: raise the first or lower the second"
        )


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


def _environments(config: TrainerConfig) -> int:
    return max(1, config.workers.num_workers) * config.workers.num_envs_per_worker


def _on_section_defaults(
    config_class: type[TrainerConfig], nested: dict[str, Any]
) -> dict[str, Any]:
    """Given sections on top of this class's own defaults for them, not of the section class's."""
    fields = config_class.model_fields
    return {
        name: dict(_section_items(name, fields[name].default)) | value
        if name in section_names(config_class)
        else value
        for name, value in nested.items()
    }


def _entries(
    config_class: type[TrainerConfig], keys: Mapping[str, Any]
) -> Iterator[tuple[str, str | None, Any]]:
    """(key, section, value) of each key, those inside given sections included."""
    sections = section_names(config_class)
    for name, value in keys.items():
        if name not in sections:
            yield name, locate(config_class, name)[0], value
            continue
        for key, inner in _section_items(name, value):
            if locate(config_class, key)[0] != name:
                raise ConfigError(f"key {key!r} does not belong into section {name!r}")
            yield key, name, inner


def _section_items(name: str, section: Any) -> list[tuple[str, Any]]:
    if isinstance(section, Mapping):
        return list(section.items())
    if isinstance(section, BaseModel):
        return list(section)
    if dataclasses.is_dataclass(section):
        return [(f.name, getattr(section, f.name)) for f in dataclasses.fields(section)]
    raise ConfigError(f"{name!r} is a section, give it a dict of its keys, not {section!r}")


def _leaves(config_class: type[TrainerConfig]) -> Iterator[tuple[str, str | None, str]]:
    """(key, section or None, field) of every leaf; a key is the field's alias where it has one."""
    for name, field in config_class.model_fields.items():
        kind = field.annotation
        if not _is_section(kind):
            yield field.alias or name, None, name
        elif issubclass(kind, BaseModel):  # type: ignore[arg-type]
            for inner, inner_field in kind.model_fields.items():  # type: ignore[union-attr]
                yield inner_field.alias or inner, name, inner
        else:
            for inner_name in dataclasses.fields(kind):  # type: ignore[arg-type]
                yield inner_name.name, name, inner_name.name


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and (
        issubclass(kind, BaseModel) or dataclasses.is_dataclass(kind)
    )


def _explain(error: Any, known: Iterable[str]) -> str:
    """One line of a pydantic error, in the words of the config."""
    cause = error.get("ctx", {}).get("error")
    if isinstance(cause, ValueError):
        return str(cause)
    key = next((part for part in error["loc"] if part in known), "config")
    return f"{key} = {error['input']!r}: {error['msg']}"
