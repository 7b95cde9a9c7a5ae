"""Ray Tune: every algorithm as a Trainable, `from rl_algos.tune import PPOTrainer`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rl_algos import checkpoint
from rl_algos.keys import ConfigError
from rl_algos.presets import Resolved, resolve_config
from rl_algos.registry import ALGORITHMS, get_algorithm
from rl_algos.saving import restore_trainer
from rl_algos.stopping import check_keys, checked_stop, in_words, met
from rl_algos.trainer import Trainer
from rl_algos.trial_resources import check_given, check_room, resource_bundles

try:
    import ray
    from ray.tune import PlacementGroupFactory, Trainable, register_trainable
except ImportError as error:
    raise ImportError(
        f"rl_algos.tune needs Ray Tune, which cannot be imported ({error}): "
        "pip install 'rl-algos[tune]'"
    ) from error

if TYPE_CHECKING:
    from rl_algos.definition import TrainerDefinition

    A2CTrainer: type[AlgorithmTrainable]
    PGTrainer: type[AlgorithmTrainable]
    PPOTrainer: type[AlgorithmTrainable]

PATIENCE = 100
"""The first result waits for the first finished episode, for at most so many iterations."""


class AlgorithmTrainable(Trainable):
    """A Trainer as Tune drives it; `make_trainable` makes the subclass for an algorithm.

    The trial's config holds the algorithm's keys and `stop`, {key of a result: value at which the
    trial is done}; without it the preset's stop, if there is a preset. Tune's own `stop` is beside
    it: the first to be met ends the trial. A trial's checkpoint is a checkpoint of the Trainer.
    """

    algorithm: str | TrainerDefinition
    trainer: Trainer

    _progress_metrics = ("episode_reward_mean", "episode_reward_max", "episode_len_mean")
    """Read by Tune: what its display shows beside iteration, steps and time."""

    @classmethod
    def default_resource_request(cls, config: Mapping[str, Any]) -> PlacementGroupFactory:
        """A bundle for the trial's own process and one for each of its workers.

        Raises:
            ConfigError: a key or value is impossible, or the cluster is too small for the bundles;
                Tune raises it at once, before any trial is placed.
        """
        bundles = resource_bundles(_resolve(cls.algorithm, config)[0].config)
        if ray.is_initialized():
            nodes = ray.nodes()  # type: ignore[no-untyped-call]
            check_room(bundles, [node["Resources"] for node in nodes if node["Alive"]])
        return PlacementGroupFactory(bundles)

    def setup(self, config: Mapping[str, Any]) -> None:
        """Make the Trainer; its workers are placed in the trial's placement group."""
        resolved, self._stop = _resolve(self.algorithm, config)
        given = self.trial_resources
        if given is not None:  # by tune.with_resources, or before PBT changed the config
            cpus = given.required_resources.get("CPU", 0) - given.head_cpus
            check_given(resource_bundles(resolved.config), cpus)
        ends = in_words(self._stop) or "Tune stops it"
        print(f"{resolved.origin}; until {ends}")  # noqa: T201 - Tune shows what a trial prints
        self.trainer = Trainer(_definition(self.algorithm), resolved.config, resolved.origin)

    def step(self) -> dict[str, Any]:
        """One iteration; the first result comes when there is a return to report.

        Tune ends an experiment whose metric is missing in a result, and writes those columns to
        progress.csv that the first result has. So each result holds the newest evaluation, too.
        """
        trainer, seconds = self.trainer, self.trainer.time_total_s
        evaluation = (trainer.last_result or {}).get("evaluation")
        result: dict[str, Any] = {}
        while not result or ("episode_reward_mean" not in result and trainer.iteration < PATIENCE):
            result = trainer.train()
            evaluation = result.get("evaluation", evaluation)
        if trainer.config["evaluation_interval"] is not None:
            result["evaluation"] = evaluation or trainer.evaluate()["evaluation"]
        if self.training_iteration == 0:
            check_keys(self._stop, result, "evaluation" in result)
        result["time_this_iter_s"] = trainer.time_total_s - seconds
        done = bool(met(result, self._stop))
        return {**result, "done": done, "should_checkpoint": done}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Make the directory that Tune gives a checkpoint, the manifest last."""
        saved = self.trainer.save(checkpoint_dir)
        for entry in sorted(saved.iterdir(), key=lambda entry: entry.name == checkpoint.MANIFEST):
            entry.rename(Path(checkpoint_dir, entry.name))
        saved.rmdir()

    def load_checkpoint(self, checkpoint_dir: Any) -> None:
        """Go on from a checkpoint, this trial's or another's.

        Coefficients such as `lr` are those of the checkpoint, unless this trial's config gives
        them otherwise than the config in the checkpoint does; so it is with the seed.
        """
        source = checkpoint.locate(checkpoint_dir)
        changed = checkpoint.config_difference(source, self.trainer.config)
        names = {key.removesuffix("_schedule") for key in changed}
        learners = self.trainer.workers.learners
        own = {
            policy_id: {name: value for name, value in learner.coeffs.items() if name in names}
            for policy_id, learner in learners.items()
        }
        reseeded = "seed" in changed and self.trainer.config["seed"] is not None
        restore_trainer(self.trainer, source, keep_seed=reseeded)
        for policy_id, learner in learners.items():
            learner.coeffs.update(own[policy_id])
        self.trainer.workers.publish()

    def reset_config(self, new_config: Mapping[str, Any]) -> bool:
        """Start over with another config in the same process, for `reuse_actors=True`."""
        self.cleanup()
        self.setup(new_config)
        return True

    def cleanup(self) -> None:
        """Close the environments and end the workers."""
        self.trainer.stop()


def make_trainable(algorithm: str | TrainerDefinition) -> type[AlgorithmTrainable]:
    """The class that `tune.run` and `tune.Tuner` take for an algorithm.

    Args:
        algorithm: a registered name, `module:name`, or what `build_trainer` returned.

    Raises:
        ConfigError: there is no such algorithm; the nearest one is named.
    """
    name = _definition(algorithm).name
    about = {"algorithm": algorithm, "__module__": __name__, "__qualname__": f"{name}Trainer"}
    return type(name, (AlgorithmTrainable,), about)


def register() -> None:
    """Let `tune.run("PPO")` and its like mean the algorithms that come with this package."""
    for name in ALGORITHMS:
        register_trainable(name, __getattr__(f"{name}Trainer"))


def _definition(algorithm: str | TrainerDefinition) -> TrainerDefinition:
    return get_algorithm(algorithm) if isinstance(algorithm, str) else algorithm


def _resolve(
    algorithm: str | TrainerDefinition, config: Mapping[str, Any]
) -> tuple[Resolved, Mapping[str, float]]:
    """A trial's config resolved, and what it stops at."""
    keys = {key: value for key, value in config.items() if key != "stop"}
    resolved = resolve_config(algorithm, keys)
    stop = config.get("stop", resolved.preset.stop if resolved.preset else None) or {}
    if not isinstance(stop, Mapping):
        raise ConfigError(f"stop is a dict such as {{'episode_reward_mean': 475}}, not {stop!r}")
    return resolved, checked_stop(stop)


def __getattr__(name: str) -> Any:
    """`PPOTrainer` and its like, one for every registered algorithm."""
    algorithm = name.removesuffix("Trainer")
    if algorithm == name or algorithm not in ALGORITHMS:
        known = ", ".join(f"{algorithm}Trainer" for algorithm in ALGORITHMS)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; trainers: {known}")
    return globals().setdefault(name, make_trainable(algorithm))
