"""Random places of sources between two channels."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def pan_gains(place) -> jax.Array:
    """Gains of left and right that put a source in a place, at equal power.

    Args:
      place: ``(...)`` floats, -1 for left alone, 0 for the middle, where both are 1, 1 for right alone.

    Returns:
      ``(..., 2)`` float32.

    Example:
      >>> pan_gains(jnp.array([-1.0, 0.0])).round(3).tolist()
      [[1.4140000343322754, 0.0], [1.0, 1.0]]
    """
    angle = (1 + jnp.asarray(place, jnp.float32)) * jnp.pi / 4
    return jnp.sqrt(2.0) * jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=-1)


def random_pan(key: jax.Array, sources: jax.Array, most: float) -> jax.Array:
    """Move each source of two channels sideways, by gains of equal power.

    Args:
      key: a JAX random key.
      sources: ``(sources, 2, samples)`` waveforms.
      most: how far from where it is, in [0, 1]; at 1 as far as one channel alone.

    Returns:
      Array of the same shape; a source that is the same in both channels keeps its power.

    Example:
      >>> panned = random_pan(jax.random.key(0), jnp.ones((3, 2, 5)), 0.8)
      >>> bool(jnp.allclose((panned**2).sum(1), 2.0, atol=1e-5))
      True
    """
    places = most * jax.random.uniform(key, sources.shape[:1], jnp.float32, minval=-1.0)
    return sources * pan_gains(places)[..., None]


def random_swap(key: jax.Array, sources: jax.Array) -> jax.Array:
    """Exchange left and right of each source with probability one half.

    Args:
      key: a JAX random key.
      sources: ``(sources, 2, samples)`` waveforms.

    Returns:
      Array of the same shape.

    Example:
      >>> swapped = random_swap(jax.random.key(0), jnp.arange(4.0).reshape(2, 2, 1))
      >>> sorted(swapped[0, :, 0].tolist()), sorted(swapped[1, :, 0].tolist())
      ([0.0, 1.0], [2.0, 3.0])

    References:
      S. Uhlich et al., "Improving music source separation based on deep neural networks through
      data augmentation and network blending", ICASSP 2017, section 3.
    """
    swap = jax.random.bernoulli(key, jnp.float32(0.5), sources.shape[:1])
    return jnp.where(swap[:, None, None], sources[:, ::-1], sources)
