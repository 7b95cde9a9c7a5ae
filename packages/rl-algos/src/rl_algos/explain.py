"""An algorithm explained: its plan as a picture, and every config key with what it does."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from rl_algos.config import validated
from rl_algos.definition import TrainerDefinition
from rl_algos.keys import key_index, nest
from rl_algos.presets import PRESETS, find_preset
from rl_algos.sections import Schedule
from rl_policy import Policy
from rl_workers.flow import ApplyGradients, LocalIterator, TrainOneStep

PICTURE_ENV = "CartPole-v1"
"""Where a plan is drawn for that is asked about without an environment."""
PUBLISHERS = (TrainOneStep, ApplyGradients)
"""Operators after which the workers act with new weights."""
FLOWS = {
    "Batch": "batch",
    "Iterable[Batch]": "batch",
    "tuple[Batch, dict[PolicyID, Learned]]": "batch, and what each policy learned",
    "Gradients": "each policy's gradients",
}
"""{what an operator's annotation says: what that is}; other annotations are shown as they are."""


@dataclass(frozen=True)
class Key:
    """One config key."""

    name: str
    section: str
    """Its section, or the algorithm's name for those at the top."""
    type: str
    """`int > 0`, `float or None`, `'adam' | 'sgd'`, …"""
    default: Any
    effect: str
    """One sentence: the unit, and what changing it does."""
    presets: Mapping[str, Any]
    """{environment: the preset's value} of the presets that set it."""


def about(definition: TrainerDefinition) -> tuple[str, str]:
    """(the first line of the module that holds the plan, where its file is)."""
    module = inspect.getmodule(definition.execution_plan)
    doc = (module and inspect.getdoc(module)) or definition.name
    return doc.splitlines()[0], str(getattr(module, "__file__", "") or "")


def config_keys(definition: TrainerDefinition, env: str | None = None) -> list[Key]:
    """Every key of an algorithm, its own first, then section by section.

    Args:
        definition: the algorithm.
        env: the only environment whose preset is of interest; None: all that have one.
    """
    kind = definition.config_class
    defaults = validated(kind, nest(kind, definition.overrides)).flat()
    wanted = {e: p for (name, e), p in PRESETS.items() if name == definition.name}
    if env is not None:
        preset, _ = find_preset(definition.name, env, "auto")
        wanted = {env: preset} if preset else {}
    keys = []
    for name, (section, field) in key_index(kind).items():
        home: Any = kind if section is None else kind.model_fields[section].annotation
        annotation, effect = _described(home, field)
        values = {e: p.config[name] for e, p in wanted.items() if name in p.config}
        place = section or definition.name
        keys.append(Key(name, place, annotation, defaults[name], effect, values))
    return sorted(keys, key=lambda key: key.section != definition.name)


def markdown(definition: TrainerDefinition) -> str:
    """The keys of an algorithm as Markdown tables, one for each section."""
    keys = config_keys(definition)
    parts = []
    for section in dict.fromkeys(key.section for key in keys):
        lines = [f"### {section}", "", "| key | type | default | effect |", "|---|---|---|---|"]
        for key in keys:
            if key.section == section:
                kind = key.type.replace("|", "\\|")
                lines.append(f"| `{key.name}` | {kind} | `{key.default!r}` | {key.effect} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def draw_plan(definition: TrainerDefinition, env: Any = None, width: int = 76) -> str:
    """The plan of an algorithm as a picture, with its settings for an environment, or defaults.

    The plan is made as a trainer makes it, in this process, but with policies that neither act
    nor learn, so that no framework is needed.
    """
    idle = definition.with_updates(default_policy=Idle)
    keys = {"env": env, "num_workers": 0, "num_envs_per_worker": 1}
    if env is None:
        keys |= {"env": PICTURE_ENV, "preset": None}
    with idle(keys) as trainer:
        return picture(trainer.plan, width)


def picture(plan: LocalIterator[Any], width: int = 76) -> str:
    """A plan as boxes, with what flows between them, and weights going back to the workers."""
    boxes = [("", plan.source), *((stage.kind, stage.operator) for stage in plan.stages)]
    loop = max((i for i, (_, op) in enumerate(boxes) if isinstance(op, PUBLISHERS)), default=0)
    lines: list[str] = []
    titles = plan.describe().splitlines()
    titles = [titles[0], *titles[len(titles) - len(plan.stages) :]] if plan.stages else titles[:1]
    flow, inner = "", width - 14
    for index, ((kind, operator), title) in enumerate(zip(boxes, titles, strict=True)):
        flow = flows(operator, kind) or flow
        name = title.lstrip("├└─ ").removeprefix(kind).strip()
        text = textwrap.wrap(summary(operator), inner - 2) or [""]
        top = f"╭─ {textwrap.shorten(name, inner - 4, placeholder='…')} "
        body = [f"│  {line:<{inner - 2}}│" for line in text]
        box = [f"{top:─<{inner + 1}}╮", *body, f"╰{'─' * inner}╯", f"   ▼ {flow}"]
        if index == len(boxes) - 1:
            box[-1] = "   ▼ result of train()"
        lines += _with_rail(box, inner + 2, index, loop)
    return "\n".join(line.rstrip() for line in lines)


def flows(operator: Any, kind: str) -> str | None:
    """What an operator gives, by its annotation; None where that says nothing new."""
    call: Any = operator if inspect.isroutine(operator) else type(operator).__call__
    given = str(getattr(call, "__annotations__", {}).get("return", "Any"))
    if kind == "combine":
        given = given.removeprefix("list[").removesuffix("]") if given.startswith("list") else given
    return None if given == "Any" or kind == "filter" else FLOWS.get(given, given)


def summary(operator: Any) -> str:
    """The first sentence of an operator's docstring."""
    described = operator if inspect.isroutine(operator) else type(operator)
    doc = inspect.getdoc(getattr(described, "func", described)) or ""
    return " ".join(doc.split("\n\n")[0].split())


class Idle(Policy):
    """A policy without weights that is there for plans to be built, not to act or learn."""

    def get_weights(self) -> dict[str, Any]:
        """None at all."""
        return {}

    def set_weights(self, weights: Any) -> None:
        """There are none to set."""


def type_text(annotation: Any, metadata: tuple[Any, ...] = ()) -> str:
    """An annotation as a reader of configs wants it: `int > 0`, `'a' | 'b'`, `float or None`."""
    origin, args = get_origin(annotation), get_args(annotation)
    if annotation == Schedule:
        return "schedule"
    if origin is Annotated:
        return type_text(args[0], args[1:])
    if origin is Literal:
        return " | ".join(map(repr, args))
    if origin in (Union, UnionType):
        given = [type_text(arg) for arg in args if arg is not type(None)]
        return " or ".join([*given, *(["None"] if type(None) in args else [])])
    name = "any" if annotation is Any else getattr(annotation, "__name__", str(annotation))
    if args:
        name = f"{name} of {', '.join(type_text(arg) for arg in args if arg is not ...)}"
    bounds = " and ".join(bound for item in metadata for bound in _bounds(item))
    return f"{name} {bounds}".rstrip()


def _bounds(metadata: Any) -> list[str]:
    """`["≥ 0", "≤ 1"]` of an annotation's constraint."""
    inner = getattr(metadata, "metadata", [])  # pydantic's Field(ge=0, le=1) holds several
    signs = (("gt", ">"), ("ge", "≥"), ("lt", "<"), ("le", "≤"))
    found = [f"{sign} {getattr(metadata, name)}" for name, sign in signs if hasattr(metadata, name)]
    return [*found, *(bound for item in inner for bound in _bounds(item))]


def _described(home: Any, field: str) -> tuple[str, str]:
    """(type, effect) of a field of a config class or dataclass."""
    if dataclasses.is_dataclass(home) and isinstance(home, type):
        hints = get_type_hints(home, vars(sys.modules[home.__module__]))
        return type_text(hints[field]), attribute_docstrings(home).get(field, "")
    found = home.model_fields[field]
    return type_text(found.annotation, tuple(found.metadata)), found.description or ""


@cache
def attribute_docstrings(kind: type[Any]) -> Mapping[str, str]:
    """{field: the string below it} of a class; pydantic reads them by itself, dataclasses do not.

    Empty where the source is not at hand.
    """
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    except (OSError, TypeError):
        return {}
    body = tree.body if isinstance(tree, ast.ClassDef) else []
    found = {}
    for field, below in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            text = below.value if isinstance(below, ast.Expr) else None
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                found[field.target.id] = inspect.cleandoc(text.value)
    return found


def _with_rail(box: list[str], width: int, index: int, loop: int) -> list[str]:
    """The lines of a box with its part of the way back, from operator `loop` to the source."""
    if index > loop or loop == 0:
        return box
    rail = ["   │"] * len(box)
    if index == 0:
        rail[0], rail[1] = "", "◀──╮"
        rail[-1] = "   │ weights"
    elif index == loop:
        rail[1:] = ["───╯", *[""] * (len(box) - 2)]
    return [f"{line:<{width}}{part}" for line, part in zip(box, rail, strict=True)]
