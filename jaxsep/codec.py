"""Codecs: how a waveform becomes features for a network, and its outputs become waveforms again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxsep.masks import ratio_mask
from jaxsep.spectral import get_window, istft, magnitude, stft


@dataclass(frozen=True)
class STFTCodec:
    """Magnitude features of the STFT; masks on the mixture's spectrum, with its phase.

    The masks are shares of the network's non-negative outputs, so the stems sum to the mixture.
    """

    n_fft: int = 1024
    """Length of the transform in samples."""
    hop_length: int = 256
    """Samples between frames."""
    window: str = "hann"
    """Name of the analysis window."""
    scale: Literal["magnitude", "log"] = "magnitude"
    """What the network sees: the magnitude, or ``log(magnitude + 0.01)``."""
    level: Literal["none", "peak", "rms"] = "peak"
    """What each window of the mixture is divided by before it is encoded (1 for silence)."""

    def __post_init__(self):
        if not 16 <= self.n_fft <= 1 << 16:
            raise ValueError(f"n_fft={self.n_fft}: expected 16 to 65536")
        if not 1 <= self.hop_length <= self.n_fft // 2:
            raise ValueError(f"hop_length={self.hop_length}: expected 1 to n_fft // 2={self.n_fft // 2}")
        get_window(self.window, self.n_fft)

    @property
    def num_bins(self) -> int:
        """Frequency bins of features and of the network's outputs."""
        return self.n_fft // 2 + 1

    @property
    def sums_to_mixture(self) -> bool:
        """Whether the decoded stems sum to the mixture."""
        return True


class Encoded(NamedTuple):
    """A mixture on its way through a codec."""

    features: jax.Array
    """``(batch, channels, bins, frames)`` float32: what the network sees."""
    spectrum: jax.Array
    """``(batch, bins, frames)`` complex64, of the mixture divided by ``level``."""
    level: jax.Array
    """``(batch,)`` float32: what the mixture was divided by."""


class Estimates(NamedTuple):
    """What a system says of a mixture; every field is relative to ``Encoded.level``."""

    outputs: jax.Array
    """``(batch, sources, bins, frames)``: the network's outputs."""
    masks: jax.Array
    """``(batch, sources, bins, frames)`` in [0, 1]."""
    magnitudes: jax.Array
    """``(batch, sources, bins, frames)``: masks times the mixture's magnitude."""
    waveforms: jax.Array
    """``(batch, sources, samples)``."""


def encode(codec: STFTCodec, mixture: jax.Array) -> Encoded:
    """``(batch, samples)`` float32 mixture -> features, spectrum and level."""
    level = mixture_level(codec, mixture)
    spectrum = _transform(codec, mixture / level[:, None])
    size = magnitude(spectrum)
    features = jnp.log(size + 0.01) if codec.scale == "log" else size
    return Encoded(features[:, None], spectrum, level)


def decode(codec: STFTCodec, encoded: Encoded, outputs: jax.Array, length: int) -> Estimates:
    """The network's outputs ``(batch, sources, bins, frames)`` -> estimates of the sources."""
    masks = ratio_mask(outputs)
    spectra = masks * encoded.spectrum[:, None]
    magnitudes = masks * magnitude(encoded.spectrum)[:, None]
    waveforms = istft(
        spectra,
        n_fft=codec.n_fft,
        hop_length=codec.hop_length,
        window=codec.window,
        length=length,
    )
    return Estimates(outputs, masks, magnitudes, waveforms)


def source_magnitudes(codec: STFTCodec, sources: jax.Array) -> jax.Array:
    """``(batch, sources, samples)`` -> ``(batch, sources, bins, frames)`` magnitudes."""
    return magnitude(_transform(codec, sources))


def mixture_level(codec: STFTCodec, mixture: jax.Array) -> jax.Array:
    """``(batch, samples)`` -> ``(batch,)``: what the codec divides each mixture by."""
    if codec.level == "none":
        return jnp.ones(mixture.shape[:-1], mixture.dtype)
    if codec.level == "peak":
        level = jnp.max(jnp.abs(mixture), axis=-1)
    else:
        level = jnp.sqrt(jnp.mean(jnp.square(mixture), axis=-1))
    return jnp.where(level > jnp.finfo(level.dtype).tiny, level, 1.0)


def _transform(codec, x):
    return stft(x, n_fft=codec.n_fft, hop_length=codec.hop_length, window=codec.window)
