"""Runs contenders in child processes, in turns, and keeps what they measured.

A contender is a script that calls `serve(measure)`. It runs under its own Python, answers every
request (one JSON line with keyword arguments) with one JSON line, and lives until its last turn, so
that short turns of all contenders can follow one another: on a machine whose speed drifts only
figures taken side by side can be divided. Standard library only: every peer's Python loads it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from importlib import metadata
from pathlib import Path
from typing import Any

from report import RESULTS, write_tables

HERE = Path(__file__).parent
PACKAGES = ("rl-sample", "rl-policy", "rl-workers", "rl-algos", "stable-baselines3", "ray")
LIBRARIES = ("torch", "tensorflow-cpu", "tensorflow", "keras", "numpy", "gymnasium")


# ------------------------------------------------------------------ in the contender's process


def serve(measure: Callable[..., Mapping[str, Any]]) -> None:
    """Answer requests on stdin until it closes; whatever libraries print goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        answer = versions() if request == "versions" else dict(measure(**request))
        print(json.dumps(answer), file=answers, flush=True)


def versions() -> dict[str, str]:
    """What is installed of the libraries that matter."""
    found = {"python": platform.python_version()}
    for name in PACKAGES + LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


# ------------------------------------------------------------------------------ in the driver


class Contender:
    """A running contender script; `turn(**request)` makes it measure once."""

    def __init__(
        self,
        script: str,
        python: str,
        *options: object,
        threads: int = 1,
        core: int | None = None,
        ours: bool = False,
    ) -> None:
        """Start `contenders/<script>`; pinned to `core` if given; `ours` keeps PYTHONPATH."""
        self.script = script
        inherited = os.environ.get("PYTHONPATH", "") if ours else ""
        path = os.pathsep.join(filter(None, [str(HERE), inherited]))
        limits = dict.fromkeys(
            ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads)
        )
        quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0", "PYTHONWARNINGS": "ignore"}
        self._process = subprocess.Popen(
            [python, str(HERE / "contenders" / script), *map(str, options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if os.environ.get("BENCH_VERBOSE") else subprocess.DEVNULL,
            text=True,
            env={**os.environ, **limits, **quiet, "PYTHONPATH": path},
        )
        if core is not None and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(self._process.pid, {core})
        self.versions = self._ask("versions")

    def turn(self, **request: Any) -> dict[str, Any]:
        """One measurement."""
        return self._ask(request)

    def _ask(self, request: Any) -> dict[str, Any]:
        assert self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError):
            raise SystemExit(
                f"{self.script} died (exit status {self._process.wait()}); "
                "run again with BENCH_VERBOSE=1 to see its output."
            ) from None

    def __enter__(self) -> Contender:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.communicate()


def arguments(description: str | None, *flags: tuple[str, Any, str]) -> argparse.Namespace:
    """Command line of a benchmark: the Pythons of all sides, the core, and `flags`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--python", default=sys.executable, help="Python that has our packages")
    for peer in ("sb3", "rllib"):
        variable = f"{peer.upper()}_PYTHON"
        parser.add_argument(
            f"--{peer}-python",
            default=os.environ.get(variable),
            help=f"Python that has {peer}; default: ${variable}; without it that peer is left out",
        )
    parser.add_argument("--core", type=int, default=(os.cpu_count() or 1) - 1, help="CPU to pin to")
    for name, default, text in flags:
        parser.add_argument(name, default=default, type=type(default), help=f"{text} ({default})")
    return parser.parse_args()


def start(
    stack: ExitStack,
    args: argparse.Namespace,
    scripts: Mapping[str, str],
    *options: object,
    all_cores: Iterable[str] = (),
) -> dict[str, Contender]:
    """Start `{name: script}`, pinned to one core but for `all_cores`.

    A script's prefix says whose Python runs it: `sb3_`, `rllib_`, else ours. Peers whose Python is
    not given are left out. Words behind a script's name are options of it alone.
    """
    peers = {"sb3": args.sb3_python, "rllib": args.rllib_python}
    running = {}
    for name, command in scripts.items():
        script, *words = command.split()
        side = script.split("_")[0]
        python = peers.get(side, args.python)
        if python:
            core = None if name in all_cores else args.core
            child = Contender(script, python, *words, *options, core=core, ours=side not in peers)
            running[name] = stack.enter_context(child)
    return running


def versions_of(contenders: Mapping[str, Contender]) -> dict[str, dict[str, str]]:
    """{contender: {library: version}}."""
    return {name: contender.versions for name, contender in contenders.items()}


def take_turns(
    contenders: Mapping[str, Contender],
    requests: Iterable[Mapping[str, Any]],
    *,
    warm_up: Mapping[str, Any] | None = None,
) -> dict[str, list[dict[str, Any]]]:
    """An unrecorded turn each, then every request in turn to one contender after another."""
    for contender in contenders.values() if warm_up else ():
        contender.turn(**warm_up)
    taken: dict[str, list[dict[str, Any]]] = {name: [] for name in contenders}
    for request in requests:
        for name, contender in contenders.items():
            taken[name].append(contender.turn(**request))
            print(f"{name}: {taken[name][-1]}", file=sys.stderr)
    return taken


def median(values: Iterable[float]) -> float:
    return float(statistics.median(values))


def paired_ratio(
    turns: Mapping[str, list[dict[str, Any]]], ours: str, other: str, key: str
) -> float | None:
    """Median over rounds of ours / other; None if the other did not run."""
    if other not in turns:
        return None
    return median(a[key] / b[key] for a, b in zip(turns[ours], turns[other], strict=True))


def check(what: str, measured: float | None, relation: str, bound: float) -> dict[str, Any]:
    """A stated bound and whether it holds; `measured` None: not measured in this call."""
    holds = {"<=": lambda m: m <= bound, ">=": lambda m: m >= bound}[relation]
    exact = measured is None or isinstance(measured, int)
    return {
        "what": what,
        "measured": measured if exact else float(f"{measured:.4g}"),
        "bound": f"{relation} {bound:g}",
        "ok": None if measured is None else bool(holds(measured)),
    }


def save(
    name: str,
    title: str,
    rows: list[dict[str, Any]],
    checks: list[dict[str, Any]],
    versions: Mapping[str, Mapping[str, str]] | None = None,
    notes: Iterable[str] = (),
) -> None:
    """Write results/<name>.json and the tables, print; exit with status 1 if a bound was missed."""
    RESULTS.mkdir(exist_ok=True)
    document = {
        "title": title,
        "machine": machine(),
        "versions": dict(versions or {}),
        "notes": list(notes),
        "rows": rows,
        "checks": checks,
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")
    write_tables()
    for row in rows:
        print("  ".join(f"{key}={value}" for key, value in row.items()))
    for one in checks:
        mark = {True: "ok", False: "MISSED", None: "not measured"}[one["ok"]]
        print(f"[{mark}] {one['what']}: {one['measured']} ({one['bound']})")
    sys.exit(any(one["ok"] is False for one in checks))


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [x for x in cpuinfo.read_text().splitlines() if x.startswith("model name")]
        model = lines[0].split(":")[1].strip() if lines else model
    return {"cpu": model, "cores": os.cpu_count(), "system": platform.system()}
