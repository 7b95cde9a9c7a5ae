"""Saving a trainer and going on from what was saved."""

from __future__ import annotations

import json
import logging
import time
import warnings
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from rl_algos import checkpoint
from rl_algos.checkpoint import CheckpointError
from rl_algos.loggers.scalars import flatten
from rl_algos.stored import encode_config, read_state, write_state
from rl_policy import ArtifactError, Policy, load_policy
from rl_sample.files import new_directory

if TYPE_CHECKING:
    from rl_algos.trainer import Trainer

OTHER_EPISODES = frozenset(("env", "env_config", "vectorize", "sampler_class"))
"""Config keys that an open episode does not outlive."""

log = logging.getLogger(__name__)


def save_trainer(
    trainer: Trainer,
    directory: str | Path,
    *,
    keep: int | None = None,
    score_by: str | None = None,
) -> Path:
    """Write `directory/checkpoint_000012`; see `Trainer.save`."""
    if keep is not None and keep < 1:
        raise ValueError(f"keep={keep!r}: at least one checkpoint stays, None keeps all")
    path = Path(directory) / checkpoint.name_of(trainer.iteration)
    about = _about(trainer)
    state, workers = _state(trainer), trainer.workers.state_dict()
    try:
        _say_what_is_replaced(path, about["run"])
        with new_directory(path, **about) as draft:
            keys = encode_config({**trainer.config.flat(), "seed": trainer.seed})
            (draft / "config.json").write_text(json.dumps(keys, indent=1))
            write_state(draft, "trainer", state)
            write_state(draft, "workers", workers)
            for policy_id, learner in trainer.workers.learners.items():
                _write_learner(draft, policy_id, learner)
    except OSError as error:
        raise CheckpointError(
            f"{path} could not be saved: {error.strerror or error}. Nothing else has changed: "
            "training can go on, older checkpoints are as they were. Free some space, or save into "
            "a directory that you may write to"
        ) from error
    if keep is not None:
        _prune(path, about["run"], keep, score_by)
    return path


def restore_trainer(trainer: Trainer, path: str | Path, *, keep_seed: bool = False) -> None:
    """Go on where `save_trainer` left off; see `Trainer.restore`.

    With `keep_seed` the trainer goes on with its own seed, in new episodes.
    """
    source = checkpoint.locate(path)
    check_algorithm(source, trainer.definition.name)
    state = read_state(source, "trainer")
    learners = trainer.workers.learners
    if state["policies"] != sorted(learners):
        raise CheckpointError(
            f"{source} is of policies {state['policies']}, this trainer has {sorted(learners)}: "
            "give it the same `policies`, or make the trainer with from_checkpoint(path)"
        )
    states = {policy_id: _read_learner(source, policy_id) for policy_id in learners}
    if keep_seed:
        states = {pid: {k: v for k, v in s.items() if k != "seed"} for pid, s in states.items()}
    _load(trainer, source, states, state["plan"])
    _take_up(trainer, state)
    changed = OTHER_EPISODES.intersection(checkpoint.config_difference(source, trainer.config))
    if not keep_seed:
        trainer.seed = trainer.workers.seed = state["seed"]
    if keep_seed or changed:
        what = ", ".join(sorted(changed | ({"seed"} if keep_seed else set())))
        log.warning("%s changed: the environments begin new episodes", what)
    else:
        trainer.workers.load_state_dict(read_state(source, "workers"))
    trainer.workers.publish()


def _load(trainer: Trainer, source: Path, states: Mapping[str, Any], plan: Any) -> None:
    """Let learners and plan take up their states, or all of the learners keep theirs."""
    learners = trainer.workers.learners
    before = {policy_id: learner.state_dict() for policy_id, learner in learners.items()}
    try:
        for policy_id, learner in learners.items():
            learner.load_state_dict(states[policy_id])
        trainer.plan.load_state_dict(plan)
    except Exception as error:
        for policy_id, learner in learners.items():
            learner.load_state_dict(before[policy_id])
        differing = _in_words(checkpoint.config_difference(source, trainer.config))
        raise CheckpointError(
            f"{source} does not fit this trainer: {error}. Their configs differ in "
            f"{differing or 'nothing that is stored'}; from_checkpoint(path) without other keys "
            "makes a trainer that fits"
        ) from error


