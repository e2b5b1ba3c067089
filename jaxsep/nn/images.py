"""Spectrograms as the images that networks of several levels halve, and back."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def to_image(features: jax.Array, levels: int) -> jax.Array:
    """``(batch, channels, bins, frames)`` -> ``(batch, height, width, channels)``.

    Both sides are padded with zeros at their end to a multiple of ``2 ** levels``. A single bin above such
    a multiple, the highest of an STFT, is left out.

    Example:
      >>> to_image(jnp.ones((1, 2, 17, 9)), levels=3).shape
      (1, 16, 16, 2)
    """
    _, _, bins, frames = features.shape
    used, height = _used(bins, levels), padded_height(bins, levels)
    x = jnp.transpose(features[:, :, :used], (0, 2, 3, 1))
    return jnp.pad(x, ((0, 0), (0, height - used), (0, -frames % (1 << levels)), (0, 0)))


def from_image(x: jax.Array, levels: int, bins: int, frames: int) -> jax.Array:
    """The inverse of :func:`to_image`; a bin that was left out takes its neighbor's values."""
    used = _used(bins, levels)
    y = jnp.transpose(x, (0, 3, 1, 2))[:, :, :used, :frames]
    return jnp.pad(y, ((0, 0), (0, 0), (0, bins - used), (0, 0)), mode="edge")


def padded_height(bins: int, levels: int) -> int:
    """The height of :func:`to_image`'s result.

    Example:
      >>> padded_height(17, levels=3), padded_height(18, levels=3)
      (16, 24)
    """
    used = _used(bins, levels)
    return used + -used % (1 << levels)


def _used(bins, levels):
    return bins - 1 if bins % (1 << levels) == 1 and bins > 1 else bins
