"""The codec: transform, scale, normalizer, head and inversion, put together.

How a waveform becomes features for a network, and the network's outputs become waveforms again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import jax
import jax.numpy as jnp

from jaxsep._checks import place_within
from jaxsep.codecs.estimates import Encoded, Estimates, Level, mixture_level
from jaxsep.codecs.head import RatioMask
from jaxsep.codecs.inversion import MixturePhase
from jaxsep.codecs.normalizer import NoNormalizer
from jaxsep.codecs.scale import Magnitude
from jaxsep.codecs.stft import STFT
from jaxsep.parts import Head, Inversion, Normalizer, Scale, Transform, register


@register("codec", "codec")
@dataclass(frozen=True)
class Codec:
    """Encodes mixtures, decodes a network's outputs, and says what the true sources are in each domain.

    Waveforms are ``(batch, channels, samples)`` float32, the network's outputs ``(batch, sources, channels,
    bins, frames)``, or ``(batch, sources, channels, samples)`` of a transform over samples.

    Example:
      >>> codec = Codec(STFT(n_fft=256, hop_length=64))
      >>> mixture = jax.random.normal(jax.random.key(0), (1, 1, 1000))
      >>> encoded = codec.encode(mixture)
      >>> encoded.features.shape
      (1, 1, 129, 16)
      >>> outputs = jnp.stack([encoded.features, 3 * encoded.features], axis=1)
      >>> stems = codec.decode(encoded, outputs, 1000).waveforms * encoded.level
      >>> bool(jnp.allclose(stems[:, 0], 0.25 * mixture, atol=1e-5))
      True
    """

    transform: Transform = field(default_factory=STFT)
    """What waveforms become: ``stft``, ``mel``, ``frames``, ``waveform``."""
    scale: Scale = field(default_factory=Magnitude)
    """What the network sees of magnitudes: ``magnitude``, ``log``, ``db``."""
    normalizer: Normalizer = field(default_factory=NoNormalizer)
    """Of the scaled features of a window: ``none``, ``min_max``, ``cmvn``."""
    head: Head = field(default_factory=RatioMask)
    """What the outputs are: ``ratio``, ``mask``, ``direct``."""
    inversion: Inversion = field(default_factory=MixturePhase)
    """How magnitudes become waveforms: ``mixture_phase``, ``griffin_lim``; ``inverse`` without any."""
    level: Level = "peak"
    """What each window of the mixture is divided by before it is encoded (1 for silence)."""
    phase: bool = False
    """A second view with the phase of the mixture, divided by pi."""

    def __post_init__(self):
        if self.spectral != getattr(self.inversion, "spectral", True):
            raise ValueError(
                f"inversion.name={self.inversion.name!r} does not go with transform.name="
                f"{self.transform.name!r}; without magnitudes it is 'inverse', with them 'mixture_phase'"
            )
        plain = isinstance(self.scale, Magnitude) and isinstance(self.normalizer, NoNormalizer)
        if not self.spectral and not (plain and self.head.direct and not self.head.shares and not self.phase):
            raise ValueError(
                f"transform.name={self.transform.name!r}: has no magnitudes, so it takes head.name='direct' "
                "with limit='none', scale.name='magnitude', normalizer.name='none' and no phase"
            )
        if self.phase and not self.transform.complex:
            raise ValueError(f"phase=True: the spectra of transform.name={self.transform.name!r} have none")

    @property
    def spectral(self) -> bool:
        """Whether there are magnitudes and masks."""
        return self.transform.spectral

    @property
    def domain(self) -> Literal["frames", "samples"]:
        """What networks it feeds: over frames, or over samples."""
        return self.transform.domain

    @property
    def num_bins(self) -> int:
        """Rows of features and of the network's outputs."""
        return self.transform.num_bins

    @property
    def sums_to_mixture(self) -> bool:
        """Whether the decoded stems sum to the mixture, whatever the outputs."""
        return self.spectral and self.head.shares and self.inversion.exact and self.transform.complete

    @property
    def apart(self) -> bool:
        """Whether stems sum to the mixture, and each depends on its own mask alone: one may be left out."""
        return self.sums_to_mixture and all(
            getattr(part, "apart", False) for part in (self.transform, self.inversion)
        )

    @property
    def phased(self) -> bool:
        """Whether sources have complex spectra before they become waveforms."""
        return self.spectral and hasattr(self.inversion, "spectra")

    @property
    def domains(self) -> set[str]:
        """What losses can read of its estimates."""
        if not self.spectral:
            return {"waveforms", "features"} if self.domain == "frames" else {"waveforms"}
        known = {"magnitudes", "features"} if self.head.direct else {"magnitudes", "features", "masks"}
        return known | ({"waveforms"} if self.inversion.exact else set())

    @property
    def output_ranges(self) -> set[str]:
        """Where the network's outputs may lie."""
        return self.head.ranges(not self.spectral or self.scale.signed or self.normalizer.signed)

    def frames(self, samples: int) -> int:
        """Frames of a waveform of this many samples."""
        return self.transform.frames(samples)

    def samples(self, frames: int) -> int:
        """Samples, the fewest, of a waveform of this many frames."""
        return self.transform.samples(frames)

    def encode(self, mixture: jax.Array) -> Encoded:
        """``(batch, channels, samples)`` float32 mixture -> features, and what decoding needs."""
        level = mixture_level(self.level, mixture)
        return self.encode_values(self.transform.analyze(mixture / level[:, None, None]), level)

    def encode_values(self, values: jax.Array, level: jax.Array) -> Encoded:
        """The second half of :meth:`encode`: what the transform gave of a mixture divided by ``level``."""
        if not self.spectral:
            return Encoded(values, level)
        size = self.transform.magnitudes(values)
        scaled = self.scale(size)
        shift, scale = self.normalizer.statistics(scaled)
        encoded = Encoded(scaled, level, values, size, shift, scale)
        features = _normalized(encoded, scaled, 0)
        if self.phase:
            features = jnp.concatenate([features, self._angles(values, size)], axis=1)
        return encoded._replace(features=features)

    def decode(self, encoded: Encoded, outputs: jax.Array, length: int, residual: int = -1) -> Estimates:
        """The network's outputs -> estimates of the sources in every domain.

        Args:
          encoded: what :meth:`encode` returned.
          outputs: in :attr:`output_ranges`.
          length: samples of the waveforms.
          residual: index of the source that takes what the transform's bins leave over.
        """
        if not self.spectral:
            waveforms = self.inversion(self.transform, encoded, None, outputs, length, residual, True)
            return Estimates(outputs, None, None, waveforms, outputs)

        def restore(features):
            return self.scale.inverse(_denormalized(encoded, features))

        masks, magnitudes = self.head(outputs, encoded.magnitude[:, None], restore)
        direct = self.head.direct and not self.head.shares
        features = outputs if direct else _normalized(encoded, self.scale(magnitudes), 1)
        waveforms = self.inversion(self.transform, encoded, masks, magnitudes, length, residual, direct)
        return Estimates(outputs, masks, magnitudes, waveforms, features)

    def apply_masks(self, encoded: Encoded, masks: jax.Array, length: int, residual: int = -1) -> jax.Array:
        """Masks ``(batch, sources, channels, bins, frames)`` -> waveforms, relative to the level."""
        magnitudes = masks * encoded.magnitude[:, None]
        return self.inversion(self.transform, encoded, masks, magnitudes, length, residual, False)

    def others(self, encoded: Encoded, masks: jax.Array, length: int, residual: int = -1) -> jax.Array:
        """The waveforms that :meth:`apply_masks` gives, without that of the source ``residual``.

        Of a codec that is :attr:`apart`: the missing one is what these leave of the mixture.
        """
        residual = place_within("residual", residual, masks.shape[1], "sources")
        masks = jnp.delete(masks, residual, axis=1)
        magnitudes = masks * encoded.magnitude[:, None]
        return self.inversion(self.transform, encoded, masks, magnitudes, length, None, False)

    def spectra(self, encoded: Encoded, estimates: Estimates, residual: int = -1) -> jax.Array:
        """Complex spectra ``(batch, sources, channels, n_fft // 2 + 1, frames)`` of a :attr:`phased` codec's
        estimates, relative to the level."""
        direct = self.head.direct and not self.head.shares
        masks, magnitudes = estimates.masks, estimates.magnitudes
        return self.inversion.spectra(self.transform, encoded, masks, magnitudes, residual, direct)

    def reference(self, encoded: Encoded, sources: jax.Array) -> Estimates:
        """``(batch, sources, channels, samples)`` waveforms relative to the level -> reference sources."""
        values = self.transform.analyze(sources)
        if not self.spectral:
            return Estimates(None, None, None, sources, values)
        magnitudes = self.transform.magnitudes(values)
        features = _normalized(encoded, self.scale(magnitudes), 1)
        return Estimates(None, None, magnitudes, sources, features, self.transform.in_bins(values))

    def perfect_outputs(self, encoded: Encoded) -> jax.Array:
        """Outputs ``(batch, 1, channels, bins, frames)`` for the mixture as its own only source."""
        if not self.spectral:
            return encoded.features[:, None]
        channels = encoded.magnitude.shape[1]
        return (encoded.features[:, :channels] if self.head.direct else jnp.ones_like(encoded.magnitude))[
            :, None
        ]

    def _angles(self, spectrum, size):
        spectrum = jnp.where(size > 1e-10, self.transform.in_bins(spectrum), 1.0)  # no gradient at silence
        return jnp.arctan2(spectrum.imag, spectrum.real) / jnp.pi


def _normalized(encoded, scaled, extra):
    """Normalized with the mixture's parameters; ``extra`` axes for the sources behind the batch."""
    if encoded.shift is None:
        return scaled
    shift, scale = (x[:, None] if extra else x for x in (encoded.shift, encoded.scale))
    return (scaled - shift) / scale


def _denormalized(encoded, features):
    return features if encoded.shift is None else features * encoded.scale[:, None] + encoded.shift[:, None]
