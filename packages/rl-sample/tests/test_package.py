"""The package as a whole: light imports, small public face."""

from __future__ import annotations

import subprocess
import sys

import rl_sample


def test_every_public_name_resolves() -> None:
    assert len(rl_sample.__all__) <= 25
    for name in set(rl_sample.__all__) - {"__version__"}:
        assert getattr(rl_sample, name) is not None


def test_unknown_names_are_attribute_errors() -> None:
    assert not hasattr(rl_sample, "SampleBach")


def test_importing_brings_numpy_and_nothing_heavy() -> None:
    code = (
        "import sys, numpy; before = set(sys.modules); import rl_sample\n"
        "new = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "sys.exit(' '.join(new - {'rl_sample'} - sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""
