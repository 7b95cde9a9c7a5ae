"""`rl` itself: its list of commands, what it imports, and commands of other packages."""

from __future__ import annotations

import subprocess
import sys

import pytest
from typer.testing import CliRunner

import rl_algos
from rl_algos.cli.commands import BUILT_IN, app, plugins

HEAVY = ("torch", "tensorflow", "ray", "pydantic", "gymnasium", "numpy", "matplotlib", "yaml")


def imported_by(code):
    """Which heavy libraries are loaded once `code` has run in a new process."""
    code += f"\nimport sys; print(*[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1].split()


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["--version"]])
def test_help_imports_nothing_that_is_slow(arguments):
    code = (
        "from typer.testing import CliRunner; from rl_algos.cli import app; "
        f"assert CliRunner().invoke(app, {arguments!r}).exit_code == 0"
    )
    loaded = set(imported_by(code))
    if arguments[0] == "train":
        loaded.discard("pydantic")  # newer versions of typer check options with it
    assert not loaded


def test_importing_the_package_imports_nothing_that_is_slow():
    assert imported_by("import rl_algos; dir(rl_algos)") == []


def test_every_name_of_the_package_is_there():
    assert len(rl_algos.__all__) <= 25
    for name in rl_algos.__all__:
        if name != "__version__":  # there once it is installed
            found = getattr(rl_algos, name)
            assert name in (getattr(found, "name", None), getattr(found, "__name__", None))
        assert name in dir(rl_algos)
    with pytest.raises(AttributeError, match="no attribute 'PPOO'"):
        rl_algos.PPOO  # noqa: B018


def test_every_command_has_help():
    listed = CliRunner().invoke(app, ["--help"])
    for name in BUILT_IN:
        assert name in listed.output
        done = CliRunner().invoke(app, [name, "--help"])
        assert done.exit_code == 0, (name, done.output)


def test_a_misspelt_command_is_told_the_nearest():
    done = CliRunner().invoke(app, ["trian"])
    assert done.exit_code == 2
    assert "No such command 'trian'. Did you mean 'train'?" in done.stderr


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs a package with commands: {name: target}, and its module's source."""

    def put(commands, source):
        info = tmp_path / "rl_dummy-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: rl-dummy\nVersion: 1.0\n")
        points = "\n".join(f"{name} = {target}" for name, target in commands.items())
        (info / "entry_points.txt").write_text(f"[rl.commands]\n{points}\n")
        (tmp_path / "rl_dummy.py").write_text(source)
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, "rl_dummy", raising=False)
        plugins.cache_clear()

    yield put
    plugins.cache_clear()


SOURCE = """
import typer
print("imported")
def greet(name: str = "you"):
    "Say hello."
    print(f"hello {name}")
group = typer.Typer()
@group.command()
def one(): print("one")
@group.command()
def two(): print("two")
"""


def test_other_packages_add_commands_that_are_imported_when_they_are_called(install):
    install({"greet": "rl_dummy:greet", "many": "rl_dummy:group"}, SOURCE)
    listed = CliRunner().invoke(app, ["--help"])
    assert "greet" in listed.output
    assert "Of the package rl-dummy." in listed.output
    assert "imported" not in listed.output
    assert "hello me" in CliRunner().invoke(app, ["greet", "--name", "me"]).output
    assert "two" in CliRunner().invoke(app, ["many", "two"]).output


def test_a_broken_command_of_another_package_is_reported_and_the_others_work(install):
    install({"greet": "rl_dummy:nothing", "train": "rl_dummy:greet"}, SOURCE)
    assert CliRunner().invoke(app, ["--help"]).exit_code == 0
    broken = CliRunner().invoke(app, ["greet", "--name", "me"])
    assert broken.exit_code == 2
    assert "error: the command 'greet' of rl-dummy cannot be loaded from 'rl_dummy:nothing'" in (
        broken.stderr
    )
    assert "Train until the goal" in CliRunner().invoke(app, ["train", "--help"]).output
