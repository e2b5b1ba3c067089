"""Scales: what the network sees of magnitudes, and back."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jaxsep.parts import ranged, register
from jaxsep.spectral import db_to_amplitude


@register("scale", "magnitude")
@dataclass(frozen=True)
class Magnitude:
    """Magnitudes as they are."""

    signed = False

    def __call__(self, size: jax.Array) -> jax.Array:
        """Magnitudes -> scaled."""
        return size

    def inverse(self, scaled: jax.Array) -> jax.Array:
        """Scaled -> magnitudes, at or above 0."""
        return jnp.maximum(scaled, 0.0)


@register("scale", "log")
@dataclass(frozen=True)
class Log:
    """``log(magnitude + offset)``.

    Example:
      >>> scale = Log()
      >>> round(float(scale.inverse(scale(jnp.array(0.5)))), 4)
      0.5
    """

    offset: float = ranged(0.01, above=0)
    """Keeps silence finite, in the unit of the magnitudes."""

    signed = True

    def __call__(self, size: jax.Array) -> jax.Array:
        """Magnitudes -> scaled."""
        return jnp.log(size + self.offset)

    def inverse(self, scaled: jax.Array) -> jax.Array:
        """Scaled -> magnitudes, at or above 0."""
        return jnp.maximum(jnp.exp(scaled) - self.offset, 0.0)


@register("scale", "db")
@dataclass(frozen=True)
class Decibels:
    """dB, not below a floor.

    Example:
      >>> scale = Decibels(floor_db=-60)
      >>> scale(jnp.array([1.0, 0.1, 0.0])).tolist()
      [0.0, -20.0, -60.0]
    """

    floor_db: float = ranged(-60.0, least=-200, below=0)
    """What is quieter counts as this much and comes back as 0. A floor far below the sound, such as -100 dB,
    lets what nobody hears have most of an error in dB."""

    signed = True

    def __call__(self, size: jax.Array) -> jax.Array:
        """Magnitudes -> scaled."""
        return 20.0 * jnp.log10(jnp.maximum(size, 10 ** (self.floor_db / 20)))

    def inverse(self, scaled: jax.Array) -> jax.Array:
        """Scaled -> magnitudes, at or above 0."""
        floor = 20 * math.log10(10 ** (self.floor_db / 20))
        return jnp.where(scaled > floor, db_to_amplitude(scaled), 0.0)
