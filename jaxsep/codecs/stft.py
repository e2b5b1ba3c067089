"""The STFT as a codec's transform, whole or its lower bins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxsep.parts import check_ranges, ranged, register
from jaxsep.spectral import get_window, istft, magnitude, num_frames, stft


@dataclass(frozen=True)
class Spectral:
    """What transforms by an STFT share."""

    n_fft: int = ranged(1024, least=16, most=1 << 16)
    """Length of the transform in samples."""
    hop_length: int = ranged(256, least=1)
    """Samples between frames."""
    window: str = "hann"
    """Name of the analysis window."""

    apart = True  # the spectrum of a source is of its own mask, and ``masked`` takes ``residual=None``

    def __post_init__(self):
        check_ranges(self)
        if self.hop_length > self.n_fft // 2:
            raise ValueError(f"hop_length={self.hop_length}: expected 1 to n_fft // 2={self.n_fft // 2}")
        get_window(self.window, self.n_fft)

    @property
    def domain(self) -> Literal["frames", "samples"]:
        """What networks it feeds: over frames, or over samples."""
        return "frames"

    @property
    def spectral(self) -> bool:
        """Whether it has magnitudes."""
        return True

    @property
    def rate(self) -> int | None:
        """Hz that it is made for; None for any."""
        return None

    def frames(self, samples: int) -> int:
        """Frames of a waveform of this many samples."""
        return num_frames(samples, self.n_fft, self.hop_length)

    def samples(self, frames: int) -> int:
        """Samples, the fewest, of a waveform of this many frames."""
        return max(1, self.hop_length * (frames - 1) + self.n_fft % 2)

    def analyze(self, x: jax.Array) -> jax.Array:
        """``(..., samples)`` -> ``(..., n_fft // 2 + 1, frames)`` complex64."""
        return stft(x, **self._options)

    def synthesize(self, spectra: jax.Array, length: int) -> jax.Array:
        """The inverse of :meth:`analyze`."""
        return istft(spectra, length=length, **self._options)

    @property
    def _options(self):
        return dict(n_fft=self.n_fft, hop_length=self.hop_length, window=self.window)


@register("transform", "stft")
@dataclass(frozen=True)
class STFT(Spectral):
    """Magnitudes of the STFT.

    Example:
      >>> STFT(n_fft=256, hop_length=64).analyze(jnp.ones((1, 1000))).shape
      (1, 129, 16)
    """

    bins: int | None = ranged(None, least=1)
    """Lowest bins that the network sees and estimates; None for all."""
    above: Literal["average", "zeros", "residual"] = "average"
    """Masks of the bins above those: the average over the others of their frame, zero, or all of the
    mixture for the residual stem."""

    def __post_init__(self):
        super().__post_init__()
        if self.bins is not None and self.bins > self.n_fft // 2 + 1:
            raise ValueError(f"bins={self.bins}: there are only {self.n_fft // 2 + 1} of n_fft={self.n_fft}")

    @property
    def complex(self) -> bool:
        """Whether its spectra have a phase in every bin."""
        return True

    @property
    def complete(self) -> bool:
        """Whether masks that sum to 1 sum to the mixture."""
        return self.bins is None or self.above != "zeros"

    @property
    def num_bins(self) -> int:
        """Frequency bins of features and of the network's outputs."""
        return self.bins or self.n_fft // 2 + 1

    def in_bins(self, spectra: jax.Array) -> jax.Array:
        """The bins that the network sees."""
        return spectra if self.bins is None else spectra[..., : self.bins, :]

    def magnitudes(self, spectra: jax.Array) -> jax.Array:
        """Complex spectra -> magnitudes in those bins."""
        return magnitude(self.in_bins(spectra))

    def masked(self, spectrum: jax.Array, masks: jax.Array, residual: int | None) -> jax.Array:
        """Spectra of the sources, of all bins.

        Args:
          spectrum: ``(batch, channels, bins, frames)`` of the mixture.
          masks: ``(batch, sources, channels, num_bins, frames)``.
          residual: the source that takes what the bins above leave over; None where it is not among these.
        """
        if self.bins is not None:
            masks = jnp.concatenate([masks, self._above(masks, residual)], axis=-2)
        return masks * spectrum[:, None]

    def with_phase(self, spectrum: jax.Array, magnitudes: jax.Array, masks: jax.Array, residual: int):
        """Spectra of these magnitudes with the mixture's phase, above the bins by :meth:`masked`."""
        low = self.in_bins(spectrum)[:, None]
        size = magnitude(low)
        low = magnitudes * jnp.where(size > 0, low / jnp.where(size > 0, size, 1.0), 1.0)
        if self.bins is None:
            return low
        high = self._above(masks, residual) * spectrum[:, None, :, self.bins :]
        return jnp.concatenate([low, high], axis=-2)

    def full(self, magnitudes: jax.Array) -> jax.Array:
        """Magnitudes of all bins, zero above those of the network."""
        more = self.n_fft // 2 + 1 - self.num_bins
        return jnp.pad(magnitudes, [(0, 0)] * (magnitudes.ndim - 2) + [(0, more), (0, 0)])

    def _above(self, masks, residual):
        count = self.n_fft // 2 + 1 - self.num_bins
        if self.above == "average":
            mean = jnp.mean(masks, axis=-2, keepdims=True)
            return jnp.repeat(mean, count, axis=-2)
        chosen = np.zeros((masks.shape[1], 1, 1, 1), bool)
        if self.above == "residual" and residual is not None:
            chosen[residual] = True
        zeros = jnp.zeros_like(masks[..., :1, :])  # spread over devices as the masks are
        return jnp.repeat(jnp.where(chosen, 1, zeros).astype(masks.dtype), count, axis=-2)
