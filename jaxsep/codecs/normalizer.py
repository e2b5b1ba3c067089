"""Normalizers of a window's scaled features; sources are normalized with their mixture's parameters."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jaxsep.parts import register


@register("normalizer", "none")
@dataclass(frozen=True)
class NoNormalizer:
    """Features as they are."""

    signed = False

    def statistics(self, scaled: jax.Array):
        """No shift and no scale."""
        return None, None


@register("normalizer", "min_max")
@dataclass(frozen=True)
class MinMax:
    """To [0, 1], over all bins and frames of a channel."""

    signed = False

    def statistics(self, scaled: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Shift and scale, ``(batch, channels, 1, 1)``, of ``(batch, channels, bins, frames)``."""
        shift = jnp.min(scaled, axis=(2, 3), keepdims=True)
        return shift, _not_small(jnp.max(scaled, axis=(2, 3), keepdims=True) - shift)


@register("normalizer", "cmvn")
@dataclass(frozen=True)
class CMVN:
    """Cepstral mean and variance normalization: each bin to mean 0 and variance 1 over its frames."""

    signed = True

    def statistics(self, scaled: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Shift and scale, ``(batch, channels, bins, 1)``, of ``(batch, channels, bins, frames)``."""
        shift = jnp.mean(scaled, axis=3, keepdims=True)
        variance = jnp.mean(jnp.square(scaled - shift), axis=3, keepdims=True)
        alive = variance > 0
        return shift, _not_small(jnp.where(alive, jnp.sqrt(jnp.where(alive, variance, 1.0)), 0.0))


def _not_small(scale):
    """1 for what does not vary."""
    return jnp.where(scale > 1e-6, scale, 1.0)
