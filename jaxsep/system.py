"""A system: one frozen config, and the pure function from waveform to stems that it describes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp

from jaxsep._checks import as_float, at_least_ndim
from jaxsep.codec import Estimates, STFTCodec, decode, encode
from jaxsep.models import (
    LSTMMaskConfig,
    NetworkConfig,
    apply_network,
    build_network,
    init_network,
)


@dataclass(frozen=True)
class SystemConfig:
    """All that is needed to rebuild a separation system, its weights aside."""

    sources: tuple[str, ...] = ("vocals", "accompaniment")
    """Names of the stems, in the order of the network's outputs."""
    sample_rate: int = 16000
    """Hz that the system works at."""
    codec: STFTCodec = field(default_factory=STFTCodec)
    """How waveforms become features and outputs become waveforms."""
    network: NetworkConfig = field(default_factory=LSTMMaskConfig)
    """The network and its options."""
    residual: str = "accompaniment"
    """The stem that takes what lies above half the system's sample rate."""
    segment_seconds: float = 10.0
    """Length of the pieces that long input is cut into."""
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
        overlap = round(self.overlap_seconds * self.sample_rate)
        if not 1 <= overlap <= self.segment_seconds * self.sample_rate / 2:
            raise ValueError(
                f"overlap_seconds={self.overlap_seconds}: expected at least one sample and at most half "
                f"of segment_seconds={self.segment_seconds}"
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
    def segment(self) -> int:
        """Samples of the pieces that long input is cut into."""
        return round(self.config.segment_seconds * self.config.sample_rate)

    @property
    def overlap(self) -> int:
        """Samples over which neighbouring pieces are cross-faded."""
        return round(self.config.overlap_seconds * self.config.sample_rate)

    def init(self, key: jax.Array) -> dict:
        """Return fresh variables."""
        mixture = jnp.zeros((1, 4 * self.config.codec.n_fft))
        return init_network(self.network, key, encode(self.config.codec, mixture).features)

    def forward(
        self, variables, mixture, *, train=False, key=None, mask=None, axis_name=None
    ) -> tuple[Estimates, jax.Array, dict]:
        """Estimate the sources of a batch, in every domain that a loss may want.

        Args:
          variables: what :meth:`init` returned, or trained ones.
          mixture: ``(batch, samples)`` float32 waveforms.
          train, key, mask, axis_name: see :func:`jaxsep.models.apply_network`.

        Returns:
          estimates relative to the level, the ``(batch,)`` level, and the new model state. Under
          ``jax.jit`` what is not used of the estimates is not computed.
        """
        codec = self.config.codec
        encoded = encode(codec, mixture)
        outputs, model_state = apply_network(
            self.network,
            variables,
            encoded.features,
            train=train,
            key=key,
            mask=mask,
            axis_name=axis_name,
        )
        return decode(codec, encoded, outputs, mixture.shape[-1]), encoded.level, model_state

    def separate(self, variables, mixture) -> jax.Array:
        """Separate a waveform in one piece.

        Args:
          variables: trained variables.
          mixture: ``(..., samples)`` floats at the system's sample rate; each leading index is
            separated on its own.

        Returns:
          ``(..., sources, samples)`` float32, in the unit of the mixture.

        Raises:
          ValueError: integers or an empty array.
        """
        mixture = as_float("mixture", mixture)
        at_least_ndim("mixture", mixture, 1, "(..., samples)")
        flat = mixture.reshape(-1, mixture.shape[-1])
        estimates, level, _ = self.forward(variables, flat)
        stems = estimates.waveforms * level[:, None, None]
        return stems.reshape(*mixture.shape[:-1], *stems.shape[1:])
