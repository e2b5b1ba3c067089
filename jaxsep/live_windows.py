"""Sound separated while it comes by systems that hear whole windows, such as U-Nets.

Every so many seconds the window that ends there is separated, and of its stems only the end is kept, faded
into what was kept before. So it takes ``1 / every`` windows for a second of sound, where a file takes
``1 / (segment - overlap)``, for stems that lag by a fraction of a second instead of by a window.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsep.compilation import compiler_options
from jaxsep.inference import cross_fade, extend, extend_before, fade
from jaxsep.system import System


class WindowsCarry(NamedTuple):
    """What :meth:`LiveWindows.step` remembers between chunks."""

    heard: jax.Array | np.ndarray
    """``(channels, segment)``: the last window of the input; ``(channels, 0)`` before there was any."""
    tail: jax.Array
    """``(sources, channels, fade)``: the faded-out end of the output so far."""


class LiveWindows:
    """A system of windows as a step from carry to carry, for :class:`jaxsep.live.LiveStream`.

    Before the first sample stands the mirrored beginning of the stream, since networks that never heard
    silence cut off sound do worse beside it.

    Args:
      system: any system.
      variables: its trained variables.
      every: seconds between windows. Less lags less, and costs more and some quality: what is kept is nearer
        to the windows' ends, where the network knows less of what follows.
      ahead: seconds at the end of each window that are heard and not kept: more lags more.
      speeds: whether to hear each window at the system's other ``speeds``, too, each of which is as much
        work again.

    Raises:
      ValueError: times that are not within a window.

    Example:
      >>> from jaxsep.live import LiveStream
      >>> from jaxsep.networks import UNet
      >>> from jaxsep.system import SystemConfig
      >>> times = dict(sample_rate=8000, segment_seconds=0.5, overlap_seconds=0.1)
      >>> system = System(SystemConfig(network=UNet(levels=2, filters=4), **times))
      >>> live = LiveWindows(system, system.init(jax.random.key(0)), every=0.1)
      >>> stream, x = LiveStream(live, channels=1), np.ones((1, 2500), np.float32)
      >>> [piece.shape for piece in (stream.push(x), stream.finish())]  # 0.12 s behind, and a hop to fill
      [(2, 1, 2240), (2, 1, 260)]
    """

    #: Steps to take together where there is more to hear.
    max_steps = 1

    def __init__(
        self, system: System, variables: dict, every: float = 0.25, ahead: float = 0.0, speeds: bool = False
    ):
        rate, segment = system.config.sample_rate, system.segment
        fits = math.isfinite(every) and math.isfinite(ahead) and every * rate >= 1 and ahead >= 0
        if fits:
            self.hop, self.ahead = round(every * rate), round(ahead * rate)
            self.fade = max(1, self.hop // 5)
        if not fits or 1.2 * every + ahead > segment / rate or self.delay > segment:
            raise ValueError(
                f"every={every}, ahead={ahead}: expected every above 0, ahead of 0 or more, and "
                f"1.2 * every + ahead within a window of {segment / rate:.4g} s"
            )
        self.system, self.variables = system, variables
        if not speeds:
            self.system = System(replace(system.config, speeds=()))
        options = compiler_options(system.config.network)
        self._step = jax.jit(self._separate, compiler_options=options)

    @property
    def lead(self) -> int:
        """Samples that :meth:`start` takes: none."""
        return 0

    @property
    def skip(self) -> int:
        """Samples before the first of the input with which the output begins."""
        return self.fade + self.ahead

    @property
    def delay(self) -> int:
        """Algorithmic latency in samples: the most that a sample's stems wait for."""
        return self.hop + self.skip

    def frames(self, samples: int) -> int:
        """Steps of a stream of this many samples."""
        return -(-(samples + self.skip) // self.hop)

    def padding(self, ending: np.ndarray, count: int) -> np.ndarray:
        """``(channels, count)`` samples to hear behind the end of a stream: it, mirrored."""
        return extend(ending, count)

    def start(self, first) -> WindowsCarry:
        """Return the carry before the first chunk, from ``(channels, 0)`` samples."""
        channels, sources = np.shape(first)[0], len(self.system.config.sources)
        tail = jnp.zeros((sources, channels, self.fade), jnp.float32)
        return WindowsCarry(np.zeros((channels, 0), np.float32), tail)

    def step(self, carry: WindowsCarry, chunk, keep=None) -> tuple[WindowsCarry, jax.Array]:
        """Separate the next samples of a stream.

        Args:
          carry: from :meth:`start` or the step before.
          chunk: ``(channels, n * hop)`` float32, for any n of at least 1.
          keep: not used; see :func:`jaxsep.live.live_step`.

        Returns:
          The carry after, and ``(sources, channels, n * hop)`` stems, of which the first of all steps begin
          ``skip`` samples before the input does.

        Raises:
          ValueError: a chunk of another length.
        """
        if chunk.shape[-1] % self.hop or not chunk.shape[-1]:
            raise ValueError(f"chunk.shape={chunk.shape}: expected a multiple of {self.hop} samples")
        if not carry.heard.shape[-1]:
            carry = carry._replace(heard=extend_before(chunk[:, : self.hop], self.system.segment))
        return self._step(self.variables, carry, chunk)

    def _separate(self, variables, carry, chunk):
        system, segment, hop = self.system, self.system.segment, self.hop
        x = jnp.concatenate([carry.heard, chunk], axis=-1)
        ends = range(segment + hop, x.shape[-1] + 1, hop)
        stems = system.separate_channels(variables, jnp.stack([x[:, end - segment : end] for end in ends]))
        kept = stems[..., segment - self.delay : segment - self.ahead]
        out, tail = cross_fade(kept * fade(hop + self.fade, self.fade), carry.tail)
        return WindowsCarry(x[:, -segment:], tail), out
