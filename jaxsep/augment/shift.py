"""Random shifts in time."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def circular_shift(key: jax.Array, sources: jax.Array) -> jax.Array:
    """Rotate each source in time by its own random number of samples.

    Args:
      key: a JAX random key.
      sources: ``(sources, samples)`` waveforms.

    Returns:
      Array of the same shape.

    Example:
      >>> circular_shift(jax.random.key(0), jnp.eye(1, 4)).sum().item()
      1.0

    References:
      P.-S. Huang et al., "Singing-voice separation from monaural recordings using deep recurrent
      neural networks", ISMIR 2014, section 4.1.
    """
    offsets = jax.random.randint(key, sources.shape[:1], 0, sources.shape[-1], jnp.int32)
    return jax.vmap(jnp.roll)(sources, offsets)
