"""Which framework policies learn with: is it there, in which version, with how many threads."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

MODULES = {"torch": "torch", "tf": "tensorflow", "tf2": "tensorflow"}
"""{framework: the module that must be there for it}; `auto` takes the first that is."""
ALIASES = {"tfe": "tf2"}
"""{RLlib's other name of a framework: ours}."""
INSTALL = {
    "torch": "pip install 'rl-algos[torch]'",
    "tensorflow": "pip install 'rl-algos[tensorflow]' ([tensorflow-cpu] where there is no GPU)",
}
"""{module: how it gets there}."""

log = logging.getLogger(__name__)


def is_installed(framework: str) -> bool:
    """Whether what a framework needs is there; it is not imported. True of others, as NumPy."""
    return framework not in MODULES or find_spec(MODULES[framework]) is not None


def resolved(framework: str) -> str:
    """A framework's own name: `auto` is torch where that is installed, else tf.

    A name that there is not is left for the policy to refuse.

    Raises:
        ImportError: it is not installed; says how to mend that, and what is there instead.
    """
    framework = ALIASES.get(framework, framework)
    there = [name for name in MODULES if is_installed(name)]
    if framework == "auto" and there:
        return there[0]
    if framework == "auto":
        raise ImportError(
            "learning needs PyTorch or TensorFlow, and neither is installed: "
            f"{INSTALL['torch']}, or {INSTALL['tensorflow']}"
        )
    if framework in MODULES and framework not in there:
        other = f", or set framework={there[0]!r}, which is installed" if there else ""
        raise ImportError(
            f"framework={framework!r} needs {MODULES[framework]}, which is not installed: "
            f"{INSTALL[MODULES[framework]]}{other}"
        )
    return framework


def names_and_versions(policies: Mapping[str, Any]) -> dict[str, str]:
    """{framework: its version} of all that learn with one, such as `{"tf": "2.21.0"}`."""
    names = dict.fromkeys(getattr(policy, "framework", None) for policy in policies.values())
    return {name: sys.modules[MODULES[name]].__version__ for name in names if name in MODULES}


def limit_threads(framework: str, count: int | None) -> None:
    """Import a framework and let it compute with `count` threads, in the whole process.

    Its default, one per core, makes updates of small nets several times slower on a busy machine.
    """
    if count is None or framework not in MODULES:
        return
    if framework == "torch":
        import_module("torch").set_num_threads(count)
        return
    import_module("rl_policy.tf")  # before the first import, it tells TensorFlow to be quiet
    threading = import_module("tensorflow").config.threading
    try:
        threading.set_intra_op_parallelism_threads(count)
        threading.set_inter_op_parallelism_threads(count)
    except RuntimeError:
        log.warning(
            "num_cpus_for_driver=%d comes too late: TensorFlow has computed in this process with "
            "other threads, and keeps them. Make the Trainer before that, or set "
            "num_cpus_for_driver=None",
            count,
        )
