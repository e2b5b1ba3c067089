"""A system: one frozen config, and the pure function from waveform to stems that it describes."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp

from jaxsep import parts
from jaxsep._checks import as_float, at_least, at_least_ndim, standard_promotion
from jaxsep.codecs import STFT, Codec, Encoded, Estimates
from jaxsep.masks import at_most_one, complete_masks, inserted, slowed_mask
from jaxsep.networks import LSTMMask
from jaxsep.parts import Network, check_ranges, checked, ranged
from jaxsep.resampling import resample
from jaxsep.wiener import close, refine, wiener_stems

#: Share of the Nyquist frequency that is left when a window is played at another speed.
_ROLLOFF = 0.945


@checked
@dataclass(frozen=True)
class SystemConfig:
    """All that is needed to rebuild a separation system, its weights aside."""

    sources: tuple[str, ...] = ("vocals", "accompaniment")
    """Names of the stems, in the order of the network's outputs."""
    sample_rate: int = ranged(16000, least=1000, most=768_000)
    """Hz that the system works at."""
    channels: int = ranged(1, least=1, most=2)
    """Channels heard together: 1, each on its own, or 2."""
    codec: parts.Codec = field(default_factory=Codec)
    """How waveforms become features and outputs become waveforms."""
    network: Network = field(default_factory=LSTMMask)
    """The network and its options."""
    speeds: tuple[float, ...] = ranged((), least=0.5, most=2)
    """Playback speeds for test-time augmentation (faster and higher above 1), whose masks are averaged with
    those at speed 1: better where sounds are unlike those trained on, at the cost of one more pass of the
    network each. Taken as the nearest fractions with denominators up to 64; not used in training."""
    speeds_power: float = ranged(1.0, least=1, most=8)
    """Exponent of the power mean by which masks are averaged over speeds: above 1 a source has most of what
    it has at any speed, and the residual source what the others leave."""
    residual: str = "accompaniment"
    """The stem that takes what lies above the system's Nyquist frequency."""
    segment_seconds: float = ranged(10.0, above=0, most=600)
    """Length of the pieces that long input is cut into; of no effect where the network takes a
    fixed window: its length is then theirs."""
    overlap_seconds: float = ranged(1.0, above=0, most=600)
    """Length over which neighboring pieces are cross-faded."""

    def __post_init__(self):
        check_ranges(self)
        if len(set(self.sources)) != len(self.sources) or not self.sources:
            raise ValueError(f"sources={self.sources}: expected different names, at least one")
        if bad := [s for s in self.sources if not re.fullmatch(r"[\w-]{1,64}", s)]:
            raise ValueError(f"sources={bad}: names of letters, digits, '_' and '-' alone")
        if self.residual not in self.sources:
            raise ValueError(f"residual={self.residual!r}: expected one of sources={self.sources}")
        self._check_parts()
        overlap = round(self.overlap_seconds * self.sample_rate)
        if not 1 <= overlap <= self.segment / 2:
            raise ValueError(
                f"overlap_seconds={self.overlap_seconds}: expected at least one sample and at most half "
                f"of the pieces, which are {self.segment / self.sample_rate:g} s"
            )

    @property
    def segment(self) -> int:
        """Samples of the pieces that long input is cut into."""
        window = self.network.window
        return self.codec.samples(window) if window else round(self.segment_seconds * self.sample_rate)

    def fits(self, samples: int) -> bool:
        """Whether its network takes excerpts of this many samples."""
        return self.network.window in (None, self.codec.frames(samples))

    def _check_parts(self):
        """Refuse codecs and networks that do not fit each other."""
        codec, network = self.codec, self.network
        transform = codec.transform.name
        if codec.transform.rate not in (None, self.sample_rate):
            raise ValueError(
                f"codec.transform.sample_rate={codec.transform.rate}: expected the system's, "
                f"sample_rate={self.sample_rate}"
            )
        if codec.domain != network.domain:
            raise ValueError(
                f"network.name={network.name!r} works on {network.domain}, "
                f"codec.transform.name={transform!r} gives {codec.domain}: take another of either"
            )
        if network.output_range not in codec.output_ranges:
            raise ValueError(
                f"network.name={network.name!r}: its outputs are {network.output_range}, "
                f"codec.head.name={codec.head.name!r} with this codec needs {sorted(codec.output_ranges)}; "
                "take another activation or head"
            )
        getattr(network, "check", lambda sources, bins: None)(len(self.sources), codec.num_bins)
        if bad := [v for v in self.speeds if _fraction(v) == 1]:
            raise ValueError(f"speeds={bad}: expected numbers from 0.5 to 2 other than 1")
        shares = codec.sums_to_mixture and isinstance(codec.transform, STFT)
        if self.speeds and (not shares or network.window):
            raise ValueError(
                f"speeds={self.speeds}: network.name={network.name!r}, codec.transform.name={transform!r} "
                "with these options cannot average masks over speeds; expected 'stft', outputs that are "
                "shares of the mixture, and a network for any length"
            )


