"""How near the spectrogram of an estimate is, blind to phase: for sound whose phase is made up."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxsep._checks import as_float, at_least_ndim
from jaxsep.spectral import magnitude, melspectrogram, stft


def log_spectral_distance(
    reference, estimate, *, n_fft: int = 2048, hop_length: int = 512, floor_db: float = -80.0
) -> jax.Array:
    """Log-spectral distance: root mean square over bins of the difference in dB, its mean over frames.

    The level counts. Bins below ``floor_db`` of the loudest bin of the reference count as that, on both
    sides, or silence would decide.

    Args:
      reference: ``(..., samples)`` floating-point waveform.
      estimate: of the same shape.
      n_fft, hop_length: of the STFT, samples.
      floor_db: dB relative to the loudest bin of the reference, -300 at the lowest, below 0.

    Returns:
      ``(...,)`` float32, dB: 0 for equal spectrograms. NaN for a silent reference.

    Raises:
      ValueError: integers, empty arrays, different shapes, or a floor out of range.

    Example:
      >>> s = jnp.sin(0.3 * jnp.arange(8000))
      >>> round(float(log_spectral_distance(s, 0.5 * s, floor_db=-200)), 2)
      6.02

    References:
      A. Gray and J. Markel, "Distance measures for speech processing", IEEE Trans. ASSP 24(5), 1976.
    """
    reference, estimate = _pair(reference, estimate, floor_db)
    powers = [magnitude(stft(x, n_fft=n_fft, hop_length=hop_length)) ** 2 for x in (reference, estimate)]
    a, b = _decibels(powers, floor_db)
    square = jnp.mean(jnp.square(a - b), axis=-2)
    equal = square == 0  # where the root has no gradient
    return jnp.mean(jnp.where(equal, 0.0, jnp.sqrt(jnp.where(equal, 1.0, square))), axis=-1)


def mel_correlation(
    reference,
    estimate,
    *,
    sample_rate: float = 22050,
    n_fft: int = 2048,
    hop_length: int = 512,
    n_mels: int = 128,
    floor_db: float = -80.0,
) -> jax.Array:
    """Correlation of the mel spectrograms in dB, over all bands and frames.

    Args:
      reference: ``(..., samples)`` floating-point waveform.
      estimate: of the same shape. Its level matters only through the floor.
      sample_rate: Hz.
      n_fft, hop_length, n_mels: see :func:`jaxsep.spectral.melspectrogram`.
      floor_db: dB relative to the loudest band of the reference that all below it counts as; see
        :func:`log_spectral_distance`.

    Returns:
      ``(...,)`` float32 in [-1, 1]. NaN for a silent reference, or where one of both is the same everywhere.

    Raises:
      ValueError: integers, empty arrays, different shapes, or a floor out of range.

    Example:
      >>> s = jnp.sin(0.3 * jnp.arange(8000)) * jnp.linspace(0, 1, 8000)
      >>> bool(mel_correlation(s, 0.9 * s) > 0.99), bool(mel_correlation(s, s[::-1]) < 0.9)
      (True, True)
    """
    reference, estimate = _pair(reference, estimate, floor_db)
    powers = [
        melspectrogram(x, sample_rate, n_fft=n_fft, hop_length=hop_length, n_mels=n_mels)
        for x in (reference, estimate)
    ]
    a, b = (x.reshape(*x.shape[:-2], -1) for x in _decibels(powers, floor_db))
    same = (jnp.max(a, axis=-1) == jnp.min(a, axis=-1)) | (jnp.max(b, axis=-1) == jnp.min(b, axis=-1))
    a, b = a - jnp.mean(a, axis=-1, keepdims=True), b - jnp.mean(b, axis=-1, keepdims=True)
    energies = jnp.where(same, 1.0, jnp.sum(a * a, axis=-1) * jnp.sum(b * b, axis=-1))
    return jnp.where(same, jnp.nan, jnp.sum(a * b, axis=-1) / jnp.sqrt(energies))


def _pair(reference, estimate, floor_db):
    reference, estimate = as_float("reference", reference), as_float("estimate", estimate)
    at_least_ndim("reference", reference, 1, "(..., samples)")
    if reference.shape != estimate.shape:
        raise ValueError(f"estimate.shape={estimate.shape}: expected {reference.shape}, the reference's")
    if not -300 <= floor_db < 0:
        raise ValueError(f"floor_db={floor_db}: expected a number from -300 on, below 0")
    return reference, estimate


def _decibels(powers, floor_db):
    """Both powers as dB of the loudest of the first, not below the floor; NaN where that is silent."""
    loudest = jnp.max(powers[0], axis=(-2, -1), keepdims=True)
    scale = jnp.where(loudest > 0, 1.0 / jnp.where(loudest > 0, loudest, 1.0), jnp.nan)
    lowest = 10 ** (floor_db / 10)
    return [10.0 * jnp.log10(jnp.maximum(scale * x, lowest)) for x in powers]
