"""Mel filters and mel spectrogram, with librosa's conventions and names."""

from __future__ import annotations

from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxsep._checks import as_float, at_least
from jaxsep._rows import map_rows
from jaxsep._sharding import keeps_sharding
from jaxsep.spectral.fourier import analysis_window, analyze, check_waveform, frame_bytes, magnitude


@lru_cache(maxsize=32)
def mel_filters(
    sample_rate: float = 22050,
    n_fft: int = 2048,
    n_mels: int = 128,
    fmin: float = 0.0,
    fmax: float | None = None,
    htk: bool = False,
    norm: str | None = "slaney",
) -> np.ndarray:
    """Triangular mel filters, equal to ``librosa.filters.mel``.

    Args:
      sample_rate: Hz.
      n_fft: length of the transform in samples.
      n_mels: number of bands.
      fmin, fmax: lowest and highest edge in Hz; ``fmax=None`` is the Nyquist frequency.
      htk: HTK's formula instead of Slaney's.
      norm: ``"slaney"`` for unit area, None for unit peak.

    Returns:
      ``(n_mels, n_fft // 2 + 1)`` float32 numpy array.

    Raises:
      ValueError: frequencies out of order, or an unknown norm.

    Example:
      >>> mel_filters(22050, 2048, n_mels=40).shape
      (40, 1025)

    References:
      M. Slaney, "Auditory Toolbox", Technical Report 1998-010, Interval Research, 1998.
    """
    fmax = sample_rate / 2 if fmax is None else fmax
    if not 0 <= fmin < fmax <= sample_rate / 2:
        raise ValueError(
            f"fmin={fmin}, fmax={fmax}: expected 0 <= fmin < fmax <= {sample_rate / 2}, half of "
            f"sample_rate={sample_rate}"
        )
    if norm not in ("slaney", None):
        raise ValueError(f"norm={norm!r}: expected 'slaney' or None")
    n_mels = at_least("n_mels", n_mels, 1)
    bins = np.arange(1 + n_fft // 2) * (sample_rate / n_fft)
    low, high = _hz_to_mel(np.array([fmin, fmax], np.float64), htk)
    edges = _mel_to_hz(np.linspace(low, high, n_mels + 2), htk)
    widths = np.diff(edges)[:, None]
    rising = (bins - edges[:-2, None]) / widths[:-1]
    falling = (edges[2:, None] - bins) / widths[1:]
    filters = np.maximum(0.0, np.minimum(rising, falling))
    if norm == "slaney":
        filters *= 2.0 / (edges[2:] - edges[:-2])[:, None]
    filters = filters.astype(np.float32)
    filters.setflags(write=False)  # the cache hands the same array to everyone
    return filters


@keeps_sharding
def melspectrogram(
    x,
    sample_rate: float = 22050,
    *,
    n_fft: int = 2048,
    hop_length: int = 512,
    n_mels: int = 128,
    fmin: float = 0.0,
    fmax: float | None = None,
    power: float = 2.0,
    win_length: int | None = None,
    window="hann",
    center: bool = True,
    pad_mode: str = "constant",
) -> jax.Array:
    """Mel spectrogram with Slaney's scale and norm, equal to ``librosa.feature.melspectrogram``.

    Args:
      x: ``(..., samples)`` floating-point waveform.
      sample_rate: Hz.
      n_mels, fmin, fmax: see :func:`mel_filters`.
      power: exponent of the magnitude: 1 for amplitude, 2 for power.
      n_fft, hop_length, win_length, window, center, pad_mode: see :func:`stft`.

    Returns:
      ``(..., n_mels, frames)`` float32, the unit of ``x`` to the ``power``.

    Raises:
      ValueError: see :func:`stft` and :func:`mel_filters`.

    Example:
      >>> x = np.sin(np.arange(22050) * 0.3).astype(np.float32)
      >>> melspectrogram(x, 22050, n_mels=64).shape
      (64, 44)
    """
    x = as_float("x", x)
    n_fft, hop_length, padded_window = analysis_window(n_fft, hop_length, win_length, window)
    check_waveform(x, n_fft, center, pad_mode)
    filters = (sample_rate, n_fft, n_mels, fmin, fmax)
    mel_filters(*filters)
    return _melspectrogram(
        x, jnp.asarray(padded_window, jnp.float32), filters, hop_length, power, center, pad_mode
    )


@partial(jax.jit, static_argnums=(2, 3, 4, 5, 6))
def _melspectrogram(x, window, filters, hop_length, power, center, pad_mode):
    blocks = _blocks(mel_filters(*filters))

    def rows(x, window):
        spectrum = analyze(x, window, hop_length, center, pad_mode)
        squared = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
        energy = squared if power == 2 else magnitude(spectrum) ** power
        bands = [jnp.matmul(energy[..., low:high], part.T) for part, low, high in blocks]
        return jnp.swapaxes(jnp.concatenate(bands, axis=-1), -1, -2)

    row_bytes = frame_bytes(x.shape[-1], window, hop_length)
    return map_rows(rows, x, core=1, row_bytes=row_bytes, shared=(window,))


def _blocks(filters, size=32):
    """Groups of neighboring bands, each with the range of bins that it reaches: most are zero."""
    blocks = []
    for start in range(0, len(filters), size):
        part = filters[start : start + size]
        reached = np.flatnonzero(part.any(axis=0))
        low, high = (reached[0], reached[-1] + 1) if reached.size else (0, 1)
        blocks.append((part[:, low:high], low, high))
    return blocks


def _hz_to_mel(hz, htk):
    if htk:
        return 2595.0 * np.log10(1.0 + hz / 700.0)
    linear = hz / (200.0 / 3)
    return np.where(hz < 1000.0, linear, 15.0 + 27.0 * np.log(np.maximum(hz, 1e-9) / 1000.0) / np.log(6.4))


def _mel_to_hz(mel, htk):
    if htk:
        return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    return np.where(mel < 15.0, mel * (200.0 / 3), 1000.0 * np.exp((mel - 15.0) * np.log(6.4) / 27.0))
