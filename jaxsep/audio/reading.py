"""Reading audio files in blocks, checked for damage."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import warnings
from collections.abc import Iterator

import numpy as np

from jaxsep.audio.formats import BLOCK, MAX_CHANNELS, MAX_RATE, file_name, show
from jaxsep.audio.resampling import Resampler
from jaxsep.errors import AudioWarning, UserError


class AudioReader:
    """An open audio file, read in blocks.

    Args:
      path: a file that libsndfile can decode.
      strict: refuse a file that ends before the length its header states, instead of warning.
      sanitize: replace NaN and infinite samples by zero and count them, instead of refusing.

    Raises:
      UserError: the file is missing, unreadable, not audio, empty, or damaged (on reading).

    Attributes:
      sample_rate: Hz.
      channels: number of channels.
      frames: number of samples of each channel that the file is believed to hold.
      sanitized: how many samples were replaced so far.
    """

    def __init__(self, path, *, strict: bool = False, sanitize: bool = False):
        import soundfile

        self.path, self.strict, self.sanitize, self.sanitized = os.fspath(path), strict, sanitize, 0
        if not os.path.exists(path):
            raise UserError(f"{show(path)}: there is no such file")
        if os.path.isdir(path):
            raise UserError(f"{show(path)}: is a folder; name the files in it")
        try:
            with open(path, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size == 0:
                    raise UserError(f"{show(path)}: the file is empty")
            with _captured_stderr():
                self._file = soundfile.SoundFile(file_name(path))
        except OSError as error:
            raise UserError(f"{show(path)}: cannot be read ({error.strerror})") from error
        except (soundfile.LibsndfileError, TypeError, ValueError) as error:
            reason = str(getattr(error, "error_string", error)).strip(" .")
            raise UserError(
                f"{show(path)}: not an audio file that can be decoded ({reason}); convert it to WAV or FLAC"
            ) from error
        self.sample_rate, self.channels = self._file.samplerate, self._file.channels
        self.frames = self._file.frames
        self._check_header()

    def blocks(self, size: int = BLOCK) -> Iterator[np.ndarray]:
        """Yield ``(channels, samples)`` float32 blocks of at most ``size`` samples, to the end.

        Warns (``AudioWarning``) when the file ends early; raises UserError for damage.
        """
        import soundfile

        done = 0
        with self._file:
            while True:
                try:
                    with _captured_stderr() as noise:
                        block = self._file.read(size, dtype="float32", always_2d=True).T
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
                if not block.shape[1]:
                    break
                yield self._finite(block, done)
                done += block.shape[1]
        self._check_length(done)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _check_header(self):
        if not 0 < self.sample_rate <= MAX_RATE or not 0 < self.channels <= MAX_CHANNELS:
            self.close()
            raise UserError(
                f"{show(self.path)}: states {self.sample_rate} Hz and {self.channels} channels; "
                f"at most {MAX_RATE} Hz and {MAX_CHANNELS} channels are read"
            )
        if self.frames == 0:
            self.close()
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
        expected = _stated_length(self.path, self._file) or self.frames
        spare = 0 if self._file.format in ("WAV", "WAVEX", "RF64", "FLAC", "AIFF") else 1152
        if done == 0:
            raise UserError(f"{show(self.path)}: no audio could be decoded")
        if expected == -1:
            message = f"{show(self.path)}: cut off; its {done / self.sample_rate:.2f} s are used"
        elif done >= expected - spare:
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
      **options: ``strict`` and ``sanitize`` of :class:`AudioReader`.

    Returns:
      ``(channels, samples)`` float32.

    Raises:
      UserError: see :class:`AudioReader`.
    """
    reader = AudioReader(path, **options)
    rate = reader.sample_rate if sample_rate is None else sample_rate
    resampler = Resampler(reader.sample_rate, rate, reader.channels)
    pieces = [resampler.push(block) for block in reader.blocks()]
    return np.concatenate([*pieces, resampler.finish()], axis=1)


def _stated_length(path, sound):
    """Samples that the file itself states, -1 when it is cut off, None when it does not say."""
    with open(path, "rb") as file:
        if sound.format in ("WAV", "WAVEX"):
            return _wav_length(file)
        if sound.format == "OGG":
            granules = _ogg_length(file)
            # Opus counts at 48 kHz whatever the rate.
            opus = sound.subtype == "OPUS" and granules > 0
            return granules * sound.samplerate // 48000 - sound.samplerate // 50 if opus else granules
    return None


def _wav_length(file):
    """Walk the chunks of a RIFF file to the length that its data chunk states."""
    if file.read(12)[:4] != b"RIFF":
        return None
    align = 0
    while len(head := file.read(8)) == 8:
        name, size = head[:4], int.from_bytes(head[4:], "little")
        if name == b"data":
            return size // align if align and 0 < size < 0xFFFFFF00 else None
        body = file.read(min(size, 16)) if name == b"fmt " else b""
        if name == b"fmt ":
            known = int.from_bytes(body[:2], "little") in (1, 3, 0xFFFE)
            align = int.from_bytes(body[12:14], "little") if known else 0
        file.seek(size + size % 2 - len(body), os.SEEK_CUR)
    return None


def _ogg_length(file):
    """Granule position of the last page, -1 unless that page ends the stream."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - (1 << 16) - 1024))
    end = file.read()
    page = end.rfind(b"OggS")
    if page < 0 or len(end) < page + 14:
        return -1
    granule = int.from_bytes(end[page + 6 : page + 14], "little", signed=True)
    return granule if end[page + 5] & 4 else -1


class _Noise:
    text = ""


#: The error stream belongs to the process: one thread at a time may turn it away.
_STDERR = threading.RLock()


@contextlib.contextmanager
def _captured_stderr():
    """Keep what a decoder's C code prints on the error stream away from the user."""
    noise = _Noise()
    with _STDERR, tempfile.TemporaryFile() as sink:
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
