"""Parts: exchangeable frozen dataclasses, found by their kind and name in YAML, JSON and Python.

A part does its own work; a config names it by its tag, ``{name: snr, floor_db: 30}`` or just ``snr``, and
a module of yours registers more::

    @jaxsep.register("loss", "my_loss")
    @dataclass(frozen=True)
    class MyLoss:
        weight: float = ranged(1.0, above=0)
        reads = "waveforms"

        def __call__(self, estimate, reference): ...

Nothing here imports JAX, and no model's folder ever imports a module: only :func:`load_plugin` does.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.util
import re
import sys
import types
import typing
import zlib
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

from jaxsep.errors import UserError

#: What can be exchanged; each kind's protocol is documented in the folder of its own parts.
KINDS = (
    "network", "codec", "transform", "scale", "normalizer", "head", "inversion", "loss", "optimizer",
    "schedule", "recipe", "generator",
)  # fmt: skip

#: Types for fields that hold a part of that kind.
Network = Annotated[Any, "network"]
Codec = Annotated[Any, "codec"]
Transform = Annotated[Any, "transform"]
Scale = Annotated[Any, "scale"]
Normalizer = Annotated[Any, "normalizer"]
Head = Annotated[Any, "head"]
Inversion = Annotated[Any, "inversion"]
Loss = Annotated[Any, "loss"]
Optimizer = Annotated[Any, "optimizer"]
Schedule = Annotated[Any, "schedule"]
Recipe = Annotated[Any, "recipe"]
Generator = Annotated[Any, "generator"]

_REGISTRY: dict[str, dict[str, type]] = {kind: {} for kind in KINDS}
C = TypeVar("C", bound=type)


class Range(NamedTuple):
    """Which values a field may have; what is None does not bound it."""

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    odd: bool = False

    def refuses(self, value) -> bool:
        """Whether a number lies outside, or is none."""
        return not (
            (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
            and not (self.odd and value % 2 == 0)
            and abs(value) != float("inf")
        )

    def __str__(self):
        bounds = [f"at least {self.least:g}"] if self.least is not None else []
        bounds += [f"above {self.above:g}"] if self.above is not None else []
        bounds += [f"at most {self.most:g}"] if self.most is not None else []
        bounds += [f"below {self.below:g}"] if self.below is not None else []
        return ("an odd number " if self.odd else "") + " and ".join(bounds)


def ranged(default: Any = dataclasses.MISSING, **bounds) -> Any:
    """A dataclass field whose value, or each value in it, must lie in a range.

    Args:
      default: the field's default; a list, dictionary or dataclass is shared, so give tuples.
      **bounds: of :class:`Range`: ``least``, ``most``, ``above``, ``below``, ``odd``.

    Example:
      >>> @checked
      ... @dataclasses.dataclass(frozen=True)
      ... class Gain:
      ...     db: float = ranged(3.0, least=0, most=60)
      >>> Gain(61.0)
      Traceback (most recent call last):
      ValueError: db=61.0: expected at least 0 and at most 60
    """
    metadata = {"range": Range(**bounds)}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=default.copy, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def check_ranges(config: Any) -> None:
    """Raise ValueError for the first field of a dataclass outside its :func:`ranged`."""
    for field in dataclasses.fields(config):
        bounds, value = field.metadata.get("range"), getattr(config, field.name)
        if bounds is None or value is None:
            continue
        values = (
            value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else (value,)
        )
        if any(bounds.refuses(v) for v in values):
            raise ValueError(f"{field.name}={value!r}: expected {bounds}")


def checked(cls: C) -> C:
    """Class decorator: a dataclass whose ranges are checked when it is made.

    A ``__post_init__`` of its own finds the ranges checked if it begins with :func:`check_ranges`.
    """
    init = cls.__init__  # type: ignore[misc]

    @functools.wraps(init)
    def checking(self, *args, **kwargs):
        init(self, *args, **kwargs)
        if type(self) is cls:
            check_ranges(self)

    cls.__init__ = checking  # type: ignore[misc]
    return cls


def register(kind: str, name: str):
    """Class decorator: make a frozen dataclass the part that configs call by this name.

    Args:
      kind: one of :data:`KINDS`.
      name: letters, digits and ``_``; not another part's.

    Returns:
      A decorator; the class gets the attributes ``kind`` and ``name``, and its ranges are checked.

    Raises:
      ValueError: an unknown kind, a name that is taken, or a class that is no frozen dataclass.

    Example:
      >>> @register("schedule", "halves_example")
      ... @dataclasses.dataclass(frozen=True)
      ... class Halves:
      ...     every: int = ranged(100, least=1)
      >>> find("schedule", "halves_example")(every=5)
      Halves(every=5)
    """
    if kind not in _REGISTRY:
        raise ValueError(f"kind={kind!r}: expected one of {', '.join(KINDS)}")
    if not re.fullmatch(r"\w{1,64}", name):
        raise ValueError(f"name={name!r}: expected letters, digits and '_' alone")

    def add(cls: C) -> C:
        if not (dataclasses.is_dataclass(cls) and cls.__dataclass_params__.frozen):  # type: ignore[attr-defined]
            raise ValueError(
                f"{cls.__name__}: a part is a frozen dataclass; put @dataclass(frozen=True) below"
            )
        known = _REGISTRY[kind].get(name)
        if known is not None and (known.__qualname__, _file(known)) != (cls.__qualname__, _file(cls)):
            raise ValueError(f"name={name!r}: is the {kind} {known.__module__}.{known.__qualname__} already")
        cls.kind, cls.name = kind, name  # type: ignore[attr-defined]
        _REGISTRY[kind][name] = checked(cls)
        return cls

    return add


def _file(cls):
    return getattr(sys.modules.get(cls.__module__), "__file__", cls.__module__)


def find(kind: str, name: str) -> type:
    """Return the part of that kind and name.

    Raises:
      UnknownPart: none is registered.
    """
    if name not in _REGISTRY[kind]:
        raise UnknownPart(kind, name)
    return _REGISTRY[kind][name]


def names(kind: str) -> list[str]:
    """Names of the registered parts of a kind.

    Example:
      >>> import jaxsep.losses
      >>> "snr" in names("loss")
      True
    """
    return sorted(_REGISTRY[kind])


class UnknownPart(ValueError):
    """A config names a part that nothing has registered."""

    def __init__(self, kind: str, name: object):
        super().__init__(
            f"there is no {kind} {name!r}: expected one of {names(kind)}, or the part of a module that "
            "registers it, which must be imported first (plugins)"
        )


def missing_part(error: BaseException | None) -> bool:
    """Whether an error comes from a part that nothing has registered."""
    while error is not None:
        if isinstance(error, UnknownPart):
            return True
        error = error.__cause__
    return False


def load_plugin(plugin: str) -> None:
    """Import a Python file or module, whose parts are then registered.

    Args:
      plugin: ``path/to/file.py``, or a module's dotted name.

    Raises:
      UserError: it is not there, or fails.
    """
    path = Path(plugin)
    try:
        if path.suffix != ".py":
            importlib.import_module(plugin)
            return
        module = f"jaxsep_plugin_{path.stem}_{zlib.crc32(str(path.resolve()).encode()):08x}"
        spec = importlib.util.spec_from_file_location(module, path.resolve())
        assert spec and spec.loader
        sys.modules[module] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(sys.modules[module])
        except BaseException:
            del sys.modules[module]
            raise
    except Exception as error:
        raise UserError(f"{plugin}: cannot be imported ({type(error).__name__}: {error})") from error


# --- dataclasses from and to plain dictionaries (YAML, JSON), strictly -----------------------------


def to_dict(config: Any) -> dict:
    """Return a dataclass as a dictionary that JSON can hold, parts with their tags.

    Example:
      >>> from jaxsep.networks import LSTMMask
      >>> plain = to_dict(LSTMMask(width=64))
      >>> plain["name"], plain["width"]
      ('lstm_mask', 64)
    """

    def plain(value):
        if dataclasses.is_dataclass(value):
            tag = {"name": getattr(value, "name", "")} if is_part(value) else {}
            return tag | {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items()}
        return [plain(v) for v in value] if isinstance(value, (list, tuple)) else value

    return plain(config)


def is_part(value: Any) -> bool:
    """Whether a value is an instance of a registered part, itself and no subclass of it."""
    kind, name = getattr(value, "kind", None), getattr(value, "name", None)
    return isinstance(name, str) and _REGISTRY.get(str(kind), {}).get(name) is type(value)


def unregistered(config: Any, where: str = "") -> list[str]:
    """Dotted names of the fields for parts that hold something else, in a dataclass and all it holds."""
    found: list[str] = []
    for field in dataclasses.fields(config):
        value, name = getattr(config, field.name), f"{where}{field.name}"
        each = value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else (value,)
        for part in each:
            if dataclasses.is_dataclass(part):
                found += (
                    unregistered(part, f"{name}.") if is_part(part) or not _kind(config, field) else [name]
                )
    return found


def _kind(config, field):
    """The kind of part that a field, or each entry of it, holds; None for no part."""
    hint = typing.get_type_hints(type(config), include_extras=True)[field.name]
    inner = (hint, *typing.get_args(hint)) if typing.get_origin(hint) is not Annotated else (hint,)
    return next((typing.get_args(h)[1] for h in inner if typing.get_origin(h) is Annotated), None)


def from_dict(cls: Any, values: Any, where: str = "config") -> Any:
    """Build a dataclass from a dictionary; what is left out takes its default.

    A field for a part takes ``{name: ..., its fields}``, or the name alone; without a name it is the part
    that the field has by default.

    Raises:
      ValueError: an unknown key, a value of another type, or one that the class refuses; the
        message holds the dotted name of the field.

    Example:
      >>> from jaxsep.system import SystemConfig
      >>> from_dict(SystemConfig, {"network": {"name": "unet", "levels": 3}}).network.levels
      3
    """
    if not isinstance(values, dict):
        raise ValueError(f"{where}={values!r}: expected a mapping")
    hints = typing.get_type_hints(cls, include_extras=True)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    unknown = sorted(str(k) for k in set(values) - fields.keys())
    if unknown:
        raise ValueError(f"{where}.{unknown[0]}: unknown; expected one of {sorted(fields)}")
    built = {k: _convert(hints[k], v, f"{where}.{k}", fields[k]) for k, v in values.items()}
    try:
        return cls(**built)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{where}: {error}") from error


def _convert(hint, value, where, field=None):
    """Return ``value`` as the type that ``hint`` names, or raise ValueError."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return _convert_part(arguments[1], value, where, field)
    if dataclasses.is_dataclass(hint):
        return from_dict(hint, value, where)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _convert(next(a for a in arguments if a is not type(None)), value, where, field)
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


def _convert_part(kind, value, where, field):
    if is_part(value):
        return value
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, dict):
        raise ValueError(f"{where}={value!r}: expected the name of a {kind}, or a mapping with its name")
    tag, rest = value.get("name"), {k: v for k, v in value.items() if k != "name"}
    if tag is None:
        tag = getattr(_default(field), "name", None)
    if not isinstance(tag, str):
        raise ValueError(f"{where}.name={tag!r}: expected one of {names(kind)}")
    try:
        cls = find(kind, tag)
    except UnknownPart as error:
        raise ValueError(f"{where}.name={tag!r}: {error}") from error
    return from_dict(cls, rest, where)


def _default(field):
    if field is None or field.default_factory is dataclasses.MISSING:
        return getattr(field, "default", None)
    return field.default_factory()


def _convert_scalar(hint, value, where):
    if hint not in (bool, int, float, str):
        raise ValueError(
            f"{where}: is annotated as {hint}; expected bool, int, float, str, Literal, tuple, dict, "
            "a dataclass or a kind of part"
        )
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
