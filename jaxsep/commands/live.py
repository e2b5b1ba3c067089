"""``jaxsep live``: raw PCM from standard input, a stem as raw PCM to standard output, while it comes."""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Iterator

import numpy as np

from jaxsep.compilation import keep_compiled
from jaxsep.errors import AudioWarning, UserError
from jaxsep.live import LiveStep, LiveStream
from jaxsep.live_windows import LiveWindows
from jaxsep.separator import Separator

#: Seconds between the windows of models that hear whole ones.
_EVERY = 0.25

#: How audio files begin that are no raw samples.
_HEADERS = (b"RIFF", b"RF64", b"RIFX", b"FORM", b"fLaC", b"OggS", b".snd", b"caff")

#: Kind of sample -> its type in the stream (little endian), and full scale.
ENCODINGS = {"s16": ("<i2", 2**15), "s32": ("<i4", 2**31), "f32": ("<f4", 1.0)}


def live(options) -> int:
    """Separate until the input ends."""
    keep_compiled()
    separator = Separator.from_pretrained(options.model, segment=options.segment)
    separator.live_frames = 1
    step = separator.live = _step(separator, options)
    chosen = _chosen(options, separator.sources)
    if sys.stdout is None or sys.stdout.isatty():
        raise UserError("standard output: expected a pipe or a file for raw samples, not a terminal")
    if sys.stdin is None or sys.stdin.isatty():
        raise UserError("standard input: expected raw samples from a pipe or a file, not a terminal")
    if separator.system.config.channels == 2 and options.channels > 2:
        raise UserError(f"--channels {options.channels}: {options.model} hears two together; give 1 or 2")
    rate = options.rate or separator.sample_rate
    spent = _warm(step, max(options.channels, separator.system.config.channels))
    if not options.quiet:
        _announce(separator, step, options, rate, chosen)
        _warn_of_lagging(step.hop / separator.sample_rate, spent)
    clock = _Clock(rate)
    size = block_samples(step.hop, separator.sample_rate, rate)
    blocks = clock.reading(read_pcm(sys.stdin.fileno(), options.encoding, options.channels, size))
    for block in separator.stream(blocks, rate, options.channels):
        wanted = [sum(block.stems[name] for name in names) for names in chosen]
        write_pcm(sys.stdout.fileno(), np.concatenate(wanted), options.encoding)
        clock.written()
    if options.verbose:
        print(clock.report(), file=sys.stderr)
    return 0


def _step(separator, options) -> LiveStep:
    """How the model goes on: frame by frame if it can, else by windows."""
    if separator.live is not None:
        if options.every is not None or options.ahead is not None or options.speeds:
            raise UserError(
                f"{options.model} goes on frame by frame; --every, --ahead, --speeds: for models of windows"
            )
        return separator.live
    every, ahead = options.every or _EVERY, options.ahead or 0.0
    try:
        return LiveWindows(separator.system, separator.variables, every, ahead, options.speeds)
    except ValueError as error:
        raise UserError(f"--every, --ahead, --segment: {error}") from error


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


def block_samples(hop: int, model_rate: int, rate: int) -> int:
    """Samples to read at once: a hop, or where they are resampled, a hundredth of a second at most.

    A resampler keeps some samples back, so a block as long as a hop would complete it one block later.
    """
    return hop if rate == model_rate else max(1, min(round(hop * rate / model_rate), rate // 100))


def read_pcm(file: int, encoding: str, channels: int, count: int) -> Iterator[np.ndarray]:
    """Yield ``(channels, count)`` float32 blocks of interleaved samples, the last as long as it is.

    Args:
      file: a descriptor.
      encoding: of :data:`ENCODINGS`.
      channels, count: of a block.
    """
    kind, full = ENCODINGS[encoding]
    frame = channels * np.dtype(kind).itemsize
    waiting, begun = b"", False
    while data := os.read(file, count * frame - len(waiting)):
        waiting += data
        if not begun and len(waiting) >= 4:
            _check_raw(waiting[:4])
            begun = True
        if len(waiting) == count * frame:
            yield _floats(waiting, kind, full, channels)
            waiting = b""
    whole = len(waiting) // frame * frame
    if whole < len(waiting):
        message = f"standard input: ended {len(waiting) - whole} bytes into a frame of {frame}: left out"
        warnings.warn(message, AudioWarning, stacklevel=2)
    if whole:
        yield _floats(waiting[:whole], kind, full, channels)


def _check_raw(beginning):
    """Refuse a file with a header, which would be heard as a click and at the wrong rate."""
    if beginning in _HEADERS or beginning[:3] == b"ID3":
        raise UserError(
            "standard input: expected raw samples, not an audio file; make them by "
            "`ffmpeg -i FILE -f s16le -ac 1 -ar 22050 -`, or give the file to `jaxsep separate -`"
        )


def write_pcm(file: int, audio: np.ndarray, encoding: str) -> None:
    """Write ``(channels, samples)`` floats as interleaved samples, integers cut off at full scale."""
    kind, full = ENCODINGS[encoding]
    if encoding != "f32":
        audio = np.clip(np.round(audio.astype(np.float64) * full), -full, full - 1)
    data = memoryview(audio.T.astype(kind).tobytes())
    try:
        while data:
            data = data[os.write(file, data) :]
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UserError(f"standard output: cannot be written ({error.strerror})") from error


def _floats(data, kind, full, channels):
    block = np.frombuffer(data, kind).reshape(-1, channels).T / np.float32(full)
    return np.nan_to_num(block.astype(np.float32), posinf=0.0, neginf=0.0)


def _warm(step, channels) -> float:
    """Compile before the first sample comes; return the seconds that a step takes after."""
    stream = LiveStream(step, channels, 1)
    stream.push(np.zeros((channels, step.lead + 2 * step.hop), np.float32))
    times = []
    for _ in range(3):
        start = time.perf_counter()
        stream.push(np.zeros((channels, step.hop), np.float32))
        times.append(time.perf_counter() - start)
    return min(times)


def _announce(separator, step, options, rate, chosen):
    """What goes in and comes out, on standard error."""
    latency = f"{1e3 * step.delay / separator.sample_rate:.0f} ms"
    if rate != separator.sample_rate:
        latency += f" and what resampling to {separator.sample_rate} Hz takes"
    streams = f"{options.channels} in, {len(chosen) * options.channels} out"
    print(
        f"{separator.name}: {rate} Hz, {options.encoding}, {streams}; {latency} behind",
        file=sys.stderr,
        flush=True,
    )


def _warn_of_lagging(every, spent):
    """Say so when sound will come faster than it can be separated."""
    if spent > every:
        warnings.warn(
            f"{1e3 * every:.0f} ms of sound take {1e3 * spent:.0f} ms here, so the output will fall behind; "
            "give a longer --every, or take another model",
            AudioWarning,
            stacklevel=2,
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
