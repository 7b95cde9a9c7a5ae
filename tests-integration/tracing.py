"""What of our own code runs in one training iteration: files, lines, frames, calls."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType

PACKAGES = ("rl_sample", "rl_policy", "rl_workers", "rl_algos")


def source_roots() -> list[Path]:
    """The directories of our installed packages."""
    specs = [importlib.util.find_spec(name) for name in PACKAGES]
    return [Path(spec.origin).parent for spec in specs]


ROOTS = tuple(f"{root}/" for root in source_roots())


def is_ours(code: CodeType) -> bool:
    return code.co_filename.startswith(ROOTS)


def executed_lines(
    run: Callable[[], object], first: CodeType, last: Callable[[CodeType], bool]
) -> set[tuple[str, int]]:
    """(file, line) of each line of ours that runs between the first calls of `first` and `last`."""
    lines: set[tuple[str, int]] = set()
    phase = ["before"]

    def trace(frame: FrameType, event: str, _arg: object):
        code = frame.f_code
        if code is first and phase[0] == "before":
            phase[0] = "within"
        if phase[0] == "within" and last(code):
            phase[0] = "after"
        if not is_ours(code) or phase[0] == "after":
            return None
        if phase[0] == "within":
            lines.add((code.co_filename, frame.f_lineno))
        return trace

    _with(sys.settrace, trace, run)
    if phase[0] != "after":
        raise AssertionError(f"the run never came to its end, it was {phase[0]} the span")
    return lines


def calls(run: Callable[[], object]) -> dict[CodeType, int]:
    """How often each function of ours is called."""
    counts: dict[CodeType, int] = {}

    def profile(frame: FrameType, event: str, _arg: object) -> None:
        if event == "call" and is_ours(frame.f_code):
            counts[frame.f_code] = counts.get(frame.f_code, 0) + 1

    _with(sys.setprofile, profile, run)
    return counts


def depth_at(run: Callable[[], object], wanted: Callable[[CodeType], bool]) -> int:
    """Most frames of ours below a call of a wanted function, that call not counted."""
    deepest = [0]

    def profile(frame: FrameType, event: str, _arg: object) -> None:
        if event == "call" and wanted(frame.f_code):
            deepest[0] = max(deepest[0], len(own_stack(frame.f_back)))

    _with(sys.setprofile, profile, run)
    return deepest[0]


def own_stack(frame: FrameType | None) -> list[FrameType]:
    """The frames of ours from `frame` outwards."""
    frames = []
    while frame is not None:
        if is_ours(frame.f_code):
            frames.append(frame)
        frame = frame.f_back
    return frames


def _with(install: Callable[[object], None], hook: object, run: Callable[[], object]) -> None:
    install(hook)
    try:
        run()
    finally:
        install(None)
