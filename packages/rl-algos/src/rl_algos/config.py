"""Typed configs: a flat dict comes in, a nested model lives inside, a flat mapping comes out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import Field, PositiveFloat, PositiveInt, ValidationError, model_validator

from rl_algos.keys import ConfigError, key_index, locate, nest, on_section_defaults
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
        return on_section_defaults(cls, nest(cls, keys)) if isinstance(keys, Mapping) else keys

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


def _explain(error: Any, known: Iterable[str]) -> str:
    """One line of a pydantic error, in the words of the config."""
    cause = error.get("ctx", {}).get("error")
    if isinstance(cause, ValueError):
        return str(cause)
    key = next((part for part in error["loc"] if part in known), "config")
    return f"{key} = {error['input']!r}: {error['msg']}"
