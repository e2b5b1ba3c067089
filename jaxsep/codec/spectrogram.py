"""The spectrogram codecs' common part, and the STFT codec."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp

from jaxsep.codec.domains import Domain, Encoded, Estimates, Level, mixture_level
from jaxsep.masks import ratio_mask
from jaxsep.spectral import db_to_amplitude, get_window, griffin_lim, istft, magnitude, num_frames, stft

_DB_FLOOR = 1e-5


@dataclass(frozen=True)
class SpectrogramCodec:
    """What spectrogram codecs share: features of magnitudes, and stems from masks or estimates."""

    n_fft: int = 1024
    """Length of the transform in samples."""
    hop_length: int = 256
    """Samples between frames."""
    window: str = "hann"
    """Name of the analysis window."""
    scale: Literal["magnitude", "log", "db"] = "magnitude"
    """What the network sees: the magnitude, ``log(magnitude + 0.01)``, or dB (not below -100)."""
    level: Level = "peak"
    """What each window of the mixture is divided by before it is encoded (1 for silence)."""
    normalise: Literal["none", "min_max", "cmvn"] = "none"
    """Of the scaled features of a window: none, to [0, 1], or each bin to mean 0 and variance 1
    over its frames. Sources are normalised with their mixture's parameters."""
    estimate: Literal["ratio", "mask", "features"] = "ratio"
    """What the outputs are: shares of the mixture (stems then sum to it), masks, or the features
    of the sources themselves."""
    inversion: Literal["mixture_phase", "griffin_lim"] = "mixture_phase"
    """Phase of the stems: the mixture's, or one that Griffin-Lim finds."""
    iterations: int = 32
    """Of Griffin-Lim."""

    def __post_init__(self):
        if not 16 <= self.n_fft <= 1 << 16:
            raise ValueError(f"n_fft={self.n_fft}: expected 16 to 65536")
        if not 1 <= self.hop_length <= self.n_fft // 2:
            raise ValueError(f"hop_length={self.hop_length}: expected 1 to n_fft // 2={self.n_fft // 2}")
        if not 0 <= self.iterations <= 10_000:
            raise ValueError(f"iterations={self.iterations}: expected 0 to 10000")
        get_window(self.window, self.n_fft)

    @property
    def domain(self) -> Literal["frames", "samples"]:
        """What networks it feeds: over frames, or over samples."""
        return "frames"

    @property
    def num_bins(self) -> int:
        """Frequency bins of features and of the network's outputs."""
        return self.n_fft // 2 + 1

    @property
    def rate(self) -> int | None:
        """Hz that the codec is made for; None for any."""
        return None

    @property
    def sums_to_mixture(self) -> bool:
        """Whether the decoded stems sum to the mixture, whatever the outputs."""
        return self.estimate == "ratio" and self.inversion == "mixture_phase"

    @property
    def domains(self) -> set[Domain]:
        """What losses can read of its estimates."""
        known: set[Domain] = {"magnitudes", "features"}
        known |= {"masks"} if self.estimate != "features" else set()
        return known | ({"waveforms"} if self.inversion == "mixture_phase" else set())

    @property
    def output_ranges(self) -> set[str]:
        """Where the network's outputs may lie."""
        if self.estimate == "mask":
            return {"unit"}
        if self.estimate == "ratio":
            return {"unit", "not negative"}
        signed = self.scale != "magnitude" or self.normalise == "cmvn"
        return {"any"} if signed else {"unit", "not negative", "any"}

    def frames(self, samples: int) -> int:
        """Frames of a waveform of this many samples."""
        return num_frames(samples, self.n_fft, self.hop_length)

    def samples(self, frames: int) -> int:
        """Samples, the fewest, of a waveform of this many frames."""
        return max(1, self.hop_length * (frames - 1) + self.n_fft % 2)

    def encode(self, mixture: jax.Array) -> Encoded:
        """``(batch, samples)`` float32 mixture -> features, and what decoding needs."""
        level = mixture_level(self.level, mixture)
        spectrum = self.transform(mixture / level[:, None])
        size = self.magnitudes(spectrum)[:, None]
        scaled = self._scaled(size)
        shift, gain = _statistics(self.normalise, scaled)
        encoded = Encoded(scaled, level, spectrum, size, shift, gain)
        return encoded._replace(features=self._channels(encoded, _normalised(encoded, scaled)))

    def decode(self, encoded: Encoded, outputs: jax.Array, length: int) -> Estimates:
        """The network's outputs ``(batch, sources, bins, frames)`` -> estimates of the sources.

        Args:
          encoded: what :meth:`encode` returned.
          outputs: in :attr:`output_ranges`.
          length: samples of the waveforms.
        """
        size = encoded.magnitude
        if self.estimate == "features":
            magnitudes = self._unscaled(_denormalised(encoded, outputs))
            masks = jnp.where(size > 0, magnitudes / jnp.where(size > 0, size, 1.0), 0.0)
            features, masks = outputs, jnp.minimum(masks, 1.0)
        else:
            masks = ratio_mask(outputs) if self.estimate == "ratio" else outputs
            magnitudes = masks * size
            features = _normalised(encoded, self._scaled(magnitudes))
        if self.inversion == "griffin_lim":
            waveforms = self._griffin_lim(magnitudes, length)
        else:
            spectra = self._masked(encoded.spectrum[:, None], masks, magnitudes)
            waveforms = istft(
                spectra, n_fft=self.n_fft, hop_length=self.hop_length, window=self.window, length=length
            )
        return Estimates(outputs, masks, magnitudes, waveforms, features)

    def reference(self, encoded: Encoded, sources: jax.Array) -> Estimates:
        """``(batch, sources, samples)`` waveforms relative to the level -> what is true of them."""
        spectra = self.transform(sources)
        magnitudes = self.magnitudes(spectra)
        features = _normalised(encoded, self._scaled(magnitudes))
        return Estimates(None, None, magnitudes, sources, features, self._in_bins(spectra))

    def perfect_outputs(self, encoded: Encoded) -> jax.Array:
        """Outputs ``(batch, 1, bins, frames)`` for the mixture as its own only source."""
        return encoded.features[:, :1] if self.estimate == "features" else jnp.ones_like(encoded.magnitude)

    def transform(self, x: jax.Array) -> jax.Array:
        """``(..., samples)`` -> ``(..., n_fft // 2 + 1, frames)`` complex64."""
        return stft(x, n_fft=self.n_fft, hop_length=self.hop_length, window=self.window)

    def magnitudes(self, spectra: jax.Array) -> jax.Array:
        """Complex spectra -> magnitudes in the codec's bins."""
        return magnitude(spectra)

    def _in_bins(self, spectra):
        return spectra

    def _channels(self, encoded, features):
        return features

    def _masked(self, spectrum, masks, magnitudes):
        """Spectra of the sources with the phase of the mixture's."""
        if self.estimate != "features":
            return masks * spectrum
        size = magnitude(spectrum)
        return magnitudes * jnp.where(size > 0, spectrum / jnp.where(size > 0, size, 1.0), 1.0)

    def _griffin_lim(self, magnitudes, length):
        options = dict(n_fft=self.n_fft, hop_length=self.hop_length, window=self.window, length=length)
        return griffin_lim(magnitudes, n_iter=self.iterations, **options)

    def _scaled(self, size):
        if self.scale == "magnitude":
            return size
        if self.scale == "log":
            return jnp.log(size + 0.01)
        return 20.0 * jnp.log10(jnp.maximum(size, _DB_FLOOR))

    def _unscaled(self, features):
        if self.scale == "log":
            features = jnp.exp(features) - 0.01
        if self.scale == "db":
            features = jnp.where(features > 20 * jnp.log10(_DB_FLOOR), db_to_amplitude(features), 0.0)
        return jnp.maximum(features, 0.0)


