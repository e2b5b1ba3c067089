"""A system: one frozen config, and the pure function from waveform to stems that it describes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp

from jaxsep._checks import as_float, at_least_ndim
from jaxsep.codec import CodecConfig, Encoded, Estimates, STFTCodec
from jaxsep.masks import slowed_mask
from jaxsep.models import (
    LSTMMaskConfig,
    NetworkConfig,
    apply_network,
    build_network,
    init_network,
)
from jaxsep.resampling import resample

#: Share of half the sample rate that is left when a window is played at another speed.
_ROLLOFF = 0.945


@dataclass(frozen=True)
class SystemConfig:
    """All that is needed to rebuild a separation system, its weights aside."""

    sources: tuple[str, ...] = ("vocals", "accompaniment")
    """Names of the stems, in the order of the network's outputs."""
    sample_rate: int = 16000
    """Hz that the system works at."""
    codec: CodecConfig = field(default_factory=STFTCodec)
    """How waveforms become features and outputs become waveforms."""
    network: NetworkConfig = field(default_factory=LSTMMaskConfig)
    """The network and its options."""
    speeds: tuple[float, ...] = ()
    """Further speeds at which separation hears each window (played faster and higher above 1), whose
    masks are averaged with those at its own: better where sounds are unlike those trained on, at the
    cost of one more pass of the network each. Taken as the nearest fractions with denominators up to 64;
    training hears none."""
    residual: str = "accompaniment"
    """The stem that takes what lies above half the system's sample rate."""
    segment_seconds: float = 10.0
    """Length of the pieces that long input is cut into; of no effect where the network takes a
    fixed window: its length is then theirs."""
    overlap_seconds: float = 1.0
    """Length over which neighbouring pieces are cross-faded."""

    def __post_init__(self):
        if len(set(self.sources)) != len(self.sources) or not self.sources:
            raise ValueError(f"sources={self.sources}: expected different names, at least one")
        if bad := [s for s in self.sources if not re.fullmatch(r"[\w-]{1,64}", s)]:
            raise ValueError(f"sources={bad}: names of letters, digits, '_' and '-' alone")
        if not 1000 <= self.sample_rate <= 768_000:
            raise ValueError(f"sample_rate={self.sample_rate}: expected 1000 to 768000 Hz")
        if not self.segment_seconds <= 600:
            raise ValueError(f"segment_seconds={self.segment_seconds}: expected at most 600")
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

    def _check_parts(self):
        """Refuse codecs and networks that do not fit each other."""
        codec, network = self.codec, self.network
        if codec.rate not in (None, self.sample_rate):
            raise ValueError(
                f"codec.sample_rate={codec.rate}: expected the system's, sample_rate={self.sample_rate}"
            )
        if codec.domain != network.domain:
            raise ValueError(
                f"network.name={network.name!r} works on {network.domain}, "
                f"codec.name={codec.name!r} gives {codec.domain}: take another of either"
            )
        if network.output_range not in codec.output_ranges:
            raise ValueError(
                f"network.activation={network.activation!r}: its outputs are {network.output_range}, "
                f"codec.name={codec.name!r} with these options needs {sorted(codec.output_ranges)}"
            )
        network.check(len(self.sources), codec.num_bins)
        if bad := [v for v in self.speeds if not 0.5 <= v <= 2 or _fraction(v) == 1]:
            raise ValueError(f"speeds={bad}: expected numbers from 0.5 to 2 other than 1")
        if self.speeds and not (
            isinstance(codec, STFTCodec) and codec.sums_to_mixture and not network.window
        ):
            raise ValueError(
                f"speeds={self.speeds}: network.name={network.name!r}, codec.name={codec.name!r} with these "
                "options cannot average masks over speeds; expected codec.name='stft' whose outputs are "
                "shares of the mixture, and a network for any length"
            )


