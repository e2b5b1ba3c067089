"""Transforms without a spectrum: overlapping frames of the waveform, and the waveform itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp

from jaxsep.parts import check_ranges, ranged, register
from jaxsep.spectral import get_window, overlap_add


@register("transform", "waveform")
@dataclass(frozen=True)
class Waveform:
    """The waveform itself.

    Example:
      >>> Waveform().analyze(jnp.ones((2, 1, 100))).shape
      (2, 1, 100)
    """

    @property
    def domain(self) -> Literal["frames", "samples"]:
        """What networks it feeds: over frames, or over samples."""
        return "samples"

    @property
    def spectral(self) -> bool:
        """Whether it has magnitudes."""
        return False

    @property
    def complex(self) -> bool:
        """Whether its values have a phase."""
        return False

    @property
    def num_bins(self) -> int:
        """Rows of features: one."""
        return 1

    @property
    def rate(self) -> int | None:
        """Hz that it is made for; None for any."""
        return None

    def frames(self, samples: int) -> int:
        """Length of the features of this many samples."""
        return samples

    def samples(self, frames: int) -> int:
        """Samples, the fewest, whose features have this length."""
        return frames

    def analyze(self, x: jax.Array) -> jax.Array:
        """``(..., samples)`` -> features."""
        return x

    def synthesize(self, features: jax.Array, length: int) -> jax.Array:
        """The inverse of :meth:`analyze`."""
        return features[..., :length]


@register("transform", "frames")
@dataclass(frozen=True)
class Frames(Waveform):
    """Frames of the waveform that overlap by half, put together under a triangular window.

    Example:
      >>> Frames(size=8).analyze(jnp.ones((2, 1, 20))).shape
      (2, 1, 8, 6)
    """

    size: int = ranged(1024, least=2, most=1 << 16)
    """Samples of a frame, even; half of them between frames."""

    def __post_init__(self):
        check_ranges(self)
        if self.size % 2:
            raise ValueError(f"size={self.size}: expected an even number from 2 to 65536")

    @property
    def domain(self) -> Literal["frames", "samples"]:
        """What networks it feeds: over frames, or over samples."""
        return "frames"

    @property
    def num_bins(self) -> int:
        """Samples of a frame."""
        return self.size

    def frames(self, samples: int) -> int:
        """Frames of a waveform of this many samples."""
        return 1 + -(-samples // (self.size // 2))

    def samples(self, frames: int) -> int:
        """Samples, the fewest, of a waveform of this many frames."""
        return max(1, (frames - 2) * (self.size // 2) + 1)

    def analyze(self, x: jax.Array) -> jax.Array:
        """``(..., samples)`` -> ``(..., size, frames)``."""
        hop, samples = self.size // 2, x.shape[-1]
        end = -samples % hop + hop
        x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(hop, end)]).reshape(*x.shape[:-1], -1, hop)
        frames = jnp.concatenate([x[..., :-1, :], x[..., 1:, :]], axis=-1)
        return jnp.swapaxes(frames, -1, -2)

    def synthesize(self, features: jax.Array, length: int) -> jax.Array:
        """The inverse of :meth:`analyze`."""
        hop = self.size // 2
        triangle = jnp.asarray(get_window("bartlett", self.size), features.dtype)
        x = overlap_add(jnp.swapaxes(features, -1, -2) * triangle, hop)
        return x[..., hop : hop + length]
