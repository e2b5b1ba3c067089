"""Decibels, both ways, with librosa's conventions and names."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxsep._checks import as_float


def power_to_db(power, *, ref: float = 1.0, amin: float = 1e-10, top_db: float | None = 80.0):
    """Decibels of a power: ``10 log10(max(amin, power) / max(amin, ref))``, as librosa.

    Args:
      power: non-negative array of any shape.
      ref: the power that is 0 dB.
      amin: floor of both, so that silence is finite.
      top_db: cut at this many dB below the maximum of the whole array; None to keep all.

    Returns:
      float32 array of the same shape, dB.

    Example:
      >>> power_to_db(jnp.array([1.0, 0.1])).tolist()
      [0.0, -10.0]
    """
    power = as_float("power", power)
    if amin <= 0:
        raise ValueError(f"amin={amin}: expected a positive number")
    db = 10.0 * (jnp.log10(jnp.maximum(amin, power)) - jnp.log10(jnp.float32(max(amin, abs(ref)))))
    if top_db is None:
        return db
    if top_db < 0:
        raise ValueError(f"top_db={top_db}: expected a number of dB that is not negative")
    return jnp.maximum(db, db.max() - top_db)


def amplitude_to_db(amplitude, *, ref: float = 1.0, amin: float = 1e-5, top_db: float | None = 80.0):
    """Decibels of an amplitude: :func:`power_to_db` of its square, as librosa.

    Example:
      >>> amplitude_to_db(jnp.array([1.0, 0.1])).tolist()
      [0.0, -20.0]
    """
    amplitude = as_float("amplitude", amplitude)
    return power_to_db(jnp.square(amplitude), ref=ref**2, amin=amin**2, top_db=top_db)


def db_to_power(db, *, ref: float = 1.0) -> jax.Array:
    """Inverse of :func:`power_to_db`: ``ref * 10 ** (db / 10)``.

    Example:
      >>> round(float(db_to_power(jnp.float32(10.0))), 4)
      10.0
    """
    return ref * jnp.power(10.0, as_float("db", db) / 10.0)


def db_to_amplitude(db, *, ref: float = 1.0) -> jax.Array:
    """Inverse of :func:`amplitude_to_db`: ``ref * 10 ** (db / 20)``.

    Example:
      >>> round(float(db_to_amplitude(jnp.float32(20.0))), 4)
      10.0
    """
    return ref * jnp.power(10.0, as_float("db", db) / 20.0)
