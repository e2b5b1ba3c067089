"""Sound separated while it comes: causal systems go on frame by frame, equal to the whole waveform's stems.

A pure step maps a carry and the next samples to a carry and the next stems. The carry holds the end of the
input, the state of the network, and what later frames will still add to. Nothing is computed twice, and the
stems lag behind the input by the length of the transform alone::

    live = Live(system, variables)
    carry = live.start(first)                       # (channels, live.lead) samples
    carry, stems = live.step(carry, chunk)          # (channels, n * hop) -> (sources, channels, n * hop)
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxsep._checks import check_floats
from jaxsep._queue import Queue
from jaxsep.codecs.normalizer import NoNormalizer
from jaxsep.codecs.stft import Spectral
from jaxsep.compilation import compiler_options
from jaxsep.networks.network import goes_on
from jaxsep.spectral import get_window, overlap_add, stft
from jaxsep.system import System, SystemConfig


class LiveCarry(NamedTuple):
    """What :meth:`Live.step` remembers between chunks."""

    heard: jax.Array
    """``(channels, n_fft - hop)``: the end of the input so far."""
    network: Any
    """The network's state."""
    tail: jax.Array
    """``(sources, channels, n_fft - hop)``: overlapping frames so far, of samples that are not done."""
    weight: jax.Array
    """``(n_fft - hop,)``: their summed squared windows."""


def why_not_live(config: SystemConfig) -> str:
    """Why a system cannot go on frame by frame; empty where it can.

    Example:
      >>> from jaxsep.networks import LSTMMask
      >>> why_not_live(SystemConfig(network=LSTMMask(layers=1, width=8)))
      "codec.level='peak': the level of a piece is known at its end; 'none' is live"
    """
    codec = config.codec
    if not config.network.causal:
        return f"network.name={config.network.name!r}: its outputs depend on later frames"
    if config.speeds:
        return f"speeds={config.speeds}: other playback speeds need the whole"
    if not isinstance(codec.transform, Spectral) or not codec.phased:
        names = (
            f"codec.transform.name={codec.transform.name!r}, codec.inversion.name={codec.inversion.name!r}"
        )
        return f"{names}: 'stft' or 'mel' with 'mixture_phase' is live"
    if codec.level != "none":
        return f"codec.level={codec.level!r}: the level of a piece is known at its end; 'none' is live"
    if not isinstance(codec.normalizer, NoNormalizer):
        return (
            f"codec.normalizer.name={codec.normalizer.name!r}: its statistics are of a whole; 'none' is live"
        )
    built = config.network.build(sources=len(config.sources), channels=config.channels, bins=codec.num_bins)
    if not goes_on(built):
        return f"network.name={config.network.name!r}: has no start and advance to go on by"
    return ""


class Live:
    """A causal system as a step from carry to carry.

    Args:
      system: a system for which :func:`why_not_live` finds no reason.
      variables: its trained variables.

    Raises:
      ValueError: the system cannot go on frame by frame.
    """

    #: Steps to take together where there is more to hear: more are faster, one is soonest.
    max_steps = 64

    def __init__(self, system: System, variables: dict):
        if reason := why_not_live(system.config):
            raise ValueError(reason)
        self.system, self.variables = system, variables
        self._options = tuple(compiler_options(system.config.network).items())
        transform = system.config.codec.transform
        self.n_fft, self.hop = transform.n_fft, transform.hop_length

    @property
    def lead(self) -> int:
        """Samples that :meth:`start` takes."""
        return self.n_fft - self.n_fft // 2 - self.hop

    @property
    def skip(self) -> int:
        """Samples before the first of the input with which the output begins."""
        return self.n_fft // 2

    @property
    def delay(self) -> int:
        """Algorithmic latency in samples: the most that a sample's stems wait for, in chunks of a hop."""
        return self.n_fft

    def frames(self, samples: int) -> int:
        """Frames of a stream of this many samples; those that begin behind them are not part of the whole."""
        return self.system.config.codec.frames(samples)

    def padding(self, ending: np.ndarray, count: int) -> np.ndarray:
        """``(channels, count)`` samples to hear behind the end of a stream: silence, as the whole has."""
        return np.zeros((len(ending), count), np.float32)

    def start(self, first) -> LiveCarry:
        """Return the carry before the first chunk, from the first ``(channels, lead)`` samples."""
        return live_start(self.system, jnp.asarray(first, jnp.float32))

    def step(self, carry: LiveCarry, chunk, keep=None) -> tuple[LiveCarry, jax.Array]:
        """Separate the next ``(channels, n * hop)`` samples; see :func:`live_step`."""
        return _compiled_step(self._options)(self.system, self.variables, carry, chunk, keep)


