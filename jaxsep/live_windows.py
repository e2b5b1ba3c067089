"""Sound separated while it comes by systems that hear whole windows, such as U-Nets.

Every so many seconds the window that ends there is separated, and of its stems only the end is kept, faded
into what was kept before. Most of a window is heard again and again, so this takes ``segment / every`` times
the work of a file's separation, for stems that lag by a fraction of a second instead of by a window::

    live = LiveWindows(system, variables, every=0.25)
    stream = LiveStream(live, channels=1)
    stems = stream.push(block)                      # (channels, samples) -> (sources, channels, n)
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsep.compilation import compiler_options
from jaxsep.inference import cross_fade, extend, fade
from jaxsep.system import System


class WindowsCarry(NamedTuple):
    """What :meth:`LiveWindows.step` remembers between chunks."""

    heard: jax.Array
    """``(channels, segment)``: the input so far."""
    begun: jax.Array
    """``()`` bool: whether there was any."""
    tail: jax.Array
    """``(sources, channels, fade)``: the faded-out end of the output so far."""


class LiveWindows:
    """A system of windows as a step from carry to carry, for :class:`jaxsep.live.LiveStream`.

    It hears at the speed of the input alone, whatever ``speeds`` the system has. Before the first sample
    stands the mirrored beginning of the stream, since networks that never heard silence cut off sound do
    worse beside it.

    Args:
      system: any system.
      variables: its trained variables.
      every: seconds between windows. Less lags less, and costs more and some quality: what is kept is nearer
        to the windows' ends, where the network knows less of what follows.
      ahead: seconds at the end of each window that are heard and not kept: more lags more, and is better.

    Raises:
      ValueError: times that are not within a window.
    """

    #: Steps to take together where there is more to hear.
    most = 1

    def __init__(self, system: System, variables: dict, every: float = 0.25, ahead: float = 0.0):
        rate, segment = system.config.sample_rate, system.segment
        self.hop, self.ahead = round(every * rate), round(ahead * rate)
        self.fade = max(1, self.hop // 5)
        if self.hop < 1 or self.ahead < 0 or self.hop + self.fade + self.ahead > segment:
            raise ValueError(
                f"every={every}, ahead={ahead}: expected positive seconds, 0 or more, and 1.2 every + ahead "
                f"within a window of {segment / rate:.4g} s"
            )
        self.system, self.variables = System(replace(system.config, speeds=())), variables
        options = compiler_options(system.config.network)
        self._step = jax.jit(partial(self._separate, self.system), compiler_options=options)

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

    def behind(self, ending: np.ndarray, count: int) -> np.ndarray:
        """``(channels, count)`` samples to hear behind the end of a stream: it, mirrored."""
        return extend(ending, count)

    def start(self, first) -> WindowsCarry:
        """Return the carry before the first chunk, from ``(channels, 0)`` samples."""
        channels, sources = np.shape(first)[0], len(self.system.config.sources)
        return WindowsCarry(
            jnp.zeros((channels, self.system.segment), jnp.float32),
            jnp.asarray(False),
            jnp.zeros((sources, channels, self.fade), jnp.float32),
        )

    def step(self, carry: WindowsCarry, chunk, keep=None) -> tuple[WindowsCarry, jax.Array]:
        """Separate the next ``(channels, n * hop)`` samples.

        Args:
          carry: from :meth:`start` or the step before.
          chunk: float32 samples, for any n of at least 1.
          keep: not used; see :func:`jaxsep.live.live_step`.

        Returns:
          The carry after, and ``(sources, channels, n * hop)`` stems, of which the first of all steps begin
          ``skip`` samples before the input does.
        """
        if chunk.shape[-1] % self.hop or not chunk.shape[-1]:
            raise ValueError(f"chunk.shape={chunk.shape}: expected a multiple of {self.hop} samples")
        return self._step(self.variables, carry, chunk)

    def _separate(self, system, variables, carry, chunk):
        segment, hop = system.segment, self.hop
        before = jnp.pad(chunk[:, :hop], ((0, 0), (segment, 0)), mode="symmetric")[:, :segment]
        x = jnp.concatenate([jnp.where(carry.begun, carry.heard, before), chunk], axis=-1)
        ends = range(segment + hop, x.shape[-1] + 1, hop)
        stems = system.separate_channels(variables, jnp.stack([x[:, end - segment : end] for end in ends]))
        kept = stems[..., segment - self.delay : segment - self.ahead]
        out, tail = cross_fade(kept * fade(hop + self.fade, self.fade), carry.tail)
        return WindowsCarry(x[:, -segment:], jnp.asarray(True), tail), out
