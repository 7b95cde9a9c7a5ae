"""What a trial asks of a Ray cluster, and whether the cluster can ever give it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from rl_algos.config import TrainerConfig, evaluation_keys
from rl_algos.keys import ConfigError

Resources = Mapping[str, float]
"""Of a bundle or a node: {"CPU": 2.0}."""
GROWS = "RL_TUNE_CLUSTER_GROWS"
"""Environment variable; set to 1 it says that nodes are added when they are asked for."""
ROUNDING = 1e-6


def resource_bundles(config: TrainerConfig) -> list[dict[str, float]]:
    """What a trial asks of Ray: `[driver, worker 1, …]`, evaluation workers last; units are CPUs.

    Workers that ask for nothing have no bundle.
    """
    keys = config.flat()
    workers = [float(keys["num_cpus_per_worker"])] * keys["num_workers"]
    if keys["evaluation_interval"] is not None:
        each = evaluation_keys(keys, keys["evaluation_config"])["num_cpus_per_worker"]
        workers += [float(each)] * keys["evaluation_num_workers"]
    driver = float(keys["num_cpus_for_driver"] or 1)
    return [{"CPU": driver}, *({"CPU": cpus} for cpus in workers if cpus)]


def check_room(bundles: Sequence[Resources], nodes: Sequence[Resources]) -> None:
    """Raise ConfigError where a trial's bundles cannot be placed, even if the nodes are idle.

    Tune itself would wait for ever.
    """
    if os.environ.get(GROWS, "0") == "1":
        return
    free = [node.get("CPU", 0.0) for node in nodes]
    if not _can_be_placed([bundle["CPU"] for bundle in bundles], free):
        sizes = " + ".join(f"{cpus:g}" for cpus in sorted(free, reverse=True))
        parts = f" ({sizes}; a process has to fit on one node)" if len(free) > 1 else ""
        raise ConfigError(
            f"a trial asks for {_describe(bundles)}; the Ray cluster has {sum(free):g}{parts}. "
            "Lower num_workers, num_cpus_per_worker (fractions are allowed) or "
            "num_cpus_for_driver, or add nodes; where nodes are added on demand, set the "
            f"environment variable {GROWS}=1"
        )


def check_given(bundles: Sequence[Resources], cpus: float) -> None:
    """Raise ConfigError where a trial was given too few CPUs beside its own: workers would wait.

    Args:
        bundles: those of `resource_bundles`.
        cpus: what there is in the trial's placement group beside its own process.
    """
    if _cpus(bundles[1:]) > cpus + ROUNDING:
        raise ConfigError(
            f"the trial asks for {_describe(bundles)}; beside its own process it was given "
            f"{cpus:g}. Leave tune.with_resources away, or give it "
            f"tune.PlacementGroupFactory({[dict(bundle) for bundle in bundles]})"
        )


def _can_be_placed(cpus: list[float], free: list[float]) -> bool:
    """Whether the driver, which comes first, fits on some node and the workers on what is left.

    Workers are placed largest first, which is exact where they are of one size.
    """
    driver, *workers = cpus
    if sum(cpus) > sum(free) + ROUNDING:
        return False
    for place in (free.index(size) for size in set(free) if size >= driver):
        left = [*free[:place], free[place] - driver, *free[place + 1 :]]
        for size in sorted(workers, reverse=True):
            node = next((i for i, room in enumerate(left) if room + ROUNDING >= size), None)
            if node is None:
                break
            left[node] -= size
        else:
            return True
    return False


def _cpus(bundles: Sequence[Resources]) -> float:
    return sum((bundle["CPU"] for bundle in bundles), 0.0)


def _describe(bundles: Sequence[Resources]) -> str:
    """`5 CPUs (1 for itself, 4 for 4 workers)`."""
    workers = bundles[1:]
    those = f"{len(workers)} worker{'s' if len(workers) > 1 else ''}"
    parts = f", {_cpus(workers):g} for {those}" if workers else ""
    return f"{_cpus(bundles):g} CPUs ({bundles[0]['CPU']:g} for itself{parts})"