@dataclass(frozen=True)
class System:
    """encode -> network -> decode, as pure functions of variables and waveforms.

    Example:
      >>> system = System(SystemConfig(network=LSTMMaskConfig(layers=1, width=8)))
      >>> variables = system.init(jax.random.key(0))
      >>> mixture = jax.random.normal(jax.random.key(1), (16000,))
      >>> stems = system.separate(variables, mixture)
      >>> stems.shape, bool(jnp.allclose(stems.sum(0), mixture, atol=1e-4))
      ((2, 16000), True)
    """

    config: SystemConfig

    @property
    def network(self):
        """The network module that the config names."""
        config = self.config
        return build_network(config.network, len(config.sources), config.codec.num_bins)

    @property
    def causal(self) -> bool:
        """Whether an output frame depends on no later input frame (the codec's own window aside)."""
        return self.config.network.causal and not self.config.speeds

    @property
    def window(self) -> int | None:
        """Samples of the one window that the system takes; None for any length."""
        return self.segment if self.config.network.window else None

    @property
    def sums_to_mixture(self) -> bool:
        """Whether the stems of :meth:`separate` sum to the mixture."""
        return self.config.codec.sums_to_mixture or self.config.network.sums_to_input

    @property
    def segment(self) -> int:
        """Samples of the pieces that long input is cut into."""
        return self.config.segment

    @property
    def overlap(self) -> int:
        """Samples over which neighbouring pieces are cross-faded."""
        return round(self.config.overlap_seconds * self.config.sample_rate)

    def init(self, key: jax.Array) -> dict:
        """Return fresh variables."""
        codec, frames = self.config.codec, self.config.network.window or 8
        encoded = codec.encode(jnp.zeros((1, codec.samples(frames))))
        return init_network(self.network, key, encoded.features)

    def forward(
        self, variables, mixture, *, train=False, key=None, mask=None, axis_name=None
    ) -> tuple[Estimates, Encoded, dict]:
        """Estimate the sources of a batch, in every domain that a loss may want, at its own speed.

        Args:
          variables: what :meth:`init` returned, or trained ones.
          mixture: ``(batch, samples)`` float32 waveforms.
          train, key, mask, axis_name: see :func:`jaxsep.models.apply_network`.

        Returns:
          estimates relative to the level, the encoded mixture with its level, and the new model
          state. Under ``jax.jit`` what is not used of the estimates is not computed.

        Raises:
          ValueError: the network takes a fixed window, and the mixture is not one.
        """
        codec, window = self.config.codec, self.config.network.window
        if window and codec.frames(mixture.shape[-1]) != window:
            raise ValueError(
                f"mixture.shape={mixture.shape}: network.name={self.config.network.name!r} takes windows "
                f"of {window} frames, {self.window} samples; a Separator cuts longer input into them"
            )
        encoded = codec.encode(mixture)
        outputs, model_state = apply_network(
            self.network,
            variables,
            encoded.features,
            train=train,
            key=key,
            mask=mask,
            axis_name=axis_name,
        )
        return codec.decode(encoded, outputs, mixture.shape[-1]), encoded, model_state

    def separate(self, variables, mixture) -> jax.Array:
        """Separate a waveform in one piece, at all of ``config.speeds``.

        Args:
          variables: trained variables.
          mixture: ``(..., samples)`` floats at the system's sample rate; each leading index is
            separated on its own.

        Returns:
          ``(..., sources, samples)`` float32, in the unit of the mixture.

        Raises:
          ValueError: integers, an empty array, or another length than a fixed window's.
        """
        mixture = as_float("mixture", mixture)
        at_least_ndim("mixture", mixture, 1, "(..., samples)")
        flat = mixture.reshape(-1, mixture.shape[-1])
        estimates, encoded, _ = self.forward(variables, flat)
        if self.config.speeds:
            masks = self._averaged_masks(variables, flat, estimates.masks)
            estimates = self.config.codec.decode(encoded, masks, flat.shape[-1])
        stems = estimates.waveforms * encoded.level[:, None, None]
        return stems.reshape(*mixture.shape[:-1], *stems.shape[1:])

    def _averaged_masks(self, variables, mixture, masks):
        """Average the masks of the mixture with those found when it is played at other speeds.

        Where resampling leaves nothing to hear, its own stand for theirs.
        """
        bins, total = masks.shape[-2], masks
        for speed in map(_fraction, self.config.speeds):
            played = resample(mixture, speed.numerator, speed.denominator, rolloff=_ROLLOFF)
            found: Any = self.forward(variables, played)[0].masks
            found = slowed_mask(found, speed=float(speed), frames=masks.shape[-1])
            heard = max(1.0, float(speed)) * jnp.arange(bins) <= _ROLLOFF * (bins - 1)
            total = total + jnp.where(heard[:, None], found, masks)
        return total / (1 + len(self.config.speeds))


def _fraction(speed: float) -> Fraction:
    return Fraction(speed).limit_denominator(64)
