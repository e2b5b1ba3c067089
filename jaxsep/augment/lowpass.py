"""Random low-pass, so that a class cannot be recognized by its bandwidth."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp

from jaxsep._checks import standard_promotion
from jaxsep.augment._filtering import apply_gain

#: The gain falls from 1 to 0 over this share of the cut-off, above it.
_SLOPE = 0.1
#: Samples, times the cut-off as a share of the Nyquist frequency, that the filter rings on.
_REACH = 40.0
#: The lowest cut-off there is room for where it is not known.
_LOWEST = 0.04


@standard_promotion
def random_lowpass(key: jax.Array, sources: jax.Array, lowest: float, share: float = 0.5) -> jax.Array:
    """Take away what is above a cut-off, of each source its own, for a share of the sources.

    Recordings made at 8 kHz have nothing above 4 kHz, and a network learns their class by that
    unless other classes have it at times too.

    Args:
      key: a JAX random key.
      sources: ``(sources, samples)`` waveforms.
      lowest: lowest cut-off, as a share of the Nyquist frequency; cut-offs are even in octaves
        from there to 1.
      share: probability that a source is changed.

    Returns:
      Array of the same shape.

    Example:
      >>> random_lowpass(jax.random.key(0), jnp.ones((2, 3000)), 0.25).shape
      (2, 3000)
    """
    which, where = jax.random.split(key)
    cutoff = lowest ** jax.random.uniform(where, sources.shape[:1], jnp.float32)
    changed = jax.random.bernoulli(which, jnp.float32(share), sources.shape[:1])
    low = jax.vmap(partial(_lowpass, lowest=lowest))(sources, cutoff)
    return jnp.where(changed[:, None], low, sources)


@standard_promotion
def lowpass(x, cutoff) -> jax.Array:
    """Take away what is above a cut-off, without delay.

    Args:
      x: ``(..., samples)`` floats, zero beyond both ends.
      cutoff: as a share of the Nyquist frequency; may be traced, then of at least 0.04. The gain is 1 below
        and 0 from a tenth above it.

    Returns:
      Array of the same shape.

    Raises:
      ValueError: integers, an empty array, or a cut-off that is not positive.

    Example:
      >>> x = jnp.sin(jnp.arange(4000.0)) + jnp.sin(0.1 * jnp.arange(4000.0))
      >>> bool(jnp.allclose(lowpass(x, 0.2)[500:-500], jnp.sin(0.1 * jnp.arange(500.0, 3500.0)), atol=0.01))
      True
    """
    if isinstance(cutoff, jax.core.Tracer):
        return _lowpass(x, cutoff, lowest=_LOWEST)
    if not cutoff > 0:
        raise ValueError(f"cutoff={cutoff}: expected a share of the Nyquist frequency above 0")
    return _lowpass(x, cutoff, lowest=float(cutoff))


def _lowpass(x, cutoff, lowest):
    def gain(frequency):
        beyond = jnp.clip((frequency / cutoff - 1.0) / _SLOPE, 0.0, 1.0)
        return 0.5 + 0.5 * jnp.cos(jnp.pi * beyond)

    return apply_gain(x, gain, _REACH / lowest)
