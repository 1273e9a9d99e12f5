"""Frozen dataclasses to plain data and back: YAML on disk, unknown keys refused."""

from __future__ import annotations

import difflib
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

from resnetkit.types import UserError

Config = TypeVar("Config")


def to_dict(config: object) -> dict[str, Any]:
    """A configuration dataclass as nested plain data, ready for JSON or YAML."""
    assert is_dataclass(config)
    return _adapter(type(config)).dump_python(config, mode="json")


def from_dict(kind: type[Config], data: dict[str, Any], where: str) -> Config:
    """The dataclass `kind` that `data` describes; `where` names the file in errors.

    Raises UserError for an unknown key (with the nearest known one) or a value of the wrong type.
    """
    try:
        config = _adapter(kind).validate_python(data)
    except ValidationError as error:
        first = error.errors()[0]
        cause = first.get("ctx", {}).get("error")
        if isinstance(cause, UserError):  # of a dataclass itself: it says all that is needed
            raise UserError(f"{where}: {cause}") from error
        setting = ".".join(str(part) for part in first["loc"])
        message = f"{where}: setting {setting!r}: {first['msg']}, got {first['input']!r}"
        raise UserError(message) from error
    known = flatten(to_dict(config))
    for key in flatten(data):
        if key not in known and not any(name.startswith(key + ".") for name in known):
            raise UserError(f"{where}: unknown setting {key!r}{suggest(key, known)}")
    return config


@cache  # building one takes 30 ms
def _adapter(kind: type) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def apply_settings(config: Config, settings: Mapping[str, object], where: str) -> Config:
    """`config` with `settings` by dotted name, as in {"training.epochs": 5, "data.batch_size": 32}.

    All at once, so that fields which must agree (epochs and steps) may change together. A part that
    `config` leaves out (None) begins with its defaults. `where` says in errors whose settings they
    are. Raises UserError for an unknown name (with the nearest known one), for a value of the wrong
    type, and for what the configurations themselves refuse.
    """
    known = setting_names(type(config))
    data = to_dict(config)
    for name, value in settings.items():
        if name not in known:
            raise UserError(f"{where}: unknown setting {name!r}{suggest(name, known)}")
        *parts, last = name.split(".")
        inner = data
        for part in parts:
            if inner.get(part) is None:
                inner[part] = {}
            inner = inner[part]
        inner[last] = value
    return from_dict(type(config), data, where)


def setting_names(kind: type) -> list[str]:
    """The dotted names of all settings of a configuration dataclass, those of its parts too."""
    hints, names = get_type_hints(kind), []
    for field in fields(kind):
        hint = hints[field.name]
        kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        parts = [part for part in kinds if is_dataclass(part) and isinstance(part, type)]
        below = [name for part in parts for name in setting_names(part)]
        names += [f"{field.name}.{name}" for name in below] if parts else [field.name]
    return names


def to_yaml(config: object) -> str:
    """A configuration dataclass as YAML."""
    return yaml.safe_dump(to_dict(config), sort_keys=False)


def from_yaml(kind: type[Config], text: str, where: str) -> Config:
    """The inverse of `to_yaml`."""
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{where}: this is not YAML: {error}. Repair or replace it") from error
    if not isinstance(data, dict):
        raise UserError(f"{where}: expected settings as a YAML mapping, got {type(data).__name__}")
    return from_dict(kind, data, where)


def flatten(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one with dotted keys: {"a": {"b": 1}} -> {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for key, value in data.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            flat |= flatten(value, name + ".")
        else:
            flat[name] = value
    return flat


def refuse_non_finite(config: object) -> None:
    """UserError when a number in a configuration dataclass is nan or infinite."""
    assert is_dataclass(config)
    assert not isinstance(config, type)
    for name, value in flatten(asdict(config)).items():
        values = value if isinstance(value, tuple) else (value,)
        if not all(math.isfinite(number) for number in values if isinstance(number, float)):
            raise UserError(f"{name} must be a finite number, got {value}")


def digest(data: object) -> str:
    """SHA-256 of plain data in canonical JSON."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def suggest(name: str, known: object) -> str:
    """`; did you mean 'x'?` for the nearest known name, or nothing."""
    nearest = difflib.get_close_matches(name, list(known), n=1)  # pyright: ignore
    return f"; did you mean {nearest[0]!r}?" if nearest else ""
