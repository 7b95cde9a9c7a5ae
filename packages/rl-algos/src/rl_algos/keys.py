"""Config keys: which there are, and from flat keys or sections to a nested dict."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel

from rl_algos.rllib_keys import RENAMED, UNSUPPORTED


class ConfigError(ValueError):
    """A config key or value that cannot be meant; says what was expected and how to mend it."""


@cache
def key_index(config_class: type[BaseModel]) -> dict[str, tuple[str | None, str]]:
    """Every key a user may give: {key: (its section or None, its field)}.

    Raises:
        TypeError: two sections share a name, so that a flat key would be ambiguous.
    """
    index: dict[str, tuple[str | None, str]] = {}
    for key, section, field in _leaves(config_class):
        if key in index:
            raise TypeError(f"{config_class.__name__} has two keys {key!r}; rename one of them")
        index[key] = (section, field)
    return index


@cache
def section_names(config_class: type[BaseModel]) -> tuple[str, ...]:
    """The names of a config's sections, `("environment", "workers", …)`."""
    fields = config_class.model_fields
    return tuple(name for name, field in fields.items() if _is_section(field.annotation))


def locate(config_class: type[BaseModel], key: str) -> tuple[str | None, str]:
    """Where a key lives: (section or None, field).

    Raises:
        ConfigError: there is no such key; the nearest ones are named.
    """
    index = key_index(config_class)
    if key not in index:
        name = config_class.__name__.removesuffix("Config")
        near = _hint(str(key), [*index, *section_names(config_class)])
        hint = near or f"`rl show {name}` lists all there are"
        raise ConfigError(f"{config_class.__name__} has no key {key!r}; {hint}")
    return index[key]


def given_keys(config: Any, env: Any = None) -> dict[str, Any]:
    """A user's keys, with `env` among them where it is given.

    Raises:
        ConfigError: `config` is no dict.
    """
    if not isinstance(config, Mapping | None):
        raise ConfigError(
            f"a config is a dict of keys such as {{'env': 'CartPole-v1', 'lr': 0.001}}, not "
            f"{config!r}"
        )
    return {**(config or {}), **({} if env is None else {"env": env})}


def _hint(key: str, known: list[str]) -> str | None:
    """What to write instead of a key that does not exist; None where nothing comes to mind."""
    if key in RENAMED:
        return f"it is {RENAMED[key]!r} here"
    near = difflib.get_close_matches(key, known, n=2)
    if near:
        return f"did you mean {' or '.join(map(repr, near))}?"
    if key in UNSUPPORTED:
        return f"RLlib's {key} has another way here: {UNSUPPORTED[key][1]}"
    return None


def nest(config_class: type[BaseModel], keys: Mapping[str, Any]) -> dict[str, Any]:
    """Flat keys, sections, or both, as `{key: value, section: {key: value}}`.

    Raises:
        ConfigError: a key is unknown or given twice.
    """
    nested: dict[str, Any] = {}
    for key, section, value in _entries(config_class, keys):
        place = nested if section is None else nested.setdefault(section, {})
        if key in place:
            raise ConfigError(f"key {key!r} is given twice, alone and in section {section!r}")
        place[key] = value
    return nested


def flatten(config_class: type[BaseModel], keys: Mapping[str, Any]) -> dict[str, Any]:
    """Flat keys, sections, or both, as flat keys."""
    return {key: value for key, _, value in _entries(config_class, keys)}


def on_section_defaults(config_class: type[BaseModel], nested: dict[str, Any]) -> dict[str, Any]:
    """Given sections on top of this class's own defaults for them, not of the section class's."""
    fields = config_class.model_fields
    return {
        name: dict(_section_items(name, fields[name].default)) | value
        if name in section_names(config_class)
        else value
        for name, value in nested.items()
    }


def _entries(
    config_class: type[BaseModel], keys: Mapping[str, Any]
) -> Iterator[tuple[str, str | None, Any]]:
    """(key, section, value) of each key, those inside given sections included."""
    sections = section_names(config_class)
    for name, value in keys.items():
        if name not in sections:
            yield name, locate(config_class, name)[0], value
            continue
        for key, inner in _section_items(name, value):
            if locate(config_class, key)[0] != name:
                raise ConfigError(f"key {key!r} does not belong into section {name!r}")
            yield key, name, inner


def _section_items(name: str, section: Any) -> list[tuple[str, Any]]:
    if isinstance(section, Mapping):
        return list(section.items())
    if isinstance(section, BaseModel):
        return list(section)
    if dataclasses.is_dataclass(section):
        return [(f.name, getattr(section, f.name)) for f in dataclasses.fields(section)]
    raise ConfigError(f"{name!r} is a section, give it a dict of its keys, not {section!r}")


def _leaves(config_class: type[BaseModel]) -> Iterator[tuple[str, str | None, str]]:
    """(key, section or None, field) of every leaf; a key is the field's alias where it has one."""
    for name, field in config_class.model_fields.items():
        kind = field.annotation
        if not _is_section(kind):
            yield field.alias or name, None, name
        elif issubclass(kind, BaseModel):  # type: ignore[arg-type]
            for inner, inner_field in kind.model_fields.items():  # type: ignore[union-attr]
                yield inner_field.alias or inner, name, inner
        else:
            for inner_name in dataclasses.fields(kind):  # type: ignore[arg-type]
                yield inner_name.name, name, inner_name.name


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and (
        issubclass(kind, BaseModel) or dataclasses.is_dataclass(kind)
    )