def check_algorithm(source: Path, name: str) -> None:
    """Raise CheckpointError unless a checkpoint is one of the algorithm `name`."""
    saved = checkpoint.manifest_of(source)["algorithm"]
    if saved != name:
        raise CheckpointError(
            f"{source} is of algorithm {saved}, this is {name}: use {saved}.from_checkpoint(path); "
            f"rl_algos.get_algorithm({saved!r}) finds it if it is one of ours"
        )


def _about(trainer: Trainer) -> dict[str, Any]:
    """What the manifest says beside the files."""
    return {
        "kind": checkpoint.KIND,
        "format": checkpoint.FORMAT,
        "rl_algos": _own_version(),
        "algorithm": trainer.definition.name,
        "iteration": trainer.iteration,
        "run": trainer.run_id,
        "saved_at": time.time(),
        "result": flatten(trainer.last_result or {}),
    }


def _nested(figures: Mapping[str, float]) -> dict[str, Any]:
    """Undo `flatten`."""
    result: dict[str, Any] = {}
    for name, value in figures.items():
        *parents, last = name.split("/")
        place = result
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return result


def _state(trainer: Trainer) -> dict[str, Any]:
    workers = trainer.workers
    return {
        "iteration": trainer.iteration,
        "time_total_s": trainer.time_total_s,
        "seed": trainer.seed,
        "run": trainer.run_id,
        "policies": sorted(workers.learners),
        "counters": dict(workers.counters),
        "metrics": workers.metrics.state_dict(),
        "filter_deltas": dict(workers.filter_deltas),
        "plan": trainer.plan.state_dict(),
        "result": flatten(trainer.last_result or {}),
    }


def _take_up(trainer: Trainer, state: Mapping[str, Any]) -> None:
    trainer.iteration, trainer.time_total_s = state["iteration"], state["time_total_s"]
    trainer.run_id = state["run"]
    trainer.last_result = _nested(state["result"]) or None
    workers = trainer.workers
    workers.counters.clear()
    workers.counters.update(state["counters"])
    workers.metrics.load_state_dict(state["metrics"])
    workers.filter_deltas.clear()
    workers.filter_deltas.update(state["filter_deltas"])


def _write_learner(draft: Path, policy_id: str, learner: Any) -> None:
    """A learner's state, and what acting with it needs; the weights are in the one or the other."""
    name, state = file_name(policy_id), dict(learner.state_dict())
    if isinstance(learner, Policy):
        with suppress(ArtifactError):  # a policy without a network acts from its class
            learner.save(draft / "policies" / name)
            state["weights"] = None
    write_state(draft / "learners", name, state)


def _read_learner(source: Path, policy_id: str) -> dict[str, Any]:
    name = file_name(policy_id)
    state: dict[str, Any] = read_state(source / "learners", name)
    if "weights" in state and state["weights"] is None:
        try:
            state["weights"] = load_policy(source / "policies" / name).get_weights()
        except ArtifactError as error:
            raise CheckpointError(str(error)) from error
    return state


def file_name(policy_id: str) -> str:
    """What the files of a policy are called, whatever characters its id has."""
    name = quote(policy_id, safe="")
    return name if name.strip(".") else name.replace(".", "%2E")


def _prune(path: Path, run: str, keep: int, score_by: str | None) -> None:
    try:
        checkpoint.prune(path.parent, run, keep, score_by)
    except OSError as error:
        warnings.warn(
            f"{path} is saved, but an older checkpoint could not be deleted: {error}",
            RuntimeWarning,
            stacklevel=4,
        )


def _say_what_is_replaced(path: Path, run: str) -> None:
    """Warn if another run's checkpoint is about to be replaced."""
    with suppress(CheckpointError):
        if path.is_dir() and checkpoint.manifest_of(path).get("run") != run:
            warnings.warn(
                f"{path} of another run is replaced: two runs save into {path.parent}; give each "
                "a directory of its own",
                RuntimeWarning,
                stacklevel=4,
            )


def _in_words(changed: Mapping[str, tuple[Any, Any]]) -> str:
    return ", ".join(f"{key} (was {old!r}, is {new!r})" for key, (old, new) in changed.items())


def _own_version() -> str:
    try:
        return version("rl-algos")
    except PackageNotFoundError:  # running from a checkout
        return "unknown"