@dataclass(frozen=True)
class System:
    """encode -> network -> decode, as pure functions of variables and waveforms.

    Example:
      >>> system = System(SystemConfig(network=LSTMMask(layers=1, width=8)))
      >>> variables = system.init(jax.random.key(0))
      >>> mixture = jax.random.normal(jax.random.key(1), (16000,))
      >>> stems = system.separate(variables, mixture)
      >>> stems.shape, bool(jnp.allclose(stems.sum(0), mixture, atol=1e-4))
      ((2, 16000), True)
    """

    config: SystemConfig

    @property
    def network(self) -> Any:
        """The network for this many sources, channels and bins: its pure functions."""
        config = self.config
        shape = dict(sources=len(config.sources), channels=config.channels, bins=config.codec.num_bins)
        return config.network.build(**shape)

    @property
    def residual(self) -> int:
        """Index of the residual stem."""
        return self.config.sources.index(self.config.residual)

    @property
    def causal(self) -> bool:
        """Whether an output frame depends on no later input frame, the codec's window, level and statistics
        aside; of streams see :func:`jaxsep.live.why_not_live`."""
        return self.config.network.causal and not self.config.speeds

    @property
    def window(self) -> int | None:
        """Samples of the one window that the system takes; None for any length."""
        return self.segment if self.config.network.window else None

    @property
    def sums_to_mixture(self) -> bool:
        """Whether the stems of :meth:`separate` sum to the mixture."""
        return self.config.codec.sums_to_mixture or getattr(self.config.network, "sums_to_input", False)

    @property
    def segment(self) -> int:
        """Samples of the pieces that long input is cut into."""
        return self.config.segment

    @property
    def overlap(self) -> int:
        """Samples over which neighboring pieces are cross-faded."""
        return round(self.config.overlap_seconds * self.config.sample_rate)

    def init(self, key: jax.Array) -> dict:
        """Return fresh variables."""
        codec, frames = self.config.codec, self.config.network.window or 8
        encoded = codec.encode(jnp.zeros((1, self.config.channels, codec.samples(frames)), jnp.float32))
        return self.network.init(key, encoded.features)

    @standard_promotion
    def forward(
        self, variables, mixture, *, train=False, key=None, mask=None, axis_name=None, apply=None
    ) -> tuple[Estimates, Encoded, dict]:
        """Estimate the sources of a batch, in every domain that a loss may want, at speed 1.

        Args:
          variables: what :meth:`init` returned, or trained ones.
          mixture: ``(batch, channels, samples)`` float32 waveforms.
          train, key, mask, axis_name: see :class:`jaxsep.networks.BuiltNetwork`.
          apply: how to run the network, in another precision say; its own ``apply`` when None.

        Returns:
          estimates relative to the level, the encoded mixture with its level, and the new model
          state. Under ``jax.jit`` what is not used of the estimates is not computed.

        Raises:
          ValueError: another number of channels than the system hears, or another length than a fixed window.
        """
        codec, window = self.config.codec, self.config.network.window
        if mixture.ndim != 3 or mixture.shape[1] != self.config.channels:
            raise ValueError(
                f"mixture.shape={mixture.shape}: expected (batch, {self.config.channels}, samples)"
            )
        if window and codec.frames(mixture.shape[-1]) != window:
            raise ValueError(
                f"mixture.shape={mixture.shape}: network.name={self.config.network.name!r} takes windows "
                f"of {window} frames, {self.window} samples; a Separator cuts longer input into them"
            )
        encoded = codec.encode(mixture)
        call = dict(train=train, key=key, mask=mask, axis_name=axis_name)
        outputs, model_state = (apply or self.network.apply)(variables, encoded.features, **call)
        return codec.decode(encoded, outputs, mixture.shape[-1], self.residual), encoded, model_state

    @standard_promotion
    def separate(self, variables, mixture, *, wiener: int = 0) -> jax.Array:
        """Separate a waveform in one piece, at all of ``config.speeds``.

        Args:
          variables: trained variables.
          mixture: ``(..., samples)`` floats at the system's sample rate, each leading index separated on its
            own; of a system of two channels ``(..., 2, samples)``.
          wiener: see :meth:`separate_channels`.

        Returns:
          ``(..., sources, samples)`` or ``(..., sources, 2, samples)`` float32, in the unit of the mixture.

        Raises:
          ValueError: integers, an empty array, other channels, or another length than a fixed window's.
        """
        mixture = as_float("mixture", mixture)
        if self.config.channels == 1:
            at_least_ndim("mixture", mixture, 1, "(..., samples)")
            return self.separate_channels(variables, mixture[..., None, :], wiener=wiener)[..., 0, :]
        at_least_ndim("mixture", mixture, 2, "(..., 2, samples)")
        return self.separate_channels(variables, mixture, wiener=wiener)

    @standard_promotion
    def separate_channels(self, variables, mixture, *, wiener: int = 0) -> jax.Array:
        """Separate ``(..., channels, samples)`` in one piece, channels together or each on its own.

        Args:
          wiener: iterations of the multichannel Wiener filter (:mod:`jaxsep.wiener`) over all channels, of
            the spectra that the network gives the sources, or of their waveforms' where it gives none. The
            residual stem is then what the others leave of the mixture.

        Returns:
          ``(..., sources, channels, samples)`` float32, in the unit of the mixture.

        Raises:
          ValueError: channels that do not fit; a filter of a single source.
        """
        mixture = as_float("mixture", mixture)
        channels = mixture.shape[-2]
        together = self.config.channels
        if together > 1 and channels != together:
            raise ValueError(f"mixture.shape={mixture.shape}: expected (..., {together}, samples)")
        if at_least("wiener", wiener, 0) and len(self.config.sources) < 2:
            raise ValueError(f"wiener={wiener}: filters two sources or more, not {self.config.sources} alone")
        if wiener and self.config.codec.phased:
            return self._filtered(variables, mixture, wiener)
        stems = self._separate(variables, mixture.reshape(-1, together, mixture.shape[-1]))
        stems = _joined(stems, mixture)
        return wiener_stems(stems, mixture, iterations=wiener, **self._closing) if wiener else stems

    @property
    def _closing(self):
        """Options of a filter of waveforms: 93 ms at any rate, 4096 samples at 44.1 kHz."""
        n_fft = max(16, 1 << round(math.log2(0.093 * self.config.sample_rate)))
        return dict(residual=self.residual, n_fft=n_fft, hop_length=n_fft // 4)

    def _filtered(self, variables, mixture, iterations):
        """Separate and filter ``(..., channels, samples)`` between the network's spectra and waveforms."""
        codec, samples = self.config.codec, mixture.shape[-1]
        flat = mixture.reshape(-1, self.config.channels, samples)
        estimates, encoded = self._at_all_speeds(variables, flat)
        level = encoded.level[:, None, None, None, None]
        spectra = _joined(level * codec.spectra(encoded, estimates, self.residual), mixture)
        heard = _joined(level * encoded.spectrum[:, None], mixture)[..., 0, :, :, :]
        found = refine(spectra, heard, iterations=iterations, peak=jnp.max(jnp.abs(mixture), axis=(-2, -1)))
        return close(codec.transform.synthesize(found, samples), mixture, self.residual)

    def _separate(self, variables, mixture):
        """``(batch, channels, samples)`` -> ``(batch, sources, channels, samples)``.

        Where the stems sum to the mixture, the residual's is what the others leave: under ``jit`` an inverse
        less.
        """
        codec, residual = self.config.codec, self.residual
        estimates, encoded = self._at_all_speeds(variables, mixture)
        level = encoded.level[:, None, None, None]
        if not getattr(codec, "apart", False):
            return estimates.waveforms * level
        others = codec.others(encoded, estimates.masks, mixture.shape[-1], residual) * level
        rest = mixture[:, None] - jnp.sum(others, axis=1, keepdims=True)
        return inserted(others, rest, residual, axis=1)

    def _at_all_speeds(self, variables, mixture):
        """The network's estimates, their masks averaged over ``config.speeds``, and what was encoded."""
        estimates, encoded, _ = self.forward(variables, mixture)
        if not self.config.speeds:
            return estimates, encoded
        masks = self._averaged_masks(variables, mixture, estimates.masks)
        waveforms = self.config.codec.apply_masks(encoded, masks, mixture.shape[-1], self.residual)
        magnitudes = masks * encoded.magnitude[:, None]
        return estimates._replace(masks=masks, magnitudes=magnitudes, waveforms=waveforms), encoded

    def _averaged_masks(self, variables, mixture, masks):
        """Average the masks of the mixture with those found when it is played at other speeds.

        Where resampling leaves nothing to hear, its own stand for theirs. The residual's is what the others
        leave.
        """
        power, bins, residual = self.config.speeds_power, masks.shape[-2], self.residual
        masks = jnp.delete(masks, residual, axis=1)
        total = masks**power
        for speed in map(_fraction, self.config.speeds):
            played = resample(mixture, speed.numerator, speed.denominator, rolloff=_ROLLOFF)
            played_masks: Any = self.forward(variables, played)[0].masks
            found = slowed_mask(
                jnp.delete(played_masks, residual, axis=1), speed=float(speed), frames=masks.shape[-1]
            )
            heard = max(1.0, float(speed)) * jnp.arange(bins) <= _ROLLOFF * (bins - 1)
            total = total + jnp.where(heard[:, None], found, masks) ** power
        mean = total / (1 + len(self.config.speeds))
        return complete_masks(mean if power == 1 else at_most_one(mean ** (1 / power), 1), residual, 1)


def _joined(sources, mixture):
    """``(batch, sources, channels heard, ...)`` as ``(..., sources, channels, ...)`` of a mixture."""
    *batch, channels, _ = mixture.shape
    _, count, together, *rest = sources.shape
    sources = sources.reshape(*batch, channels // together, count, together, *rest)
    return jnp.moveaxis(sources, len(batch), len(batch) + 1).reshape(*batch, count, channels, *rest)


def _fraction(speed: float) -> Fraction:
    return Fraction(speed).limit_denominator(64)
