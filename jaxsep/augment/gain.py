"""Random levels."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def random_gain(key: jax.Array, sources: jax.Array, decibels: float) -> jax.Array:
    """Change the level of each source by a uniform number of dB in ``[-decibels, decibels]``.

    Args:
      key: a JAX random key.
      sources: ``(sources, samples)`` waveforms.
      decibels: largest change, dB.

    Returns:
      Array of the same shape.

    Example:
      >>> import jax.numpy as jnp
      >>> random_gain(jax.random.key(0), jnp.ones((2, 3)), 0.0).tolist()
      [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
    """
    db = jax.random.uniform(key, sources.shape[:1], jnp.float32, minval=-decibels, maxval=decibels)
    return sources * (10.0 ** (db / 20.0))[:, None]


def random_level(key: jax.Array, sources: jax.Array, decibels: float) -> jax.Array:
    """Change the level of all sources alike, as a microphone's would; arguments as :func:`random_gain`.

    Example:
      >>> import jax.numpy as jnp
      >>> x = random_level(jax.random.key(0), jnp.ones((2, 3)), 6.0)
      >>> bool((x == x[0, 0]).all()), 0.5 < float(x[0, 0]) < 2.0
      (True, True)
    """
    db = jax.random.uniform(key, (), jnp.float32, minval=-decibels, maxval=decibels)
    return sources * 10.0 ** (db / 20.0)


def random_polarity(key: jax.Array, sources: jax.Array) -> jax.Array:
    """Negate each source with probability one half; arguments as :func:`random_gain`.

    Example:
      >>> import jax.numpy as jnp
      >>> jnp.abs(random_polarity(jax.random.key(0), jnp.ones((2, 3)))).min().item()
      1.0
    """
    kept = jax.random.bernoulli(key, jnp.float32(0.5), sources.shape[:1])
    return jnp.where(kept[:, None], sources, -sources)
