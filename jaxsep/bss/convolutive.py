"""Convolutive separation on waveforms: STFT, an unmixing matrix a bin, projection back, inverse."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxsep._checks import as_float, at_least, at_least_ndim, samples_last
from jaxsep._rows import each_problem
from jaxsep.spectral import istft, stft


def separate_spectra(x, n_fft: int, hop_length: int, unmix: Callable) -> jax.Array:
    """Apply ``unmix`` to the spectra of ``(..., channels, samples)`` waveforms.

    Args:
      x: ``(..., channels, samples)`` floats, at least two channels.
      n_fft, hop_length: of the STFT.
      unmix: ``(..., channels, bins, frames)`` complex -> sources of the same shape.

    Returns:
      ``(..., sources, samples)`` float32, as many sources as channels.

    Raises:
      ValueError: one channel, integers or an empty array; and as ``unmix``.
    """
    x = as_float("x", x)
    at_least_ndim("x", x, 2, "(..., channels, samples)")
    samples_last("x", x.shape)
    channels, samples = x.shape[-2:]
    if channels < 2:
        raise ValueError(f"x.shape={x.shape}: expected at least two channels")
    spectra = stft(x, n_fft=at_least("n_fft", n_fft, 16), hop_length=hop_length)
    return istft(unmix(spectra), n_fft=n_fft, hop_length=hop_length, length=samples)


def each_mixture(solve: Callable[..., jax.Array], spectra: jax.Array, shared: tuple = ()) -> jax.Array:
    """Apply ``solve`` to each leading index of ``(..., channels, bins, frames)``, leveled.

    Each mixture is divided by its largest magnitude, so that powers stay within float32, and its
    sources are multiplied again. What all see alike is ``shared``.
    """

    def leveled(x, *shared):
        peak = jnp.max(jnp.abs(x.real) + jnp.abs(x.imag))
        peak = jnp.where(peak > 0, peak, 1.0)
        return solve(x / peak, *shared) * peak

    return each_problem(leveled, spectra, core=3, shared=shared)