def live_start(system: System, first: jax.Array) -> LiveCarry:
    """The carry of a stream that begins with ``(channels, lead)`` samples, behind silence."""
    transform, together = system.config.codec.transform, system.config.channels
    n_fft, hop = transform.n_fft, transform.hop_length
    channels, samples = first.shape
    if samples != n_fft - n_fft // 2 - hop or channels % together:
        raise ValueError(
            f"first.shape={first.shape}: expected (channels, {n_fft - n_fft // 2 - hop}), and "
            f"{together} channels together"
        )
    overlap = n_fft - hop
    return LiveCarry(
        jnp.pad(first, ((0, 0), (n_fft // 2, 0))),
        system.network.start(channels // together),
        jnp.zeros((len(system.config.sources), channels, overlap), jnp.float32),
        jnp.zeros(overlap, jnp.float32),
    )


def live_step(
    system: System, variables: dict, carry: LiveCarry, chunk: jax.Array, keep: jax.Array | None = None
) -> tuple[LiveCarry, jax.Array]:
    """Separate the next samples of a stream: a pure function.

    Args:
      system, variables: a causal system.
      carry: from :func:`live_start` or the step before.
      chunk: ``(channels, n * hop)`` float32, for any n of at least 1; the hop is the transform's.
      keep: ``(n,)`` float32, 0 for frames that are not part of the whole: those that begin behind its end.

    Returns:
      The carry after, and ``(sources, channels, n * hop)`` stems. The first of all steps begin
      ``n_fft // 2`` samples before the input does.

    Example:
      >>> from jaxsep.codecs import STFT, Codec
      >>> from jaxsep.networks import LSTMMask
      >>> codec = Codec(STFT(n_fft=256, hop_length=64), level="none")
      >>> system = System(SystemConfig(codec=codec, network=LSTMMask(layers=1, width=8)))
      >>> variables = system.init(jax.random.key(0))
      >>> x = jax.random.normal(jax.random.key(1), (1, 64 + 10 * 64))
      >>> carry, stems = live_step(system, variables, live_start(system, x[:, :64]), x[:, 64:])
      >>> whole = system.separate_channels(variables, x)
      >>> bool(jnp.allclose(stems[..., 128:], whole[..., :512], atol=1e-5))
      True
    """
    codec, together = system.config.codec, system.config.channels
    transform = codec.transform
    n_fft, hop = transform.n_fft, transform.hop_length
    channels, samples = chunk.shape
    count, rest = divmod(samples, hop)
    if rest or not count:
        raise ValueError(f"chunk.shape={chunk.shape}: expected a multiple of {hop} samples")
    window = jnp.asarray(get_window(transform.window, n_fft), jnp.float32)
    heard = jnp.concatenate([carry.heard, chunk], axis=-1)
    options = dict(n_fft=n_fft, hop_length=hop, window=transform.window)
    values = stft(heard, center=False, **options)
    values = values.reshape(channels // together, together, n_fft // 2 + 1, count)
    encoded = codec.encode_values(values, jnp.ones(len(values), jnp.float32))
    outputs, network = system.network.advance(variables, carry.network, encoded.features)
    estimates = codec.decode(encoded, outputs, transform.samples(count), system.residual)
    spectra = codec.spectra(encoded, estimates, system.residual)
    spectra = jnp.swapaxes(spectra, 0, 1).reshape(-1, channels, n_fft // 2 + 1, count)
    kept = jnp.ones(count, jnp.float32) if keep is None else keep
    frames = jnp.fft.irfft(jnp.swapaxes(spectra, -1, -2), n=n_fft) * (window * kept[:, None])
    tail = overlap_add(frames, hop).at[..., : n_fft - hop].add(carry.tail)
    weight = overlap_add(jnp.square(window) * kept[:, None], hop).at[: n_fft - hop].add(carry.weight)
    done = weight[:samples]
    stems = tail[..., :samples] / jnp.where(done > jnp.finfo(done.dtype).tiny, done, 1.0)
    return LiveCarry(heard[:, samples:], network, tail[..., samples:], weight[samples:]), stems


@cache
def _compiled_step(options: tuple):
    """:func:`live_step`, one program of a system and a number of frames, however many streams there are."""
    return jax.jit(live_step, static_argnums=0, compiler_options=dict(options))


class LiveStep(Protocol):
    """What a stream asks of its step: :class:`Live`, :class:`jaxsep.live_windows.LiveWindows`, or yours."""

    system: System
    """Whose ``config`` names the sources."""
    hop: int
    """Samples of a step."""
    max_steps: int
    """Steps to take together where there is more to hear: more are faster, one is soonest."""

    @property
    def lead(self) -> int:
        """Samples that :meth:`start` takes."""

    @property
    def skip(self) -> int:
        """Samples before the first of the input with which the output begins."""

    @property
    def delay(self) -> int:
        """Algorithmic latency in samples: the most that a sample's stems wait for."""

    def frames(self, samples: int) -> int:
        """Steps that count in a stream of this many samples: ``keep`` is 0 for those behind."""

    def padding(self, ending: np.ndarray, count: int) -> np.ndarray:
        """``(channels, count)`` samples to hear behind a stream that ends with ``ending``."""

    def start(self, first) -> Any:
        """Return the carry before the first chunk, ``heard`` and more, from ``(channels, lead)`` samples."""

    def step(self, carry: Any, chunk, keep=None) -> tuple[Any, jax.Array]:
        """``(channels, n * hop)`` samples -> the carry after, and ``(sources, channels, n * hop)`` stems."""


class LiveStream:
    """Blocks of any lengths in, stems as soon as they are done out; in all exactly as long.

    Args:
      live: the step.
      channels: of the stream.
      frames: most hops of a step; as many as the step takes well when None.
      soon: give stems as soon as they can be. Otherwise every step has that many hops, the last ones
        behind the end, so that one program is compiled: for what is heard as a whole.
    """

    def __init__(self, live: LiveStep, channels: int, frames: int | None = None, *, soon: bool = True):
        self._live, self._channels, self._most = live, channels, frames or live.max_steps
        self._soon = soon
        self._waiting = Queue(channels)
        self._carry: Any = None
        self._frames = self._samples = self._given = 0
        self._skip, self._finished = live.skip, False

    def push(self, block: np.ndarray) -> np.ndarray:
        """``(channels, samples)`` floats of the input -> ``(sources, channels, n)`` of the stems.

        Raises:
          ValueError: integers, or the stream was finished.
        """
        if self._finished:
            raise ValueError("push: this stream was finished; start another")
        check_floats("block", block)
        self._samples += block.shape[1]
        self._waiting.put(np.array(block))  # a copy, for the caller may fill its buffer again
        return self._run()

    def finish(self) -> np.ndarray:
        """The rest of the stems, once the input has ended."""
        live, self._finished = self._live, True
        if not self._samples:
            return self._none()
        whole = live.frames(self._samples)
        # As many frames as reach the last sample; those behind the whole's last do not count.
        needed = -(-(self._samples + live.skip) // live.hop)
        if not self._soon:
            needed += -(needed - self._frames) % self._most
        missing = live.lead + needed * live.hop - self._samples
        rest = self._waiting.take(self._waiting.size)
        ending = rest if self._carry is None else np.concatenate([self._carry.heard, rest], axis=1)
        self._waiting.put(np.concatenate([rest, live.padding(ending, missing)], axis=1))
        return self._run(whole)

    def _run(self, whole=None):
        live, out = self._live, [self._none()]
        if self._carry is None:
            if self._waiting.size < live.lead:
                return out[0]
            self._carry = live.start(self._waiting.take(live.lead))
        while count := min(self._most, self._waiting.size // live.hop):
            if count < self._most and not self._soon:
                break
            count = count if count == self._most else 1 << (count.bit_length() - 1)  # few programs
            chunk = self._waiting.take(count * live.hop)
            keep = np.ones(count, np.float32)
            if whole is not None:
                keep[max(0, whole - self._frames) :] = 0
            self._carry, found = live.step(self._carry, chunk, keep)
            self._frames += count
            stems = np.asarray(found)[..., self._skip :]
            self._skip = max(0, self._skip - count * live.hop)
            stems = stems[..., : self._samples - self._given]
            self._given += stems.shape[-1]
            out.append(stems)
        return np.concatenate(out, axis=-1)

    def _none(self):
        return np.zeros((len(self._live.system.config.sources), self._channels, 0), np.float32)
