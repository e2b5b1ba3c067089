"""Codecs without a transform: overlapping frames of the waveform, and the waveform itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp

from jaxsep.codec.domains import Domain, Encoded, Estimates, Level, mixture_level
from jaxsep.spectral import get_window, overlap_add


@dataclass(frozen=True)
class WaveformCodec:
    """The waveform, divided by its level.

    Example:
      >>> WaveformCodec().encode(jnp.ones((2, 100))).features.shape
      (2, 1, 100)
    """

    name: Literal["waveform"] = "waveform"
    level: Level = "peak"
    """What each window of the mixture is divided by before it is encoded (1 for silence)."""

    @property
    def domain(self) -> Literal["frames", "samples"]:
        """What networks it feeds: over frames, or over samples."""
        return "samples"

    @property
    def num_bins(self) -> int:
        """Rows of features: one."""
        return 1

    @property
    def rate(self) -> int | None:
        """Hz that the codec is made for; None for any."""
        return None

    @property
    def sums_to_mixture(self) -> bool:
        """Whether the decoded stems sum to the mixture, whatever the outputs."""
        return False

    @property
    def domains(self) -> set[Domain]:
        """What losses can read of its estimates."""
        return {"waveforms"}

    @property
    def output_ranges(self) -> set[str]:
        """Where the network's outputs may lie."""
        return {"any"}

    def frames(self, samples: int) -> int:
        """Length of the features of this many samples."""
        return samples

    def samples(self, frames: int) -> int:
        """Samples, the fewest, whose features have this length."""
        return frames

    def encode(self, mixture: jax.Array) -> Encoded:
        """``(batch, samples)`` float32 mixture -> features and level."""
        level = mixture_level(self.level, mixture)
        return Encoded(self._analyse((mixture / level[:, None])[:, None]), level)

    def decode(self, encoded: Encoded, outputs: jax.Array, length: int) -> Estimates:
        """The network's outputs, as features with one channel a source -> estimates."""
        return Estimates(outputs, None, None, self._synthesise(outputs, length), outputs)

    def reference(self, encoded: Encoded, sources: jax.Array) -> Estimates:
        """``(batch, sources, samples)`` waveforms relative to the level -> what is true of them."""
        return Estimates(None, None, None, sources, self._analyse(sources))

    def perfect_outputs(self, encoded: Encoded) -> jax.Array:
        """Outputs for the mixture as its own only source."""
        return encoded.features

    def _analyse(self, x):
        return x

    def _synthesise(self, outputs, length):
        return outputs[..., :length]


@dataclass(frozen=True)
class FramesCodec(WaveformCodec):
    """Frames of the waveform that overlap by half, put together under a triangular window.

    Example:
      >>> FramesCodec(size=8).encode(jnp.ones((2, 20))).features.shape
      (2, 1, 8, 6)
    """

    name: Literal["frames"] = "frames"  # type: ignore[assignment]
    size: int = 1024
    """Samples of a frame, even; half of them between frames."""

    def __post_init__(self):
        if self.size % 2 or not 2 <= self.size <= 1 << 16:
            raise ValueError(f"size={self.size}: expected an even number from 2 to 65536")

    @property
    def domain(self) -> Literal["frames", "samples"]:
        """What networks it feeds: over frames, or over samples."""
        return "frames"

    @property
    def num_bins(self) -> int:
        """Samples of a frame."""
        return self.size

    @property
    def domains(self) -> set[Domain]:
        """What losses can read of its estimates."""
        return {"features", "waveforms"}

    def frames(self, samples: int) -> int:
        """Frames of a waveform of this many samples."""
        return 1 + -(-samples // (self.size // 2))

    def samples(self, frames: int) -> int:
        """Samples, the fewest, of a waveform of this many frames."""
        return max(1, (frames - 2) * (self.size // 2) + 1)

    def _analyse(self, x):
        hop, samples = self.size // 2, x.shape[-1]
        end = -samples % hop + hop
        x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(hop, end)]).reshape(*x.shape[:-1], -1, hop)
        frames = jnp.concatenate([x[..., :-1, :], x[..., 1:, :]], axis=-1)
        return jnp.swapaxes(frames, -1, -2)

    def _synthesise(self, outputs, length):
        hop = self.size // 2
        triangle = jnp.asarray(get_window("bartlett", self.size), outputs.dtype)
        x = overlap_add(jnp.swapaxes(outputs, -1, -2) * triangle, hop)
        return x[..., hop : hop + length]
