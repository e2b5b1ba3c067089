"""The mel codec: features, masks or estimates in mel bands."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxsep.codec.spectrogram import SpectrogramCodec
from jaxsep.spectral import magnitude, mel_filters


@dataclass(frozen=True)
class MelCodec(SpectrogramCodec):
    """Features of mel magnitudes.

    With ``griffin_lim`` the stems are made of their mel magnitudes alone; with ``mixture_phase``
    mel masks are spread over the bins of the STFT and filter the mixture.

    Example:
      >>> codec = MelCodec()
      >>> codec.encode(jnp.zeros((1, 327500))).features.shape
      (1, 1, 512, 640)
    """

    n_fft: int = 2048
    hop_length: int = 512
    inversion: Literal["mixture_phase", "griffin_lim"] = "griffin_lim"
    name: Literal["mel"] = "mel"
    sample_rate: int = 22050
    """Hz; the system's."""
    n_mels: int = 512
    """Number of bands."""
    fmin: float = 0.0
    """Lowest edge, Hz."""
    fmax: float = 0.0
    """Highest edge, Hz; 0 for half the sample rate."""

    def __post_init__(self):
        super().__post_init__()
        if not 1 <= self.n_mels <= 1 << 14:
            raise ValueError(f"n_mels={self.n_mels}: expected 1 to 16384")
        if not 1000 <= self.sample_rate <= 768_000:
            raise ValueError(f"sample_rate={self.sample_rate}: expected 1000 to 768000 Hz")
        if not 0 <= self.fmin < (self.fmax or self.sample_rate / 2) <= self.sample_rate / 2:
            raise ValueError(
                f"fmin={self.fmin}, fmax={self.fmax}: expected 0 <= fmin < fmax <= {self.sample_rate / 2}"
            )

    @property
    def num_bins(self) -> int:
        """Mel bands of features and of the network's outputs."""
        return self.n_mels

    @property
    def rate(self) -> int | None:
        """Hz that the bands are made for."""
        return self.sample_rate

    def magnitudes(self, spectra: jax.Array) -> jax.Array:
        """Complex spectra -> mel magnitudes."""
        return jnp.einsum("mf,...ft->...mt", self._filters, magnitude(spectra))

    def _in_bins(self, spectra):
        return self.magnitudes(spectra)

    def _masked(self, spectrum, masks, magnitudes):
        return jnp.einsum("fm,...mt->...ft", _spread(self._filters_of), masks) * spectrum

    def _griffin_lim(self, magnitudes, length):
        return super()._griffin_lim(mel_to_magnitude(self, magnitudes), length)

    @property
    def _filters_of(self):
        return self.sample_rate, self.n_fft, self.n_mels, self.fmin, self.fmax or None

    @property
    def _filters(self):
        return mel_filters(*self._filters_of)


def mel_to_magnitude(codec: MelCodec, mel: jax.Array, iterations: int = 30) -> jax.Array:
    """Non-negative STFT magnitudes whose mel magnitudes are nearest to the given ones.

    Starts from the pseudo-inverse and goes on by multiplicative updates, which stay non-negative.

    Args:
      codec: what the bands are.
      mel: ``(..., bands, frames)`` non-negative.
      iterations: number of updates.

    Returns:
      ``(..., n_fft // 2 + 1, frames)``.

    Example:
      >>> codec = MelCodec(n_fft=512, hop_length=128, n_mels=40)
      >>> mel_to_magnitude(codec, jnp.ones((40, 3))).shape
      (257, 3)

    References:
      D. D. Lee and H. S. Seung, "Algorithms for non-negative matrix factorization", NIPS 2000.
    """
    filters = jnp.asarray(codec._filters)
    target = jnp.einsum("mf,...mt->...ft", filters, mel)
    tiny = jnp.finfo(mel.dtype).tiny
    start = jnp.einsum("fm,...mt->...ft", _pseudo_inverse(codec._filters_of), mel)
    start = jnp.maximum(start, 1e-3 * jnp.mean(jnp.abs(start), axis=-2, keepdims=True))

    def update(_, size):
        bands = jnp.einsum("mf,...ft->...mt", filters, size)
        return size * target / (jnp.einsum("mf,...mt->...ft", filters, bands) + tiny)

    return jax.lax.fori_loop(0, iterations, update, start)


@lru_cache(maxsize=8)
def _pseudo_inverse(filters_of) -> np.ndarray:
    return np.linalg.pinv(mel_filters(*filters_of).astype(np.float64)).astype(np.float32)


@lru_cache(maxsize=8)
def _spread(filters_of) -> np.ndarray:
    """``(bins, bands)`` weights that sum to 1 over bands: of a bin that no band reaches, its neighbour's."""
    weights = mel_filters(*filters_of).astype(np.float64).T
    reached = np.flatnonzero(weights.sum(axis=1) > 0)
    nearest = reached[np.abs(np.arange(len(weights))[:, None] - reached).argmin(axis=1)]
    weights = weights[nearest]
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
