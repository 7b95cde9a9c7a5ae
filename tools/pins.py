"""Writes constraints.txt from poetry.lock, or with --check says whether they agree.

The lock keeps hashes for every platform and Python; pip wants one line per version.
"""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

from tools.workspace import CONSTRAINTS, ROOT, load_toml

HEADER = """\
# Everything that is tested, pinned. Every install of the sessions is held to it (pip -c).
# Written by `nox -s pins` from poetry.lock; do not edit.
"""
UNPINNED = ("nvidia-", "cuda-", "triton")
"""Comes only with GPU builds of torch, which pin it themselves."""


def constraint(package: dict[str, Any]) -> str:
    """One line of constraints.txt from one `[[package]]` of the lock."""
    version = package["version"].partition("+")[0]
    markers = package.get("markers", "")
    if isinstance(markers, dict):  # by group: pinned wherever one group needs it
        unmarked = not markers.keys() >= set(package["groups"])
        markers = "" if unmarked else " or ".join(sorted(f"({m})" for m in {*markers.values()}))
    return f"{package['name']}=={version}" + (f" ; {markers}" if markers else "")


def constraints(lock: dict[str, Any]) -> str:
    """The text of constraints.txt: third-party packages, those of this repository left out."""
    third_party = [
        package
        for package in lock["package"]
        if package.get("source", {}).get("type") != "directory"
        and not package["name"].startswith(UNPINNED)
    ]
    versions = Counter(package["name"] for package in third_party)
    lines = [
        # a constraint on what is not installed does no harm: only a choice needs its markers
        constraint(package if versions[package["name"]] > 1 else {**package, "markers": ""})
        for package in third_party
    ]
    return HEADER + "\n".join(lines) + "\n"


def main() -> int:
    """Write the file, or with --check compare."""
    text = constraints(load_toml(ROOT / "poetry.lock"))
    if "--check" not in sys.argv:
        CONSTRAINTS.write_text(text)
        return 0
    agree = CONSTRAINTS.read_text() == text
    print(f"constraints.txt {'agrees' if agree else 'does not agree'} with poetry.lock")
    return int(not agree)


if __name__ == "__main__":
    sys.exit(main())
