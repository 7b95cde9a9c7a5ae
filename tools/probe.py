"""Looks at one installed package from inside its environment and prints what it finds as JSON.

Run as `python -I probe.py rl-sample`. It needs `packaging`, which the test tools bring.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from importlib.metadata import distribution, version
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

FRAMEWORKS = ("torch", "tensorflow", "keras", "ray")
COUNTED_IMPORT = """
import sys
calls = 0
def count(frame, event, argument):
    global calls
    calls += event in ("call", "c_call")
sys.setprofile(count)
import {}
sys.setprofile(None)
print(calls)
"""


def installed_with(name: str) -> set[str]:
    """The distributions that a bare install of `name` brings, itself included."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        current = canonicalize_name(waiting.pop())
        if current in found:
            continue
        found.add(current)
        for text in distribution(current).requires or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)
    return found


def bytes_on_disk(name: str) -> int:
    """Size of all files that a distribution installed, compiled ones included."""
    paths = [Path(str(path.locate())) for path in distribution(name).files or ()]
    return sum(path.stat().st_size for path in paths if path.exists())


def import_calls(module: str) -> int:
    """Function calls, Python's and C's, that a first import makes in a fresh process."""
    command = [sys.executable, "-I", "-c", COUNTED_IMPORT.format(module)]
    return int(subprocess.run(command, check=True, capture_output=True).stdout)


def look_at(name: str) -> dict[str, Any]:
    """What `release_check` wants to know of an installed package."""
    module = name.replace("-", "_")
    root = importlib.import_module(module)
    frameworks = [framework for framework in FRAMEWORKS if framework in sys.modules]
    public = getattr(root, "__all__", None)
    return {
        "frameworks": frameworks,
        "public": public,
        "unresolved": [item for item in public or () if not hasattr(root, item)],
        "version": getattr(root, "__version__", None),
        "installed_version": version(name),
        "import_calls": import_calls(module),
        "numpy_import_calls": import_calls("numpy"),
        "bytes": sum(map(bytes_on_disk, installed_with(name) - {"numpy"})),
        "own_bytes": bytes_on_disk(name),
    }


if __name__ == "__main__":
    print(json.dumps(look_at(sys.argv[1])))
