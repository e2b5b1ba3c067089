"""Reading audio files in blocks, checked for damage."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jaxsep.audio.containers import Contents, look
from jaxsep.audio.formats import BLOCK, FFMPEG_SUFFIXES, MAX_CHANNELS, MAX_RATE, MIN_RATE, file_name, show
from jaxsep.audio.opening import UNKNOWN, open_part, open_sound, open_stream, spooled
from jaxsep.audio.resampling import Resampler
from jaxsep.errors import AudioWarning, UserError


class AudioReader:
    """An open audio file, read in blocks.

    It is decoded from end to end whatever its header says of the length: MP3 files without a Xing
    header, chained Ogg files, FLAC and WAV files whose writer could not go
    back to fill in the length. Containers that libsndfile does not read (m4a, mp4, webm and the like) are
    decoded by ffmpeg, their first audio stream.

    Args:
      path: a file, or a pipe, which is copied to a temporary file first; ``-`` for the standard input.
      strict: refuse a file that ends before the length its header states, instead of warning.
      sanitize: replace NaN and infinite samples by zero and count them, instead of refusing.
      stream: number of the audio stream, from 0, to decode by ffmpeg; by default ffmpeg decodes the first of
        containers that libsndfile does not read, and nothing else.

    Raises:
      UserError: the file is missing, unreadable, not audio, empty, or damaged (on reading).

    Attributes:
      sample_rate: Hz.
      channels: number of channels.
      frames: number of samples of each channel that the file is believed to hold; None when unknown.
      sanitized: how many samples were replaced so far.
    """

    def __init__(self, path, *, strict: bool = False, sanitize: bool = False, stream: int | None = None):
        self.path, self.strict, self.sanitize, self.sanitized = os.fspath(path), strict, sanitize, 0
        self._copy = spooled(path)
        self._source = path if self._copy is None else self._copy.name
        try:
            self._check_file()
            self._open = self._opening(stream)
            first = self._next()
            self.sample_rate, self.channels = first.samplerate, first.channels
            self._first = first
            self._check_header()
        except BaseException:
            self.close()
            raise

    def _check_file(self):
        if not os.path.exists(self._source):
            raise UserError(f"{show(self.path)}: there is no such file")
        if os.path.isdir(self._source):
            raise UserError(f"{show(self.path)}: is a folder; name the files in it")
        try:
            with open(self._source, "rb") as file:
                if os.fstat(file.fileno()).st_size == 0:
                    raise UserError(f"{show(self.path)}: the file is empty")
        except OSError as error:
            raise UserError(f"{show(self.path)}: cannot be read ({error.strerror})") from error

    def _opening(self, stream):
        """Yield the file's sounds one after another, each open until the next is asked for."""
        self.frames, self._contents, self._exact = None, Contents(), False
        if stream is not None or Path(self.path).suffix.lower() in FFMPEG_SUFFIXES:
            with open_stream(self._source, stream or 0) as sound:
                yield sound
            return
        with self._decodable(), open_sound(file_name(self._source)) as sound:
            format, subtype, frames = sound.format, sound.subtype, sound.frames
            contents = look(self._source, format, subtype, sound.samplerate)
            self._contents = contents
            self._exact = format in ("WAV", "WAVEX", "RF64", "FLAC", "AIFF")
            self.frames = contents.samples
            if not contents.parts:
                self.frames = frames if frames < UNKNOWN else None
                yield sound
                return
            whole = sound
        for part in contents.parts:
            with self._decodable(), open_part(self._source, part, contents.piped, whole) as sound:
                yield sound

    def _next(self):
        with _captured_stderr():
            return next(self._open, None)

    @contextlib.contextmanager
    def _decodable(self):
        """Say of a file that libsndfile does not open what to do with it."""
        import soundfile

        try:
            yield
        except OSError as error:
            raise UserError(f"{show(self.path)}: cannot be read ({error.strerror})") from error
        except (soundfile.LibsndfileError, TypeError, ValueError) as error:
            reason = str(getattr(error, "error_string", error)).strip(" .")
            raise UserError(
                f"{show(self.path)}: not an audio file that can be decoded ({reason}); "
                "convert it to WAV or FLAC"
            ) from error

    def blocks(self, size: int = BLOCK) -> Iterator[np.ndarray]:
        """Yield ``(channels, samples)`` float32 blocks of at most ``size`` samples, to the end.

        Warns (``AudioWarning``) when the file ends early; raises UserError for damage.
        """
        done, sound = 0, self._first
        try:
            while sound is not None:
                if (sound.samplerate, sound.channels) != (self.sample_rate, self.channels):
                    raise UserError(
                        f"{show(self.path)}: changes after {done / self.sample_rate:.2f} s from "
                        f"{self.sample_rate} Hz and {self.channels} channels to {sound.samplerate} Hz and "
                        f"{sound.channels}; cut it there"
                    )
                while (block := self._read(sound, size, done)).shape[1]:
                    yield self._finite(block, done)
                    done += block.shape[1]
                sound = self._next()
        finally:
            self.close()
        self._check_length(done)

    def _read(self, sound, size, done):
        """The next block of a sound, empty at its end."""
        import soundfile

        try:
            with _captured_stderr() as noise:
                block = sound.read(size, dtype="float32", always_2d=True).T
        except (soundfile.LibsndfileError, RuntimeError) as error:
            raise UserError(
                f"{show(self.path)}: damaged after {done / self.sample_rate:.2f} s "
                f"({str(error).strip(' .')}); nothing of it is used"
            ) from error
        if "Illegal Audio-MPEG-Header" in noise.text:
            raise UserError(
                f"{show(self.path)}: damaged after about {done / self.sample_rate:.2f} s "
                "(foreign bytes between MP3 frames); re-encode it first"
            )
        return block

    def read(self, sample_rate: int | None = None) -> np.ndarray:
        """Read the whole, ``(channels, samples)`` float32, at a rate in Hz or its own; then it is closed."""
        rate = self.sample_rate if sample_rate is None else sample_rate
        resampler = Resampler(self.sample_rate, rate, self.channels)
        pieces = [resampler.push(block) for block in self.blocks()]
        return np.concatenate([*pieces, resampler.finish()], axis=1)

    def close(self) -> None:
        """Close the file."""
        if hasattr(self, "_open"):
            self._open.close()
        if self._copy is not None:
            self._copy.close()

    def _check_header(self):
        if not MIN_RATE <= self.sample_rate <= MAX_RATE or not 0 < self.channels <= MAX_CHANNELS:
            raise UserError(
                f"{show(self.path)}: states {self.sample_rate} Hz and {self.channels} channels; "
                f"{MIN_RATE} to {MAX_RATE} Hz and at most {MAX_CHANNELS} channels are read"
            )
        if self.frames == 0:
            raise UserError(f"{show(self.path)}: no audio (0 samples)")

    def _finite(self, block, done):
        finite = np.isfinite(block)
        if finite.all():
            return block
        if not self.sanitize:
            at = (done + int(np.argmin(finite.all(axis=0)))) / self.sample_rate
            raise UserError(
                f"{show(self.path)}: NaN or infinite samples, the first at {at:.3f} s; "
                "sanitize=True replaces them by zero",
                "sanitize",
            )
        self.sanitized += int((~finite).sum())
        return np.where(finite, block, np.float32(0))

    def _check_length(self, done):
        expected = self._contents.samples or self.frames or 0
        if done == 0:
            raise UserError(f"{show(self.path)}: no audio could be decoded")
        if self._contents.cut:
            message = f"{show(self.path)}: cut off; its {done / self.sample_rate:.2f} s are used"
        elif done >= expected - (0 if self._exact else 1152):
            return
        else:
            message = (
                f"{show(self.path)}: cut off: {done} of {expected} samples "
                f"({done / self.sample_rate:.2f} of {expected / self.sample_rate:.2f} s) are there"
            )
        if self.strict:
            raise UserError(f"{message}; refused because strict=True")
        warnings.warn(message, AudioWarning, stacklevel=3)


def read_audio(path, sample_rate: int | None = None, **options) -> np.ndarray:
    """Read a whole file.

    Args:
      path: an audio file.
      sample_rate: Hz to resample to; the file's own when None.
      **options: ``strict``, ``sanitize`` and ``stream`` of :class:`AudioReader`.

    Returns:
      ``(channels, samples)`` float32.

    Raises:
      UserError: see :class:`AudioReader`.
    """
    return AudioReader(path, **options).read(sample_rate)


class _Noise:
    text = ""


#: The error stream belongs to the process: one thread at a time may turn it away, or write to it.
ERROR_STREAM = threading.RLock()


@contextlib.contextmanager
def _captured_stderr():
    """Keep what a decoder's C code prints on the error stream away from the user."""
    noise = _Noise()
    with ERROR_STREAM, tempfile.TemporaryFile() as sink:
        try:
            saved = os.dup(2)
        except OSError:  # no error stream
            yield noise
            return
        os.dup2(sink.fileno(), 2)
        try:
            yield noise
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            sink.seek(0)
            noise.text = sink.read(1 << 16).decode("utf-8", "replace")
