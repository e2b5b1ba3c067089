"""Loudness of a recording in LUFS, measured while it is read.

References:
  ITU-R BS.1770-4, "Algorithms to measure audio programme loudness and true-peak audio level", 2015.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np


def loudness(blocks: Iterable[np.ndarray], sample_rate: int) -> float:
    """Integrated loudness in LUFS; minus infinity of silence, and of less than 0.4 s.

    Args:
      blocks: ``(channels, samples)`` floats, one behind the other; every channel counts alike.
      sample_rate: Hz.

    Example:
      >>> tone = np.sin(2 * np.pi * 997 * np.arange(96000) / 48000)[None]
      >>> round(loudness([tone], 48000), 1)
      -3.0
    """
    from scipy.signal import sosfilt  # librosa brings SciPy

    sections, step = _weighting(sample_rate), sample_rate // 10
    state, rest, powers = None, np.zeros(0), []
    for block in blocks:
        if state is None:
            state = np.zeros((len(sections), len(block), 2))
        weighted, state = sosfilt(sections, np.asarray(block, np.float64), axis=-1, zi=state)
        rest = np.concatenate([rest, np.sum(np.square(weighted), axis=0)])
        count = len(rest) // step
        powers.append(rest[: count * step].reshape(count, step).mean(axis=1))
        rest = rest[count * step :]
    tenths = np.concatenate(powers) if powers else np.zeros(0)
    if len(tenths) < 4:
        return -math.inf
    power = np.convolve(tenths, np.full(4, 0.25), "valid")  # 0.4 s, three quarters of them shared
    loud = power[power > 10 ** ((-70 + 0.691) / 10)]
    if not len(loud):
        return -math.inf
    kept = loud[loud > loud.mean() / 10]  # within 10 LU of the mean of what is heard at all
    return float(-0.691 + 10 * np.log10(kept.mean()))


def _weighting(sample_rate):
    """K-weighting at any rate: a high shelf and a high-pass, as second-order sections."""

    def section(frequency, q, high, band, low):
        k = math.tan(math.pi * frequency / sample_rate)
        scale = 1 + k / q + k * k
        ends = [high + s * band * k / q + low * k * k for s in (1, -1)]
        return [
            ends[0] / scale, 2 * (low * k * k - high) / scale, ends[1] / scale,
            1.0, 2 * (k * k - 1) / scale, (1 - k / q + k * k) / scale,
        ]  # fmt: skip

    shelf = 10 ** (3.999843853973347 / 20)
    first = section(1681.974450955533, 0.7071752369554196, shelf, shelf**0.4996667741545416, 1.0)
    second = section(38.13547087602444, 0.5003270373238773, 1.0, 0.0, 0.0)
    second[:3] = [1.0, -2.0, 1.0]
    # Below this rate the shelf lies beyond what can be heard of the file.
    return np.array([first, second] if sample_rate > 4000 else [second])
