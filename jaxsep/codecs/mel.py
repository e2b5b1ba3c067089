"""Mel bands as a codec's transform."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np

from jaxsep.codecs.stft import Spectral
from jaxsep.parts import ranged, register
from jaxsep.spectral import magnitude, mel_filters


@register("transform", "mel")
@dataclass(frozen=True)
class Mel(Spectral):
    """Magnitudes in mel bands.

    With Griffin-Lim the stems are made of their mel magnitudes alone; with the mixture's phase mel masks are
    spread over the bins of the STFT and filter the mixture.

    Example:
      >>> transform = Mel()
      >>> transform.num_bins, transform.frames(327500)
      (512, 640)
    """

    n_fft: int = ranged(2048, least=16, most=1 << 16)
    hop_length: int = ranged(512, least=1)
    sample_rate: int = ranged(22050, least=1000, most=768_000)
    """Hz; the system's."""
    n_mels: int = ranged(512, least=1, most=1 << 14)
    """Number of bands."""
    fmin: float = 0.0
    """Lowest edge, Hz."""
    fmax: float = 0.0
    """Highest edge, Hz; 0 for the Nyquist frequency."""

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.fmin < (self.fmax or self.sample_rate / 2) <= self.sample_rate / 2:
            raise ValueError(
                f"fmin={self.fmin}, fmax={self.fmax}: expected 0 <= fmin < fmax <= {self.sample_rate / 2}"
            )

    @property
    def complex(self) -> bool:
        """Whether its spectra have a phase in every bin."""
        return False

    @property
    def complete(self) -> bool:
        """Whether masks that sum to 1 sum to the mixture."""
        return True

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
        return jnp.einsum("mf,...ft->...mt", self.filters, magnitude(spectra))

    def in_bins(self, spectra: jax.Array) -> jax.Array:
        """Mel magnitudes: bands have no phase."""
        return self.magnitudes(spectra)

    def masked(self, spectrum: jax.Array, masks: jax.Array, residual: int | None) -> jax.Array:
        """Spectra of the sources: ``(batch, sources, channels, bands, frames)`` masks of the mixture."""
        return jnp.einsum("fm,...mt->...ft", _spread(self._filters_of), masks) * spectrum[:, None]

    def with_phase(self, spectrum: jax.Array, magnitudes: jax.Array, masks: jax.Array, residual: int):
        """Spectra with the mixture's phase, by :meth:`masked`: bands have none of their own."""
        return self.masked(spectrum, masks, residual)

    def full(self, magnitudes: jax.Array) -> jax.Array:
        """Magnitudes of the bins of the STFT, by :func:`mel_to_magnitude`."""
        return mel_to_magnitude(self, magnitudes)

    @property
    def filters(self) -> np.ndarray:
        """``(bands, bins)`` weights."""
        return mel_filters(*self._filters_of)

    @property
    def _filters_of(self):
        return self.sample_rate, self.n_fft, self.n_mels, self.fmin, self.fmax or None


def mel_to_magnitude(transform: Mel, mel: jax.Array, iterations: int = 30) -> jax.Array:
    """Non-negative STFT magnitudes whose mel magnitudes are nearest to the given ones.

    Starts from the pseudo-inverse and goes on by multiplicative updates, which stay non-negative.

    Args:
      transform: what the bands are.
      mel: ``(..., bands, frames)`` non-negative.
      iterations: number of updates.

    Returns:
      ``(..., n_fft // 2 + 1, frames)``.

    Example:
      >>> transform = Mel(n_fft=512, hop_length=128, n_mels=40)
      >>> mel_to_magnitude(transform, jnp.ones((40, 3))).shape
      (257, 3)

    References:
      D. D. Lee and H. S. Seung, "Algorithms for non-negative matrix factorization", NIPS 2000.
    """
    filters = jnp.asarray(transform.filters)
    target = jnp.einsum("mf,...mt->...ft", filters, mel)
    tiny = jnp.finfo(mel.dtype).tiny
    start = jnp.einsum("fm,...mt->...ft", _pseudo_inverse(transform._filters_of), mel)
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
    """``(bins, bands)`` weights that sum to 1 over bands: of a bin that no band reaches, its neighbor's."""
    weights = mel_filters(*filters_of).astype(np.float64).T
    reached = np.flatnonzero(weights.sum(axis=1) > 0)
    nearest = reached[np.abs(np.arange(len(weights))[:, None] - reached).argmin(axis=1)]
    weights = weights[nearest]
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
