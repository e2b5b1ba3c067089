"""What the filters of the augmentation share: a gain for each frequency."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxsep._checks import as_float, at_least_ndim
from jaxsep._sharding import on_each_device


def apply_gain(x, gain: Callable[[jax.Array], jax.Array], reach: float = 1024) -> jax.Array:
    """Multiply the spectrum of ``(..., samples)`` floats by a gain, without delay.

    Args:
      x: waveforms, zero beyond both ends.
      gain: from frequencies, shares of the Nyquist frequency from 0 to 1, to gains.
      reach: samples after which what the gain makes of an impulse is negligible.
    """
    x = as_float("x", x)
    at_least_ndim("x", x, 1, "(..., samples)")
    samples = x.shape[-1]
    # Zeros at the end, so that it does not run into the start.
    size = 1024 * (samples // 1024 + 1 + math.ceil(reach / 1024))
    gains = gain(jnp.linspace(0.0, 1.0, size // 2 + 1)).astype(x.dtype)

    def part(x, gains):
        return jnp.fft.irfft(jnp.fft.rfft(x, size) * gains, size)[..., :samples]

    return on_each_device(part, x, core=1, shared=(gains,))