@dataclass(frozen=True)
class STFTCodec(SpectrogramCodec):
    """Features of the STFT; with the default options, masks on its spectrum with its phase.

    Example:
      >>> codec = STFTCodec(n_fft=256, hop_length=64)
      >>> mixture = jax.random.normal(jax.random.key(0), (1, 1000))
      >>> encoded = codec.encode(mixture)
      >>> encoded.features.shape
      (1, 1, 129, 16)
      >>> outputs = jnp.concatenate([encoded.features, 3 * encoded.features], axis=1)
      >>> stems = codec.decode(encoded, outputs, 1000).waveforms * encoded.level
      >>> bool(jnp.allclose(stems[:, 0], 0.25 * mixture, atol=1e-5))
      True
    """

    name: Literal["stft"] = "stft"
    phase: bool = False
    """A second channel with the phase of the mixture, divided by pi."""

    def _channels(self, encoded, features):
        if not self.phase:
            return features
        loud = encoded.magnitude > 1e-10
        spectrum = jnp.where(loud, encoded.spectrum[:, None], 1.0)  # no gradient at silence
        angle = jnp.arctan2(spectrum.imag, spectrum.real) / jnp.pi
        return jnp.concatenate([features, angle], axis=1)


def _statistics(normalise, scaled):
    """Shift and gain of a normaliser for ``(batch, 1, bins, frames)``; 1 for what does not vary."""
    if normalise == "none":
        return None, None
    if normalise == "min_max":
        shift = jnp.min(scaled, axis=(2, 3), keepdims=True)
        gain = jnp.max(scaled, axis=(2, 3), keepdims=True) - shift
    else:
        shift = jnp.mean(scaled, axis=3, keepdims=True)
        variance = jnp.mean(jnp.square(scaled - shift), axis=3, keepdims=True)
        gain = jnp.where(variance > 0, jnp.sqrt(jnp.where(variance > 0, variance, 1.0)), 0.0)
    return shift, jnp.where(gain > 1e-6, gain, 1.0)


def _normalised(encoded, scaled):
    return scaled if encoded.shift is None else (scaled - encoded.shift) / encoded.gain


def _denormalised(encoded, features):
    return features if encoded.shift is None else features * encoded.gain + encoded.shift
