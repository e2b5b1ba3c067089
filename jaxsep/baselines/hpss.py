"""Harmonic-percussive separation by median filters."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsep._checks import as_float, at_least, at_least_ndim, standard_promotion
from jaxsep._sharding import keeps_sharding, on_each_device
from jaxsep.masks import wiener_mask
from jaxsep.spectral import istft, magnitude, stft


class HPSS(NamedTuple):
    """What sounds on and what strikes; they sum to the input."""

    harmonic: jax.Array
    """``(..., samples)`` float32."""
    percussive: jax.Array
    """``(..., samples)`` float32."""


@keeps_sharding
@standard_promotion
def hpss(x, *, n_fft: int = 2048, hop_length: int = 512, kernel_size: int = 31, power: float = 2.0) -> HPSS:
    """Split a waveform into its harmonic and its percussive part.

    The magnitudes' median over time keeps what lasts, that over frequency what is short and broad;
    a soft mask shares the spectrum between the two. As ``librosa.effects.hpss`` with a margin of 1.

    Args:
      x: ``(..., samples)`` floating-point waveform.
      n_fft, hop_length: samples of the STFT's frames and between them.
      kernel_size: frames, and bins, of the medians; odd.
      power: of the soft mask.

    Returns:
      An :class:`HPSS`.

    Raises:
      ValueError: integers, an empty array or an even ``kernel_size``.

    Example:
      >>> x = jax.random.normal(jax.random.key(0), (8000,))
      >>> parts = hpss(x, n_fft=512, hop_length=128)
      >>> bool(jnp.allclose(parts.harmonic + parts.percussive, x, atol=1e-4))
      True

    References:
      D. FitzGerald, "Harmonic/percussive separation using median filtering", DAFx 2010.
    """
    x = as_float("x", x)
    at_least_ndim("x", x, 1, "(..., samples)")
    if at_least("kernel_size", kernel_size, 1) % 2 == 0:
        raise ValueError(f"kernel_size={kernel_size}: expected an odd number")
    spectrum = stft(x, n_fft=n_fft, hop_length=hop_length)
    size = magnitude(spectrum)
    lasting = moving_median(size, kernel_size, axis=-1)
    striking = moving_median(size, kernel_size, axis=-2)
    mask = wiener_mask(jnp.stack([lasting, striking], axis=-3), power)
    parts = istft(mask * spectrum[..., None, :, :], n_fft=n_fft, hop_length=hop_length, length=x.shape[-1])
    return HPSS(parts[..., 0, :], parts[..., 1, :])


def moving_median(x: jax.Array, size: int, axis: int) -> jax.Array:
    """Median over windows of odd ``size`` along ``axis``; the ends are reflected, as in scipy.

    Example:
      >>> moving_median(jnp.array([1.0, 9.0, 2.0, 3.0]), 3, axis=0).tolist()
      [1.0, 2.0, 3.0, 3.0]
    """
    x = jnp.moveaxis(x, axis, -1)
    half, length = size // 2, x.shape[-1]
    around = np.abs(np.arange(-half, length + half) + 0.5) - 0.5
    # Reflection with the edge repeated has a period of twice the length.
    turned = np.mod(around, 2 * length)
    turned = np.where(turned < length, turned, 2 * length - 1 - turned).astype(np.int32)
    at = turned[np.arange(length)[:, None] + np.arange(size)]

    def row(values):
        return jnp.sort(values[at], axis=-1)[:, half]

    def part(x):
        rows = x.reshape(math.prod(x.shape[:-1]), length)
        return jax.lax.map(row, rows, batch_size=64).reshape(x.shape)

    return jnp.moveaxis(on_each_device(part, x, core=1), -1, axis)
