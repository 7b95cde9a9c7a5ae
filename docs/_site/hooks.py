"""What mkdocs does beyond Markdown: source pages, links into the repository, generated tables."""

from __future__ import annotations

import ast
import logging
import posixpath
import re
from functools import cache
from pathlib import Path
from typing import Any

import docs_tables  # beside this file: mkdocs looks for imports of hooks there
from mkdocs.structure.files import File
from mkdocs.utils import get_relative_url

ROOT = Path(__file__).resolve().parents[2]
SHOWN = (
    "README.md",
    "CONTRIBUTING.md",
    "noxfile.py",
    "benchmarks/*.md",
    "benchmarks/results/*.md",
    "packages/*/README.md",
    "packages/*/CHANGELOG.md",
    "packages/*/examples/*.py",
    "packages/*/src/**/*.py",
)
"""Files outside docs/ that have a page of their own, so that links to them work in the site."""

_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)\)")
_MARKER = re.compile(r"^<!-- (\w+): ?(.*) -->$", re.MULTILINE)
_FENCE = re.compile(r"^(```.*?^```$)", re.MULTILINE | re.DOTALL)

log = logging.getLogger("mkdocs.hooks.docs")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages of files outside docs/."""
    for path in _shown():
        text = (ROOT / path).read_text(encoding="utf-8")
        if path.endswith(".py"):
            title, fence = path.rpartition("src/")[2], "`" * 8
            text = f'# {title}\n\n{fence}python linenums="1"\n{text}{fence}\n'
        front = "---\nsearch: {exclude: true}\nhide: [navigation]\n---\n\n"
        files.append(File.generated(config, _page_of(path), content=front + text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Fill in generated tables and lead links to files of the repository to their pages."""
    uri = page.file.src_uri
    origin = uri.removeprefix("source/").removesuffix(".md") if _is_source(uri) else f"docs/{uri}"
    if origin.endswith(".py"):
        return markdown
    if origin.startswith("docs/"):
        markdown = _MARKER.sub(lambda m: docs_tables.fill(m[1], *m[2].split()), markdown)
    parts = _FENCE.split(markdown)
    parts[::2] = [
        _LINK.sub(lambda link: _relink(link, origin, page, files), part) for part in parts[::2]
    ]
    return "".join(parts)


def _relink(link: re.Match[str], origin: str, page: Any, files: Any) -> str:
    """One link, as it has to be in the site."""
    text, (target, _, fragment) = link[1], link[2].partition("#")
    if not target or ":" in target:
        return link[0]
    path = posixpath.normpath(posixpath.join(posixpath.dirname(origin), target))
    if path.startswith("docs/") and not _is_source(page.file.src_uri):
        index = "/README.md" if (ROOT / path / "README.md").is_file() else ""
        return link[0].replace(f"({target}", f"({target.rstrip('/')}{index}")  # mkdocs checks it
    if not (ROOT / path).exists():
        log.warning("%s: %s leads to %s, which does not exist", origin, link[0], path)
        return link[0]
    if f"{path}/README.md" in _shown():
        path = f"{path}/README.md"
    found = files.get_file_from_path(
        path.removeprefix("docs/") if path.startswith("docs/") else _page_of(path)
    )
    if found is None:
        return text  # a file without a page: its name is all there is to show
    anchor = ""
    if fragment and path.endswith(".py"):
        line = _line_of(path, fragment)
        if line is None:
            log.warning("%s: %s has no %s", origin, path, fragment)
        anchor = f"#__codelineno-0-{line}"
    elif fragment:
        anchor = f"#{fragment}"
    return f'<a href="{get_relative_url(found.url, page.url)}{anchor}">{text}</a>'


@cache
def _shown() -> tuple[str, ...]:
    """Paths in the repository that have a page."""
    return tuple(
        sorted(
            path.relative_to(ROOT).as_posix() for pattern in SHOWN for path in ROOT.glob(pattern)
        )
    )


def _page_of(path: str) -> str:
    return f"source/{path}.md"


def _is_source(uri: str) -> bool:
    return uri.startswith("source/")


@cache
def _line_of(path: str, name: str) -> int | None:
    """The line on which `name` or `Class.name` is defined in a Python file."""
    body: list[ast.stmt] = ast.parse((ROOT / path).read_text(encoding="utf-8")).body
    line = None
    for part in name.split("."):
        node = next((node for node in body if part in _defines(node)), None)
        if node is None:
            return None
        line, body = node.lineno, getattr(node, "body", [])
    return line


def _defines(node: ast.stmt) -> list[str]:
    """The names that a statement defines."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]
