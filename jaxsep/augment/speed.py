"""Random speed: pitch and tempo together, by resampling."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxsep._checks import standard_promotion


@standard_promotion
def random_speed(key: jax.Array, sources: jax.Array, semitones: float, length: int) -> jax.Array:
    """Play each source faster or slower by a uniform number of semitones.

    Args:
      key: a JAX random key.
      sources: ``(sources, samples)`` waveforms, at least ``length * 2 ** (semitones / 12)``
        samples, so that the fastest does not run out (what is missing is zero).
      semitones: largest change, up or down.
      length: samples to return.

    Returns:
      ``(sources, length)``.

    Example:
      >>> random_speed(jax.random.key(0), jnp.ones((2, 200)), 2.0, 100).shape
      (2, 100)
    """
    steps = jax.random.uniform(key, sources.shape[:1], jnp.float32, minval=-semitones, maxval=semitones)
    return jax.vmap(lambda x, s: resample_at(x, 2.0 ** (s / 12.0), length))(sources, steps)


@standard_promotion
def resample_at(x: jax.Array, rate: jax.Array, length: int, taps: int = 8) -> jax.Array:
    """Values of a waveform at ``0, rate, 2 rate, ...`` samples, by a Hann-windowed sinc.

    Args:
      x: ``(samples,)`` waveform, zero beyond its ends.
      rate: samples of ``x`` per sample of the result; may be traced.
      length: samples to return.
      taps: samples of ``x`` that each result looks at.

    Returns:
      ``(length,)``. Nothing is low-passed: for rates above 1, content above half the new rate
      aliases.

    Example:
      >>> [round(float(v), 3) for v in resample_at(jnp.arange(20.0), 1.0, 4)]
      [0.0, 1.0, 2.0, 3.0]
    """
    half = taps // 2
    padded = jnp.pad(x, (half, half + 1))
    base, fraction = _positions(rate, length)
    inside = base < x.shape[0]
    index = jnp.clip(base, 0, x.shape[0] - 1)
    # Towards 1 as towards 0, or the sine loses the digits that the division by distance needs.
    sine = jnp.sin(np.pi * jnp.minimum(fraction, 1.0 - fraction)) / np.pi
    step = np.pi / (2 * half)
    cosine_of, sine_of = jnp.cos(step * fraction), jnp.sin(step * fraction)
    total = jnp.zeros(length, x.dtype)
    for k in range(1 - half, half + 1):
        distance = fraction - k
        near = jnp.abs(distance) < 1e-6
        sinc = jnp.where(near, 1.0, (-1) ** k * sine / jnp.where(near, 1.0, distance))
        window = jnp.square(cosine_of * math.cos(step * k) + sine_of * math.sin(step * k))
        total = total + sinc * window * padded[index + half + k]
    return jnp.where(inside, total, 0.0)


def _positions(rate, length, block=1024, bits=12):
    """Whole and fractional part of ``n * rate``, exact for long signals where float32 is not.

    The rate is rounded to ``2 ** -bits``; the start of each block of samples is kept in integers.
    """
    n, rate = jnp.arange(length, dtype=jnp.int32), jnp.asarray(rate, jnp.float32)
    step = jnp.round(block * rate * 2**bits).astype(jnp.int32)
    whole, part = (n // block) * (step >> bits), (n // block) * (step & (2**bits - 1))
    within = (n % block) * rate + (part & (2**bits - 1)) / 2**bits
    floor = jnp.floor(within)
    return whole + (part >> bits) + floor.astype(jnp.int32), within - floor
