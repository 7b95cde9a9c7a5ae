"""What is wrong with a config, in its own words: the key, what was given, what was expected."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from rl_algos.keys import key_index

EXPECTED = {
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "True or False",
    "bool_parsing": "True or False",
    "string_type": "a string",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a dict",
    "missing": "[env step, value]",
    "too_long": "[env step, value]",
    "greater_than": "a number greater than {gt:g}",
    "greater_than_equal": "a number of at least {ge:g}",
    "less_than_equal": "a number of at most {le:g}",
}
"""{pydantic's name of an error: what was expected}; others keep pydantic's words."""


def explain(error: ValidationError, config_class: type[BaseModel]) -> str:
    """One line for each key that has a value it cannot have; contradictions in their own words."""
    lines: dict[str, list[Any]] = {}
    for each in error.errors():
        cause = each.get("ctx", {}).get("error")
        if isinstance(cause, ValueError):
            lines[str(cause)] = []
            continue
        key, where = _place(each["loc"], each["type"], key_index(config_class))
        lines.setdefault(f"{where} = {each['input']!r}", [key]).append(each)
    return "\n".join(
        f"{given}: {_expected(about[0], about[1:], config_class)}" if about else given
        for given, about in lines.items()
    )


def _place(loc: tuple[Any, ...], kind: str, known: Iterable[str]) -> tuple[str, str]:
    """The key that an error is about, and where in its value: `lr_schedule[0]`."""
    index = next((i for i, part in enumerate(loc) if part in known), None)
    if index is None:
        return "", "config"
    end = len(loc) - (kind == "missing")  # what is missing has no place yet
    inside = "".join(f"[{part}]" for part in loc[index + 1 : end] if isinstance(part, int))
    return loc[index], f"{loc[index]}{inside}"


def _expected(key: str, errors: list[Any], config_class: type[BaseModel]) -> str:
    """`expected a number greater than 0 (Step size of the optimiser)`."""
    field = _field(key, config_class)
    wanted = list(dict.fromkeys(_phrase(error) for error in errors))
    if field is not None and type(None) in get_args(field.annotation):
        wanted.append("None")
    choices = [c for error in errors for c in _choices(error, field)]
    given = str(errors[0]["input"]).lower()
    lower = {choice.lower(): choice for choice in choices}
    near = difflib.get_close_matches(given, lower, n=1)
    hint = f"; did you mean {lower[near[0]]!r}?" if near else ""
    about = f" ({field.description.rstrip('.')})" if field and field.description else ""
    return f"expected {' or '.join(wanted)}{hint}{about}"


def _phrase(error: Any) -> str:
    if error["type"] == "literal_error":
        return str(error["ctx"]["expected"])
    found = EXPECTED.get(error["type"])
    return found.format(**error.get("ctx", {})) if found else str(error["msg"])


def _choices(error: Any, field: FieldInfo | None) -> list[str]:
    if error["type"] != "literal_error" or field is None:
        return []
    parts = [field.annotation, *get_args(field.annotation)]
    return [c for part in parts for c in get_args(part) if isinstance(c, str)]


def _field(key: str, config_class: type[BaseModel]) -> FieldInfo | None:
    """A key's field; None where it is of a dataclass, or of no config at all."""
    if key not in key_index(config_class):
        return None
    section, name = key_index(config_class)[key]
    home: Any = config_class
    if section is not None:
        home = config_class.model_fields[section].annotation
    found: FieldInfo | None = getattr(home, "model_fields", {}).get(name)
    return found
