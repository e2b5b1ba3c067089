"""Playback of a recording: faster or slower, band-limited, equalized; the same for numpy and JAX arrays."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsep._checks import standard_promotion


@standard_promotion
def play_back(
    x: Any, length: int, *, speed: float = 1.0, cutoff: float = 0.0, sample_rate: int, gains_db: Any = None
) -> Any:
    """Play faster or slower, take away what lies above a frequency, equalize: one FFT there and back.

    Args:
      x: ``(..., samples)`` floats, at least ``length * speed`` samples; numpy arrays are computed by
        numpy, on the host, others by JAX.
      length: samples to return.
      speed: what pitch and tempo are multiplied by; a multiple of 1/64, so that both transforms
        have small factors. It may be traced: the samples heard are then those from which
        ``length * speed`` on ``x`` is zero.
      cutoff: Hz of the result, above which it falls by 96 dB an octave; 0 for none.
      sample_rate: Hz.
      gains_db: gains at the Nyquist frequency and at the octaves under it, lowest first, between
        which they are interpolated; none when None.

    Returns:
      ``(..., length)`` float32.

    Example:
      >>> tone = np.sin(np.arange(8000, dtype=np.float32))  # 1273 Hz at 8000 Hz
      >>> bool(np.abs(play_back(tone, 4000, cutoff=500, sample_rate=8000)[500:-500]).max() < 1e-3)
      True
      >>> fast = play_back(tone, 4000, speed=1.5, sample_rate=8000)[500:3500]
      >>> bool(np.abs(fast - np.sin(1.5 * np.arange(500, 3500))).max() < 0.02)
      True
    """
    if isinstance(speed, jax.Array) or isinstance(cutoff, jax.Array):
        return _play_back_traced(x, length, speed, cutoff, sample_rate, gains_db)
    xp = namespace(x)
    blocks = 64 * -(-length // 4096)
    before, after = round(64 * speed) * blocks, 64 * blocks
    spectrum = xp.fft.rfft(x, before)[..., : after // 2 + 1]
    count = spectrum.shape[-1]
    if before < after:  # the one bin at the Nyquist frequency is two of the longer transform, half of it each
        spectrum = spectrum * np.where(np.arange(count) == before // 2, np.float32(0.5), np.float32(1.0))
    if cutoff:
        ratio = np.arange(count, dtype=np.float32) * np.float32(sample_rate / after / cutoff)
        spectrum = spectrum / np.sqrt(1 + ratio**32)
    if gains_db is not None:
        spectrum = spectrum * _equalizer(xp, gains_db, count, after)
    scale = np.float32(after / before)
    return xp.fft.irfft(spectrum * scale, after)[..., :length].astype(np.float32)


def _equalizer(xp, gains_db, count, after):
    """Gains of the first ``count`` bins of a transform of ``after`` samples."""
    gains_db = xp.asarray(gains_db)
    points, octaves = np.geomspace(0.5 ** (len(gains_db) - 1), 1, 64), np.arange(len(gains_db))
    curve = 10 ** (xp.interp(np.log2(points) + octaves[-1], octaves, gains_db) / 20)
    bins = np.arange(count) * (2 / after)
    return xp.interp(bins, points, curve).astype(np.float32)


def _play_back_traced(x, length, speed, cutoff, sample_rate, gains_db):
    """:func:`play_back` whose transform's length, and whose cutoff, are known at run time alone."""
    blocks = 64 * -(-length // 4096)
    after = 64 * blocks
    before = jnp.round(64 * jnp.asarray(speed, jnp.float32)).astype(jnp.int32) * blocks
    heard = jnp.arange(x.shape[-1]) < before
    spectrum = chirp_dft(jnp.where(heard, x, 0), before, after // 2 + 1)
    place = jnp.arange(after // 2 + 1)
    cutoff = jnp.asarray(cutoff, jnp.float32)
    ratio = place * (sample_rate / after) / jnp.where(cutoff > 0, cutoff, jnp.inf)
    gains = jax.lax.rsqrt(1 + ratio.astype(jnp.float32) ** 32)
    if gains_db is not None:
        gains = gains * _equalizer(jnp, gains_db, after // 2 + 1, after)
    gains = jnp.where(2 * place <= before, gains, 0) * (after / before.astype(jnp.float32))
    gains = jnp.where((2 * place == before) & (before < after), 0.5 * gains, gains)
    return jnp.fft.irfft(spectrum * gains, after)[..., :length].astype(jnp.float32)


def chirp_dft(x: jax.Array, size: Any, bins: int) -> jax.Array:
    """The first bins of a discrete Fourier transform whose length is known at run time alone.

    Args:
      x: ``(..., samples)`` float32, zero from ``size`` on.
      size: int32, may be traced; at most 2^19.
      bins: how many to return.

    Raises:
      ValueError: more than 2^19 samples or bins.

    Returns:
      ``(..., bins)`` complex64, as ``numpy.fft.fft(x, size)``, those beyond ``size`` repeated.

    References:
      L. Bluestein, "A linear filtering approach to the computation of discrete Fourier transform", IEEE
      Trans. Audio Electroacoust. 18(4), 1970.

    Example:
      >>> x = np.random.default_rng(0).standard_normal(100).astype(np.float32)
      >>> bool(np.allclose(chirp_dft(jnp.asarray(x), 100, 51), np.fft.rfft(x), atol=1e-3))
      True
    """
    samples = x.shape[-1]
    if max(samples, bins) > 1 << 19:
        raise ValueError(f"x.shape={x.shape}, bins={bins}: expected at most 2^19=524288 samples and bins")
    width = 1 << (samples + bins - 2).bit_length()

    def turned(n):
        """exp(-i pi n^2 / size); the square is taken modulo 2 * size in parts that 32 bits hold."""
        low, period = n & 511, 2 * jnp.asarray(size, jnp.int32)
        square = (((n * (n >> 9)) % period) * 512 % period + n * low % period) % period
        return jnp.exp(-1j * jnp.pi * (square / jnp.asarray(size, jnp.float32)).astype(jnp.float32))

    first = turned(jnp.arange(samples, dtype=jnp.int32))
    last = turned(jnp.arange(bins, dtype=jnp.int32))
    around = jnp.zeros(width, jnp.complex64).at[:bins].set(jnp.conj(last))
    around = around.at[width - samples + 1 :].set(jnp.conj(first[1:])[::-1])
    product = jnp.fft.fft(x * first, width) * jnp.fft.fft(around)
    return jnp.fft.ifft(product)[..., :bins] * last


def namespace(x: Any) -> Any:
    """The module that computes with an array: numpy for its own, ``jax.numpy`` for all others."""
    return np if isinstance(x, np.ndarray) else jnp
