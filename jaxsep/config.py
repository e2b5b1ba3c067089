"""Frozen dataclasses from and to plain dictionaries (YAML, JSON), strictly."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any


def to_dict(config: Any) -> dict:
    """Return a dataclass as a dictionary that JSON can hold.

    Example:
      >>> from jaxsep.models import LSTMMaskConfig
      >>> to_dict(LSTMMaskConfig(width=64))["width"]
      64
    """

    def plain(value):
        if dataclasses.is_dataclass(value):
            return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items()}
        return [plain(v) for v in value] if isinstance(value, (list, tuple)) else value

    return plain(config)


def from_dict(cls: Any, values: Any, where: str = "config") -> Any:
    """Build a dataclass from a dictionary; what is left out takes its default.

    A field that may be one of several dataclasses is told apart by its ``name`` (or ``kind``);
    without one it is the first of them.

    Raises:
      ValueError: an unknown key, a value of another type, or one that the class refuses; the
        message holds the dotted name of the field.

    Example:
      >>> from jaxsep.models import LSTMMaskConfig
      >>> from_dict(LSTMMaskConfig, {"width": 64}).width
      64
    """
    if not isinstance(values, dict):
        raise ValueError(f"{where}={values!r}: expected a mapping")
    hints = typing.get_type_hints(cls)
    fields = {f.name for f in dataclasses.fields(cls)}
    unknown = sorted(str(k) for k in set(values) - fields)
    if unknown:
        raise ValueError(f"{where}.{unknown[0]}: unknown; expected one of {sorted(fields)}")
    built = {k: _convert(hints[k], v, f"{where}.{k}") for k, v in values.items()}
    try:
        return cls(**built)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from error


def _convert(hint, value, where):
    """Return ``value`` as the type that ``hint`` names, or raise ValueError."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return from_dict(hint, value, where)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(arguments, value, where)
    if origin is typing.Literal:
        if value not in arguments:
            raise ValueError(f"{where}={value!r}: expected one of {list(arguments)}")
        return value
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"{where}={value!r}: expected a list")
        return tuple(_convert(arguments[0], v, f"{where}[{i}]") for i, v in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise ValueError(f"{where}={value!r}: expected a mapping")
        return {str(k): _convert(arguments[1], v, f"{where}.{k}") for k, v in value.items()}
    return _convert_scalar(hint, value, where)


def _convert_union(arguments, value, where):
    if value is None and type(None) in arguments:
        return None
    classes = [a for a in arguments if dataclasses.is_dataclass(a)]
    if not classes:
        return _convert(next(a for a in arguments if a is not type(None)), value, where)
    names = {_tag(c): c for c in classes}
    key = "name" if "name" in {f.name for f in dataclasses.fields(classes[0])} else "kind"
    tag = value.get(key, _tag(classes[0])) if isinstance(value, dict) else None
    if not isinstance(tag, str) or tag not in names:
        raise ValueError(f"{where}.{key}={tag!r}: expected one of {sorted(names)}")
    return from_dict(names[tag], value, where)


def _tag(cls):
    return next(f.default for f in dataclasses.fields(cls) if f.name in ("name", "kind"))


def _convert_scalar(hint, value, where):
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is float and isinstance(value, str):  # YAML 1.1 reads 1e-3 as text
        try:
            return float(value)
        except ValueError:
            pass
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise ValueError(f"{where}={value!r}: expected {hint.__name__}")
    return value
