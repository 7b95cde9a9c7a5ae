"""Examples, integration tests and benchmarks import public modules of our packages only.

Which modules are public is said once, in .importlinter: those that the `protected` contracts let
other packages import. The contracts hold the packages themselves to the same list.
"""

from __future__ import annotations

import ast
import configparser
import sys

from tools.release_check import imported_modules
from tools.workspace import ROOT, packages

PLACES = (
    "packages/*/examples/**/*.py",
    "tests-integration/**/*.py",
    "benchmarks/**/*.py",
)


def public_modules(importlinter: str, roots: list[str]) -> set[str]:
    """The roots and what the contracts in the text of .importlinter let others import."""
    config = configparser.ConfigParser()
    config.read_string(importlinter)
    allowed = [
        line.partition("->")[2].strip()
        for section in config.sections()
        if config.get(section, "type", fallback="") == "protected"
        for line in config.get(section, "ignore_imports", fallback="").splitlines()
        if "->" in line
    ]
    return {*roots, *allowed}


def private_imports(source: str, public: set[str], roots: list[str]) -> list[str]:
    """Modules of ours that a source text imports though they are not public."""
    modules = imported_modules(ast.parse(source))
    return sorted(m for m in modules if m.split(".")[0] in roots and m not in public)


def main() -> int:
    """Print each private import with its file; the exit status says whether there is any."""
    roots = [package.module for package in packages().values()]
    public = public_modules((ROOT / ".importlinter").read_text(), roots)
    found = 0
    for path in sorted(path for place in PLACES for path in ROOT.glob(place)):
        for module in private_imports(path.read_text(), public, roots):
            found += 1
            where = path.relative_to(ROOT)
            print(
                f"{where}: imports {module}, which is private; public: {', '.join(sorted(public))}"
            )
    print(f"public imports only: {'ok' if not found else f'{found} private'}")
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
