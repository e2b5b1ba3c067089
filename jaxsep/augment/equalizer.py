"""Random equalizer: another microphone, another room, another mix."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxsep._checks import standard_promotion
from jaxsep.augment._filtering import apply_gain

#: Octaves under the Nyquist frequency, each with a gain of its own.
_OCTAVES = 8


@standard_promotion
def random_equalizer(key: jax.Array, sources: jax.Array, most_db: float) -> jax.Array:
    """Raise and lower the octaves of each source at random.

    Args:
      key: a JAX random key.
      sources: ``(sources, samples)`` waveforms.
      most_db: largest gain or loss, dB, of the Nyquist frequency and of the eight octaves under it.

    Returns:
      Array of the same shape.

    Example:
      >>> random_equalizer(jax.random.key(0), jnp.ones((2, 3000)), 6.0).shape
      (2, 3000)
    """
    shape = (len(sources), _OCTAVES + 1)
    gains = jax.random.uniform(key, shape, jnp.float32, minval=-most_db, maxval=most_db)
    return jax.vmap(equalizer)(sources, gains)


@standard_promotion
def equalizer(x, gains_db) -> jax.Array:
    """Change the level of octaves, without delay.

    Args:
      x: ``(..., samples)`` floats, zero beyond both ends.
      gains_db: ``(octaves + 1,)`` dB at ``octaves`` octaves under the Nyquist frequency, ..., at one,
        and at the Nyquist frequency itself; evenly between them in octaves, and the first below.

    Returns:
      Array of the same shape.

    Raises:
      ValueError: integers, or an empty array.

    Example:
      >>> x = jnp.sin(0.25 * jnp.pi * jnp.arange(4000.0))  # two octaves under the Nyquist frequency
      >>> y = equalizer(x, jnp.array([0.0, -20.0, 0.0, 0.0]))
      >>> bool(jnp.allclose(y[500:-500], 0.1 * x[500:-500], atol=0.01))
      True
    """

    def gain(frequency):
        octave = jnp.log2(jnp.maximum(frequency, frequency[1])) + len(gains_db) - 1
        return 10 ** (jnp.interp(octave, jnp.arange(len(gains_db)), gains_db) / 20)

    return apply_gain(x, gain)
