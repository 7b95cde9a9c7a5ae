"""Every code block of the READMEs and the documentation works as it stands there.

A page's blocks run in order, in a directory and a namespace of the page's own:

- Python runs here; with `title="name.py"` it is a file, which later blocks import or run.
- `sh` is `rl …`, `python …`, or installs something or starts nox; the latter two are not run, but
  what they name must exist. So it is with the indented blocks of READMEs.
- JSON, YAML and TOML must parse; with a title they are files as well.
- `text` is no code. With `title="output"` its lines are among those that the page has printed
  ("…" stands for anything). A block that cannot run here is `text` and the page says so beside it.
"""

from __future__ import annotations

import ast
import json
import logging
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from glob import glob
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import pytest
import yaml

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *ROOT.glob("packages/*/README.md"),
        *ROOT.glob("docs/**/*.md"),
    ]
)
PACKAGES = ("rl_sample", "rl_policy", "rl_workers", "rl_algos")
LANGUAGES = {"python", "sh", "json", "yaml", "toml", "text"}
STARTS_RAY = {"scaling.md", "tune.md"}


class Block(NamedTuple):
    """A fenced block, or an indented one, whose language is ``."""

    language: str
    title: str | None
    code: str
    line: int


def blocks_of(page: Path) -> list[Block]:
    """The code blocks of a page, in order."""
    blocks, opened, lines = [], None, page.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate([*lines, ""], start=1):
        if opened is not None:
            info, start, code = opened
            if line.strip() == "```":
                title = re.search(r'title="([^"]+)"', info)
                blocks.append(
                    Block(info.split()[0] if info else "?", title and title[1], code, start)
                )
                opened = None
            else:
                opened = (info, start, f"{code}{line}\n")
        elif line.startswith("```"):
            opened = (line[3:].strip(), number, "")
        elif line.startswith("    ") and (number == 1 or not lines[number - 2].strip()):
            rest = lines[number - 1 :]
            count = next((i for i, text in enumerate(rest) if not text.startswith("    ")), None)
            code = "\n".join(text[4:] for text in rest[:count])
            blocks.append(Block("", None, code, number))
    assert opened is None, f"{page}: the block at line {opened[1]} does not end"
    return blocks


WITH_CODE = [page for page in PAGES if any(b.language != "text" for b in blocks_of(page))]


def in_order(page: Path) -> object:
    """A page as a test's parameter, named by its path and marked as what it needs."""
    marks = [pytest.mark.ray] if page.name in STARTS_RAY else []
    return pytest.param(page, id=page.relative_to(ROOT).as_posix(), marks=marks)


@pytest.mark.parametrize("page", [in_order(page) for page in WITH_CODE])
def test_its_blocks_run(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    namespace = {"__name__": "__main__"}
    modules = set(sys.modules)
    try:
        for block in blocks_of(page):
            where = f"{page.relative_to(ROOT)}:{block.line}"
            if block.title == "output":
                check_output(block, where, capsys)
            elif block.title is not None:
                Path(block.title).write_text(block.code, encoding="utf-8")
            run(block, where, namespace)
    finally:
        if "ray" in sys.modules:
            sys.modules["ray"].shutdown()
        for name in set(sys.modules) - modules:
            file = getattr(sys.modules[name], "__file__", None) or ""
            if file.startswith(str(tmp_path)):
                del sys.modules[name]


def check_output(block: Block, where: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each line of an output stands among those printed since the last one."""
    printed = [line.strip() for line in capsys.readouterr().out.splitlines()]
    for line in block.code.splitlines():
        pattern = ".*".join(re.escape(part.strip()) for part in line.split("…"))
        found = any(re.fullmatch(pattern, given) for given in printed)
        assert found or not line.strip(), f"{where}: {line!r} is not printed, but {printed}"


def run(block: Block, where: str, namespace: dict[str, object]) -> None:
    if block.language == "python":
        # As many lines above as in the page, so that a traceback shows the page's line numbers.
        code = compile("\n" * block.line + block.code, where, "exec")
        if block.title is None:
            exec(code, namespace)
    elif block.language in ("sh", ""):
        for words in commands(block.code):
            if words[0] in ("pip", "nox"):
                check_names(words, where)
            elif words[0] == "rl":
                rl(words[1:], where)
            else:  # an indented block may be a picture
                assert block.language == "" or words[0] == "python", f"{where}: {words}"
                if block.language == "sh":
                    subprocess.run([sys.executable, "-W", "error", *words[1:]], check=True)
    elif block.language == "json":
        json.loads(block.code)
    elif block.language == "yaml":
        yaml.safe_load(block.code)
    elif block.language == "toml":
        tomllib.loads(block.code)
    else:
        assert block.language == "text", f"{where}: {block.language!r} is not in {LANGUAGES}"


def commands(script: str) -> Iterator[list[str]]:
    """The words of each command, as a shell makes them when it comes to it."""
    for line in script.replace("\\\n", " ").splitlines():
        for command in line.split(" && "):
            if words := shlex.split(command, comments=True):
                yield [name for word in words for name in expanded(word)]


def expanded(word: str) -> list[str]:
    return sorted(glob(word)) or [word] if "*" in word else [word]


def rl(arguments: list[str], where: str) -> None:
    """Run `rl` in this process, which is spared dozens of imports of PyTorch.

    Exit code 1 is an answer, not a failure: a goal that was not reached, a red flag.
    """
    before = {name: vars(logging.getLogger(name)).copy() for name in PACKAGES}
    try:
        with patch.object(sys, "argv", ["rl", *arguments]), pytest.raises(SystemExit) as ended:
            runpy.run_module("rl_algos.cli", run_name="__main__")
    finally:
        for name, state in before.items():
            vars(logging.getLogger(name)).update(state)
    assert ended.value.code in (None, 0, 1), f"{where}: rl {shlex.join(arguments)}"


def check_names(words: list[str], where: str) -> None:
    """What is installed and which session is run must exist; neither happens here."""
    if "-s" in words:
        session = words[words.index("-s") + 1].partition("(")[0]
        defined = ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8")).body
        known = {node.name for node in defined if isinstance(node, ast.FunctionDef)}
        assert session in known, f"{where}: there is no session {session!r}"
    for word in words:
        if wanted := re.fullmatch(r"(rl-[a-z]+)(?:\[([a-z,]+)\])?", word):
            file = ROOT / "packages" / wanted[1] / "pyproject.toml"
            project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
            extras = project.get("optional-dependencies", {})
            for extra in filter(None, (wanted[2] or "").split(",")):
                assert extra in extras, f"{where}: {wanted[1]} has no extra {extra!r}"


def test_every_public_name_is_in_the_reference():
    """Each package's page has the marker that docs/_site/docs_tables.py fills with all names."""
    for package in ROOT.glob("packages/*/src/rl_*"):
        page = ROOT / "docs" / "reference" / f"{package.name}.md"
        assert f"<!-- names: {package.name} -->" in page.read_text(encoding="utf-8")
