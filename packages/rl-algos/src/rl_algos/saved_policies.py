"""The policies of a checkpoint, ready to act; a network's come without its framework."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from rl_algos import checkpoint
from rl_algos.config import validated
from rl_algos.registry import get_algorithm
from rl_algos.saving import file_name
from rl_algos.setup import make_policies
from rl_algos.stored import decode_config, read_state
from rl_policy import load_policy
from rl_sample.protocols import Learner

if TYPE_CHECKING:
    from rl_algos.definition import TrainerDefinition


def saved_policies(
    path: Path, algorithm: str | TrainerDefinition | None = None
) -> dict[str, Learner]:
    """{policy id: policy} of a checkpoint.

    Args:
        path: of the checkpoint.
        algorithm: whose policies they are, where some have no network and it is not one of ours.

    Raises:
        CheckpointError: a file is missing or damaged.
        ConfigError: there is no such algorithm.
    """
    state = read_state(path, "trainer")
    saved = {pid: path / "policies" / file_name(pid) for pid in state["policies"]}
    without = [pid for pid, directory in saved.items() if not directory.is_dir()]
    rebuilt = _rebuilt(path, without, algorithm) if without else {}
    return {
        pid: rebuilt[pid] if pid in rebuilt else load_policy(directory)
        for pid, directory in saved.items()
    }


def iteration_of(path: Path) -> int:
    """After which iteration a checkpoint was saved."""
    return int(checkpoint.manifest_of(path)["iteration"])


def _rebuilt(
    path: Path, policy_ids: Iterable[str], algorithm: str | TrainerDefinition | None
) -> dict[str, Learner]:
    """Policies of which no network is stored: made again from the config and given their state."""
    wanted = algorithm or checkpoint.manifest_of(path)["algorithm"]
    definition = get_algorithm(wanted) if isinstance(wanted, str) else wanted
    stored = json.loads((path / "config.json").read_bytes())
    config = validated(definition.config_class, decode_config(stored, {"callbacks": None}))
    policies = make_policies(config, definition.default_policy, config["seed"])
    for policy_id in policy_ids:
        policies[policy_id].load_state_dict(read_state(path / "learners", file_name(policy_id)))
    return {policy_id: policies[policy_id] for policy_id in policy_ids}
