"""Separator: a model and its rate, arrays in and out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import tee, zip_longest
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from jaxsep._checks import check_floats, samples_last
from jaxsep._queue import Queue
from jaxsep.audio import Resampler
from jaxsep.compilation import compiler_options
from jaxsep.errors import AudioWarning, UserError
from jaxsep.hub import find_model, load_model, save_model
from jaxsep.inference import extend, extend_before, init_carry, stream_step
from jaxsep.live import Live, LiveStep, LiveStream, why_not_live
from jaxsep.parts import load_plugin
from jaxsep.system import System


class Block(NamedTuple):
    """A piece of a stream: what went in and what came out, aligned."""

    mixture: np.ndarray
    """``(channels, samples)`` float32."""
    stems: dict[str, np.ndarray]
    """Name -> ``(channels, samples)`` float32."""


class Separator:
    """Separates waveforms of any length, rate and number of channels with one model.

    Args:
      system: the system.
      variables: its trained variables.
      name: the model's name, for folders and messages.
      windows: windows computed together; more is faster on an accelerator and takes memory. Without, 32
        there, and on a CPU as many as make up six seconds of one channel at 44.1 kHz, up to four.
      wiener: iterations of the multichannel Wiener filter over each window; 0 for none. It works behind any
        model of two stems or more, and over all channels of a file even where the model hears each alone.
      shifts: separate this many times, begun at other places within half a second, and average: a little
        better, so many times slower.
      progress: called as ``progress(done, total)`` in samples of the input on the way; ``total`` is None
        where the length is not known.

    Example:
      >>> separator = Separator.from_pretrained("vocals")
      >>> stems = separator(np.zeros(8000, np.float32), 8000)
      >>> {name: stem.shape for name, stem in stems.items()}
      {'vocals': (8000,), 'accompaniment': (8000,)}
    """

    def __init__(
        self,
        system: System,
        variables: dict,
        name: str = "model",
        windows: int | None = None,
        wiener: int = 0,
        shifts: int = 1,
        progress: Callable[[int, int | None], object] | None = None,
    ):
        if shifts < 1:
            raise UserError(f"shifts={shifts}: expected 1 or more", "shifts")
        self.shifts, self.progress = shifts, progress
        if wiener < 0 or (wiener and len(system.config.sources) < 2):
            raise UserError(
                f"wiener={wiener}: expected 0 or more iterations, and a model of two stems or more; "
                f"{name} has {len(system.config.sources)}",
                "wiener",
            )
        self.system, self.name, self.wiener = system, name, wiener
        self.variables = jax.device_put(variables)
        self.windows = windows or _together(system)
        options = compiler_options(system.config.network)
        self._step = jax.jit(partial(_step, system, wiener), compiler_options=options)
        whole = _by_windows(system.config, wiener, shifts)
        self.live: LiveStep | None = None if whole else Live(system, self.variables)
        """The step of a system that goes on frame by frame instead of by windows; None for others, which a
        :class:`jaxsep.live_windows.LiveWindows` put here has separate with less delay. Copies and exports
        are without that."""
        self.live_frames: int | None = None
        """Most steps that it takes at once: more are faster, one is soonest; None for what it takes well."""

    def __reduce__(self):
        """Pickled and copied as its config and variables, without its compiled program."""
        variables = jax.tree.map(np.asarray, self.variables)
        return _rebuilt, (self.system.config, variables, self.name, self.windows, self.wiener, self.shifts)

    def __repr__(self) -> str:
        stems, channels = ", ".join(self.sources), ("mono", "stereo")[self.system.config.channels - 1]
        return f"Separator({self.name!r}: {stems}; {self.sample_rate} Hz, {channels})"

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path,
        *,
        plugins: Iterable[str] = (),
        segment: float | None = None,
        overlap: float | None = None,
        **options,
    ) -> Separator:
        """Load a model.

        Args:
          model: the name of a shipped model, a published model's folder, or a training run's.
          plugins: Python files or modules to import first, whose parts the model is made of.
          segment: seconds of a window; the model's own when None.
          overlap: share of a window that neighbors share, at most 0.5; the model's own when None.
          **options: ``windows``, ``wiener``, ``shifts``, ``progress``.

        Raises:
          UserError: there is no such model, or it is damaged.
        """
        for plugin in plugins:
            load_plugin(plugin)
        folder = find_model(model)
        system, variables, info = load_model(folder)
        if segment is not None or overlap is not None:
            live = not _by_windows(system.config, options.get("wiener", 0), options.get("shifts", 1))
            system = _rewindowed(system, segment, overlap, live)
        return cls(system, variables, name=str(info.get("name", folder.name)), **options)

    def save_pretrained(self, folder: str | Path, **info) -> Path:
        """Publish the model to a folder that :meth:`from_pretrained` and ``-m`` take; return the folder.

        Args:
          folder: to make: weights, config and card.
          **info: entries of config and card: ``description``, ``license``, ``scores``.
        """
        variables = jax.tree.map(np.asarray, self.variables)
        return save_model(Path(folder), self.system, variables, info={"name": self.name, **info})

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the stems."""
        return self.system.config.sources

    @property
    def sample_rate(self) -> int:
        """Hz that the model works at; other rates are resampled on the way."""
        return self.system.config.sample_rate

    def __call__(self, waveform, sample_rate: int) -> Stems:
        """Separate a waveform.

        Args:
          waveform: ``(samples,)`` or ``(channels, samples)`` floats; each channel on its own, or
            two together by a stereo model.
          sample_rate: Hz of the waveform.

        Returns:
          A dictionary, name -> float32 numpy array of the waveform's shape, rate and level; a notebook shows
          it as players. The stems sum to the waveform; what lies above the model's band is in the stem that
          its config calls ``residual``.

        Raises:
          ValueError: integers, another shape, more channels than samples, an empty array, NaN or
            infinity, or a rate that is no number of Hz from 1 to 10 million.
        """
        x = np.asarray(waveform)
        check_floats("waveform", x)
        if x.ndim not in (1, 2) or 0 in x.shape:
            raise ValueError(f"waveform.shape={x.shape}: expected (samples,) or (channels, samples)")
        if x.ndim == 2:
            samples_last("waveform", x.shape)
        with np.errstate(over="ignore"):
            channels = np.atleast_2d(x).astype(np.float32)
        if not np.isfinite(channels).all():
            raise ValueError("waveform: holds NaN, infinity or more than float32 does; replace them first")
        blocks = list(self.stream([channels], sample_rate, len(channels), channels.shape[1]))
        stems = {s: np.concatenate([b.stems[s] for b in blocks], axis=1) for s in self.sources}
        return Stems({name: stem.reshape(x.shape) for name, stem in stems.items()}, sample_rate=sample_rate)

    def stream(
        self,
        blocks: Iterable[np.ndarray],
        sample_rate: int,
        channels: int,
        samples: int | None = None,
    ) -> Iterator[Block]:
        """Separate a stream, with memory that does not grow with its length.

        Args:
          blocks: ``(channels, samples)`` float32 arrays of any lengths.
          sample_rate: Hz of the stream.
          channels: number of channels.
          samples: the stream's length where it is known: short input is then computed in fewer
            windows, and a causal model takes many frames at once, not each as soon as it is there.

        Yields:
          Aligned pieces of the mixture and its stems; together they have the stream's length.
        """
        if isinstance(sample_rate, (str, bool)) or not 1 <= float(sample_rate) <= 1e7:
            raise ValueError(f"sample_rate={sample_rate!r}: expected a number of Hz from 1 to 10 million")
        if self.system.config.channels == 2 and channels > 2:
            raise ValueError(
                f"channels={channels}: the model {self.name} hears two together; give one or two, "
                "or each pair alone"
            )
        down = Resampler(sample_rate, self.sample_rate, channels)
        ups = [Resampler(self.sample_rate, sample_rate, channels) for _ in self.sources]
        mixture, stems = Queue(channels), [Queue(channels) for _ in self.sources]
        length = None if samples is None else round(samples * self.sample_rate / sample_rate)
        done = 0

        def watched():
            for block in blocks:
                block = np.array(block)  # a copy, for the caller may fill its buffer again
                mixture.put(block)
                yield down.push(block)
            yield down.finish()

        for piece in self._averaged(watched(), channels, length):
            for queue, up, stem in zip(stems, ups, piece, strict=True):
                queue.put(up.push(stem))
            done += round(piece.shape[-1] * sample_rate / self.sample_rate)
            if self.progress is not None:
                self.progress(done if samples is None else min(done, samples), samples)
            yield from self._aligned(mixture, stems, min(mixture.size, *(q.size for q in stems)))
        for queue, up in zip(stems, ups, strict=True):
            queue.put(up.finish())
            queue.put(np.zeros((channels, max(0, mixture.size - queue.size)), np.float32))
        yield from self._aligned(mixture, stems, mixture.size)

    def _averaged(self, blocks, channels, samples):
        """The mean over ``shifts`` separations, of which the windows of each begin elsewhere."""
        if self.shifts == 1:
            yield from self._separate(blocks, channels, samples)
            return
        copies = tee(blocks, self.shifts)
        most = self.sample_rate // 2
        delays = [round(k * most / self.shifts) for k in range(self.shifts)]
        streams = [self._delayed(*each, channels, samples) for each in zip(copies, delays, strict=True)]
        queues = [Queue(channels, len(self.sources)) for _ in streams]
        for pieces in zip_longest(*streams):
            for queue, piece in zip(queues, pieces, strict=True):
                if piece is not None:
                    queue.put(piece)
            count = min(queue.size for queue in queues)
            if count:
                yield sum(queue.take(count) for queue in queues) / self.shifts

    def _delayed(self, blocks, delay, channels, samples):
        """Separate behind so many samples of mirrored left context, which are cut off again."""

        def behind():
            iterator = (block for block in blocks if block.shape[1])
            first = next(iterator, None)
            if first is None:
                return
            yield extend_before(first, delay)
            yield first
            yield from iterator

        skip = delay
        for piece in self._separate(behind(), channels, None if samples is None else samples + delay):
            skip, cut = max(0, skip - piece.shape[-1]), min(skip, piece.shape[-1])
            if cut < piece.shape[-1]:
                yield piece[..., cut:]

    def _separate(self, blocks, channels, samples):
        """Yield ``(sources, channels, n)`` at the model's rate, in all as long as ``blocks``."""
        if self.system.config.channels == 2 and channels == 1:  # heard on both, and averaged
            both = self._separate((np.repeat(block, 2, axis=0) for block in blocks), 2, samples)
            yield from (stems.mean(axis=1, keepdims=True) for stems in both)
            return
        if self.live is not None:
            if self.wiener:
                raise ValueError(f"wiener={self.wiener}: a filter of whole windows; not while sound comes")
            going = LiveStream(self.live, channels, self.live_frames, soon=samples is None)
            yield from map(going.push, blocks)
            yield going.finish()
            return
        segment, overlap = self.system.segment, self.system.overlap
        hop = segment - overlap
        needed = self.windows if samples is None else -(-(samples + overlap) // hop)
        chunk = hop * max(1, min(self.windows, needed))
        carry, queue, skip, left = None, Queue(channels), overlap, 0
        heard = np.zeros((channels, 0), np.float32)

        def run(x):
            nonlocal carry, skip, left, heard
            heard = np.concatenate([heard, x], axis=1)[:, -segment:]
            carry = init_carry(len(self.sources), channels, overlap, x) if carry is None else carry
            carry, out = self._within_memory(carry, x)
            out = out[..., skip:]
            skip = max(0, skip - x.shape[1])
            out = out[..., :left]
            left -= out.shape[-1]
            return out

        for block in blocks:
            queue.put(block)
            left += block.shape[1]
            while queue.size >= chunk:
                yield run(queue.take(chunk))
        if left > 0:
            rest = queue.take(queue.size)
            ending = np.concatenate([heard, rest], axis=1)[:, -segment:]
            missing = -(-(left + skip) // chunk) * chunk - rest.shape[1]
            queue.put(np.concatenate([rest, extend(ending, missing)], axis=1))
        while queue.size:
            yield run(queue.take(chunk))

    def _within_memory(self, carry, x):
        """Separate a chunk; by smaller batches of windows from where the device's memory ran out."""
        hop = self.system.segment - self.system.overlap
        out, start = [], 0
        while start < x.shape[1]:
            part = x[:, start : start + hop * self.windows]
            try:
                after, stems = self._step(self.variables, carry, part)
                out.append(np.asarray(stems))
            except jax.errors.JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error) or part.shape[1] <= hop:
                    raise
                self.windows = min(self.windows, part.shape[1] // hop // 2)  # another thread's may be less
                note = (
                    f"{self.name}: the device is out of memory; going on with {self.windows} windows at once"
                )
                warnings.warn(note, AudioWarning, stacklevel=2)
                continue
            carry, start = after, start + part.shape[1]
        return carry, np.concatenate(out, axis=-1)

    def _aligned(self, mixture, stems, count):
        """Yield ``count`` samples; the residual stem is what the others leave of the mixture."""
        if not count:
            return
        whole = mixture.take(count)
        named = dict(zip(self.sources, (q.take(count) for q in stems), strict=True))
        others = [stem for name, stem in named.items() if name != self.system.config.residual]
        named[self.system.config.residual] = whole - sum(others, np.zeros_like(whole))
        yield Block(whole, named)


def _step(system, wiener, variables, carry, chunk):
    separate = partial(system.separate_channels, variables, wiener=wiener)
    return stream_step(separate, carry, chunk, segment=system.segment)


def _together(system):
    """Windows to compute together: long ones keep a CPU's cores busy one by one, and take memory."""
    if jax.default_backend() != "cpu":
        return 32
    return min(4, max(1, 2**18 // (system.segment * system.config.channels)))


def _rebuilt(config, *arguments):
    return Separator(System(config), *arguments)


def _by_windows(config, wiener, shifts) -> bool:
    """Whether a system is heard by windows, not frame by frame."""
    return bool(wiener or shifts > 1 or why_not_live(config))


def _rewindowed(system, segment, overlap, live):
    """The same system with other windows."""
    config = system.config
    if live:
        option = "segment" if segment is not None else "overlap"
        raise UserError(f"{option}: this model goes on frame by frame, and has no windows", option)
    seconds = config.segment_seconds if segment is None else segment
    if segment is not None and config.network.window:
        raise UserError(f"segment={segment}: this model takes windows of one length alone", "segment")
    share = config.overlap_seconds / config.segment_seconds if overlap is None else overlap
    try:
        return System(replace(config, segment_seconds=seconds, overlap_seconds=share * seconds))
    except ValueError as error:
        raise UserError(f"segment={segment}, overlap={overlap}: {error}", "segment") from error


class Stems(dict):
    """Stems by their names; a notebook shows a player for each."""

    def __init__(self, stems, *, sample_rate: int):
        super().__init__(stems)
        self.sample_rate = sample_rate

    def _repr_html_(self) -> str:
        from jaxsep.report import players

        return players(self, self.sample_rate)

    def __reduce__(self):
        return partial(Stems, sample_rate=self.sample_rate), (dict(self),)
