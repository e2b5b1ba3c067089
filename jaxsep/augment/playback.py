"""Playback of a recording: faster or slower, band-limited, equalized; the same for numpy and JAX arrays."""

from __future__ import annotations

from typing import Any

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
        have small factors.
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
    xp = namespace(x)
    blocks = 64 * -(-length // 4096)
    before, after = round(64 * speed) * blocks, 64 * blocks
    spectrum = xp.fft.rfft(x, before)[..., : after // 2 + 1]
    count = spectrum.shape[-1]
    if cutoff:
        ratio = np.arange(count, dtype=np.float32) * np.float32(sample_rate / after / cutoff)
        spectrum = spectrum / np.sqrt(1 + ratio**32)
    if gains_db is not None:
        points, octaves = np.geomspace(0.5 ** (len(gains_db) - 1), 1, 64), np.arange(len(gains_db))
        curve = 10 ** (xp.interp(np.log2(points) + octaves[-1], octaves, gains_db) / 20)
        bins = np.arange(count) * (2 / after)
        spectrum = spectrum * xp.interp(bins, points, curve).astype(np.float32)
    scale = np.float32(after / before)
    return xp.fft.irfft(spectrum * scale, after)[..., :length].astype(np.float32)


def namespace(x: Any) -> Any:
    """The module that computes with an array: numpy for its own, ``jax.numpy`` for all others."""
    return np if isinstance(x, np.ndarray) else jnp
