"""Parts of documentation pages that are made of the code and of measured results."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

log = logging.getLogger("mkdocs.hooks.docs_tables")


def fill(kind: str, *arguments: str) -> str:
    """What stands in a page for `<!-- kind: arguments -->`.

    - `names: module`: the reference of every public name of a module.
    - `keys: PPO`: an algorithm's own config keys; `keys: PPO shared`: those that all have.
    - `preset: PPO CartPole-v1`: what a preset sets, and when training ends.
    - `spaces`: what each algorithm can observe and do.
    - `results: benchmark word …`: a benchmark's rows whose first cell has all the words.
    - `rllib: renamed` and `rllib: missing`: keys of RLlib 1.x that differ here.
    """
    kinds: dict[str, Callable[..., str]] = {
        "names": names,
        "keys": keys,
        "preset": preset,
        "spaces": spaces,
        "results": results,
        "rllib": rllib,
    }
    return kinds[kind](*arguments)


def names(module: str) -> str:
    """The reference of a module's public names, which mkdocstrings fills in."""
    public = [name for name in import_module(module).__all__ if name != "__version__"]
    return "\n\n".join(f"::: {module}.{name}" for name in public)


def keys(algorithm: str, which: str = "own") -> str:
    """Config keys, a table for each section."""
    from rl_algos import get_algorithm
    from rl_algos.explain import config_keys

    found = config_keys(get_algorithm(algorithm))
    wanted = [key for key in found if (key.section == algorithm) == (which == "own")]
    parts = []
    for section in dict.fromkeys(key.section for key in wanted):
        rows = [
            (f"`{key.name}`", key.type.replace("|", "\\|"), f"`{key.default!r}`", key.effect)
            for key in wanted
            if key.section == section
        ]
        heading = [] if which == "own" else [f"### {section}", ""]
        parts.append("\n".join([*heading, *table(("key", "type", "default", "effect"), rows)]))
    return "\n\n".join(parts)


def preset(algorithm: str, env: str) -> str:
    """The keys that a preset sets, beside the defaults."""
    from rl_algos import resolve_config

    chosen = resolve_config(algorithm, {"env": env}).preset
    plain = resolve_config(algorithm, {"env": env, "preset": None}).config
    if chosen is None:
        raise ValueError(f"there is no preset of {algorithm} for {env}")
    rows = [
        (f"`{key}`", f"`{value!r}`", f"`{plain[key]!r}`") for key, value in chosen.config.items()
    ]
    stop = " or ".join(f"`{key}` ≥ {value:,}" for key, value in chosen.stop.items())
    return "\n".join([*table(("key", env, "default"), rows), "", f"Training ends at {stop}."])


def spaces() -> str:
    """What `rl list` says."""
    from rl_algos import catalogue

    return catalogue.markdown(catalogue.table())


def results(benchmark: str, *words: str) -> str:
    """Measured rows, with the machine and the versions."""
    path = ROOT / "benchmarks" / "results" / f"{benchmark}.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    rows = [r for r in document["rows"] if all(w in str(next(iter(r.values()))) for w in words)]
    if not rows:
        log.warning("%s has no row with %s", path.relative_to(ROOT), " ".join(words))
        return "Not measured yet."
    columns = [c for c in dict.fromkeys(k for r in rows for k in r) if any(r.get(c) for r in rows)]
    cells = [["" if row.get(c) is None else str(row[c]) for c in columns] for row in rows]
    machine, found = document["machine"], next(iter(document["versions"].values()))
    about = ", ".join(f"{library} {version}" for library, version in found.items())
    where = f"On {machine['cores']} cores of {machine['cpu']}, {about}."
    return "\n".join([*table(columns, cells), "", where])


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """Lines of a Markdown table."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return lines + [f"| {' | '.join(' '.join(str(c).split()) for c in row)} |" for row in rows]


def rllib(which: str) -> str:
    """RLlib's keys that are called otherwise or do not exist here, as YAML files are read."""
    from rl_algos import rllib_keys

    if which == "renamed":
        renamed = rllib_keys.RENAMED.items()
        return "\n".join(table(("RLlib 1.x", "here"), [(f"`{k}`", f"`{v}`") for k, v in renamed]))
    of_model = {f"model/{key}": hint for key, hint in rllib_keys.MODEL_UNSUPPORTED.items()}
    found = {**rllib_keys.UNSUPPORTED, **of_model}
    rows = [(f"`{key}`", hint) for key, (_, hint) in found.items() if hint]
    return "\n".join(table(("RLlib 1.x", "instead"), rows))
