"""``jaxsep live``: raw PCM from standard input, a stem as raw PCM to standard output, while it comes."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator

import numpy as np

from jaxsep.compilation import keep_compiled
from jaxsep.errors import UserError
from jaxsep.live import LiveStream, why_not_live
from jaxsep.separator import Separator

#: Kind of sample -> its type in the stream (little endian), and full scale.
ENCODINGS = {"s16": ("<i2", 2**15), "s32": ("<i4", 2**31), "f32": ("<f4", 1.0)}


def live(options) -> int:
    """Separate until the input ends."""
    keep_compiled()
    separator = Separator.from_pretrained(options.model)
    separator.live_frames = 1
    if separator.live is None:
        reason = why_not_live(separator.system.config)
        raise UserError(
            f"--model {options.model}: cannot go on while sound comes ({reason}); take speech_live, or "
            "'jaxsep separate' for files"
        )
    chosen = _chosen(options, separator.sources)
    if sys.stdout.isatty():
        raise UserError("standard output: expected a pipe or a file for raw samples, not a terminal")
    if sys.stdin.isatty():
        raise UserError("standard input: expected raw samples from a pipe or a file, not a terminal")
    rate, step = options.rate or separator.sample_rate, separator.live
    _warm(step, options.channels, separator.system.config.channels)
    if not options.quiet:
        _announce(separator, options, rate, chosen)
    clock = _Clock(rate)
    hop = max(1, round(step.hop * rate / separator.sample_rate))
    blocks = clock.reading(read_pcm(sys.stdin.fileno(), options.encoding, options.channels, hop))
    for block in separator.stream(blocks, rate, options.channels):
        wanted = [sum(block.stems[name] for name in names) for names in chosen]
        write_pcm(sys.stdout.fileno(), np.concatenate(wanted), options.encoding)
        clock.written()
    if options.verbose:
        print(clock.report(), file=sys.stderr)
    return 0


def _chosen(options, sources) -> list[list[str]]:
    """The stems of each output, summed."""
    names = [name for name in (options.stem, options.without) if name]
    if options.stem == "all":
        return [[name] for name in sources]
    if unknown := [name for name in names if name not in sources]:
        raise UserError(f"stem {unknown[0]!r}: {options.model} has {', '.join(sources)}; or 'all'")
    if options.without:
        return [[name for name in sources if name != options.without]]
    if options.stem:
        return [[options.stem]]
    raise UserError(f"--stem or --without: expected one of {', '.join(sources)}; or --stem all")


def read_pcm(file: int, encoding: str, channels: int, count: int) -> Iterator[np.ndarray]:
    """Yield ``(channels, count)`` float32 blocks of interleaved samples, the last as long as it is.

    Args:
      file: a descriptor.
      encoding: of :data:`ENCODINGS`.
      channels, count: of a block.
    """
    kind, full = ENCODINGS[encoding]
    frame = channels * np.dtype(kind).itemsize
    waiting = b""
    while data := os.read(file, count * frame - len(waiting)):
        waiting += data
        if len(waiting) == count * frame:
            yield _floats(waiting, kind, full, channels)
            waiting = b""
    whole = len(waiting) // frame * frame
    if whole:
        yield _floats(waiting[:whole], kind, full, channels)


def write_pcm(file: int, audio: np.ndarray, encoding: str) -> None:
    """Write ``(channels, samples)`` floats as interleaved samples, integers cut off at full scale."""
    kind, full = ENCODINGS[encoding]
    if encoding != "f32":
        audio = np.clip(np.round(audio.astype(np.float64) * full), -full, full - 1)
    data = memoryview(audio.T.astype(kind).tobytes())
    while data:
        data = data[os.write(file, data) :]


def _floats(data, kind, full, channels):
    block = np.frombuffer(data, kind).reshape(-1, channels).T / np.float32(full)
    return np.nan_to_num(block.astype(np.float32), posinf=0.0, neginf=0.0)


def _warm(step, channels, together):
    """Compile before the first sample comes."""
    heard = max(channels, together)
    LiveStream(step, heard, 1).push(np.zeros((heard, step.lead + 2 * step.hop), np.float32))


def _announce(separator, options, rate, chosen):
    """What goes in and comes out, on standard error."""
    latency = f"{1e3 * separator.live.delay / separator.sample_rate:.0f} ms"
    if rate != separator.sample_rate:
        latency += f" and what resampling to {separator.sample_rate} Hz takes"
    streams = f"{options.channels} in, {len(chosen) * options.channels} out"
    print(
        f"{separator.name}: {rate} Hz, {options.encoding}, {streams}; {latency} behind",
        file=sys.stderr,
        flush=True,
    )


class _Clock:
    """How long blocks take, from read to written."""

    def __init__(self, rate):
        self._rate, self._samples, self._spent, self._worst = rate, 0, 0.0, 0.0
        self._since: float | None = None

    def reading(self, blocks):
        """The same blocks; work on each counts from when it is there."""
        for block in blocks:
            self._samples += block.shape[1]
            self._since = time.perf_counter()
            yield block
            self.written()
            self._since = None

    def written(self):
        if self._since is not None:
            now = time.perf_counter()
            self._spent += now - self._since
            self._worst = max(self._worst, now - self._since)
            self._since = now

    def report(self) -> str:
        """Seconds of sound, of work, and of the worst block."""
        seconds = self._samples / self._rate
        share = self._spent / seconds if seconds else 0.0
        return (
            f"{seconds:.2f} s of sound; real-time factor {share:.3f}; worst block {1e3 * self._worst:.1f} ms"
        )
