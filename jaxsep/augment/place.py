"""Random places of sources between two channels."""

from __future__ import annotations

import jax
import jax.numpy as jnp


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
    angle = (1 + most * jax.random.uniform(key, sources.shape[:1], minval=-1.0)) * jnp.pi / 4
    gains = jnp.sqrt(2.0) * jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1)
    return sources * gains[:, :, None]


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
    swap = jax.random.bernoulli(key, 0.5, sources.shape[:1])
    return jnp.where(swap[:, None, None], sources[:, ::-1], sources)
