"""Checks of array arguments, shared by the public functions of the array floor."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

_P = ParamSpec("_P")
_T = TypeVar("_T")

#: Most channels or sources that a function takes.
_MOST = 64
#: Up to this many are taken whatever the number of samples.
_FEW = 8


def check_floats(name: str, x) -> None:
    """Refuse a numpy or jax array of anything but floats, of which bfloat16 is one."""
    if not jax.dtypes.issubdtype(x.dtype, np.floating):
        raise ValueError(f"{name}.dtype={x.dtype}: expected floats; divide integers by full scale")


def as_float(name: str, value, dtype=jnp.float32) -> jax.Array:
    """Return ``value`` as a jax array of ``dtype``; refuse what is not floating-point."""
    value = value if hasattr(value, "dtype") else np.asarray(value)
    if not jnp.issubdtype(value.dtype, jnp.floating):
        raise ValueError(
            f"{name}.dtype={value.dtype}: expected floating-point values; "
            "divide integer samples by their full scale first (16 bits: 32768)"
        )
    _check_x64(name, dtype)
    return jnp.asarray(value, dtype)


def wide(*arrays) -> tuple[jax.Array, ...]:
    """Arrays with 16-bit floats as float32, which sums of squares and small constants need; others as is."""
    arrays = tuple(jnp.asarray(x) for x in arrays)
    narrow = (jnp.float16, jnp.bfloat16)
    return tuple(x.astype(jnp.float32) if x.dtype in narrow else x for x in arrays)


def as_complex(name: str, value, dtype=jnp.complex64) -> jax.Array:
    """Return ``value`` as a complex jax array; refuse what is not complex."""
    value = value if hasattr(value, "dtype") else np.asarray(value)
    if not jnp.issubdtype(value.dtype, jnp.complexfloating):
        raise ValueError(f"{name}.dtype={value.dtype}: expected complex values, as stft returns")
    _check_x64(name, dtype)
    return jnp.asarray(value, dtype)


def at_least(name: str, value, least: int) -> int:
    """Return ``value`` as an int; refuse what is not an integer of at least ``least``."""
    if isinstance(value, jax.core.Tracer):
        raise ValueError(
            f"{name} is traced, and the shape of the result follows from it: make it static, by "
            f"jax.jit(function, static_argnames={name!r}), or bind it by functools.partial before jit"
        )
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ValueError(f"{name}={value!r}: expected an integer of at least {least}")
    return int(value)


def index_within(name: str, value, count: int, what: str) -> int:
    """Return ``value`` as an index of one of ``count``; refuse others, which JAX would take for the last."""
    if at_least(name, value, 0) >= count:
        raise ValueError(f"{name}={value}: expected 0 to {count - 1}, one of the {count} {what}")
    return int(value)


def place_within(name: str, value, count: int, what: str) -> int:
    """:func:`index_within` where negative ones count from the end."""
    if at_least(name, value, -count) >= count:
        raise ValueError(f"{name}={value}: expected {-count} to {count - 1}, one of the {count} {what}")
    return int(value) % count


def at_least_ndim(name: str, x, ndim: int, axes: str) -> None:
    """Refuse an array with fewer than ``ndim`` dimensions or with none of its last two filled."""
    if x.ndim < ndim:
        raise ValueError(f"{name}.shape={x.shape}: expected {axes}")
    if 0 in x.shape[-ndim:]:
        raise ValueError(f"{name}.shape={x.shape}: the array is empty")


def samples_last(name: str, shape: tuple[int, ...], what: str = "channels") -> None:
    """Refuse a shape whose last two axes, ``what`` and samples, seem to be exchanged."""
    count, samples = shape[-2:]
    if count > max(samples, _FEW) or count > _MOST:
        reason = f"more than the {samples} samples" if count > samples else f"at most {_MOST} are taken"
        raise ValueError(
            f"{name}.shape={shape}: {count} {what}, {reason}; samples come last: transpose an array of "
            f"(samples, {what}), as soundfile reads it, by {name}.T"
        )


def standard_promotion(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Let complex and real arrays meet in ``function``, whatever ``jax_numpy_dtype_promotion`` says."""

    @wraps(function)
    def wrapped(*args, **kwargs):
        with jax.numpy_dtype_promotion("standard"):
            return function(*args, **kwargs)

    return wrapped


def _check_x64(name: str, dtype) -> None:
    if jnp.dtype(dtype) in (jnp.float64, jnp.complex128) and not jax.config.read("jax_enable_x64"):
        raise ValueError(
            f"{name}: dtype={jnp.dtype(dtype)} needs 64-bit mode; call inside `with jax.enable_x64(True):`"
        )
