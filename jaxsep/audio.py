"""Audio files: read in blocks, checked for damage; written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jaxsep.errors import AudioWarning, UserError

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif", ".opus")
#: Formats that can be written -> (libsndfile format, subtype, sample rates, most channels).
_FORMATS = {
    "wav": ("WAV", "FLOAT", None, 1024),
    "flac": ("FLAC", "PCM_24", range(1, 655351), 8),
    "ogg": ("OGG", "VORBIS", range(8000, 192001), 8),
    "mp3": ("MP3", "MPEG_LAYER_III", (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000), 2),
}
OUTPUT_FORMATS = tuple(_FORMATS)
_MAX_RATE, _MAX_CHANNELS = 768_000, 64
_BLOCK = 1 << 17


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
                self._file = soundfile.SoundFile(_name(path))
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

    def blocks(self, size: int = _BLOCK) -> Iterator[np.ndarray]:
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
        if not 0 < self.sample_rate <= _MAX_RATE or not 0 < self.channels <= _MAX_CHANNELS:
            self.close()
            raise UserError(
                f"{show(self.path)}: states {self.sample_rate} Hz and {self.channels} channels; "
                f"at most {_MAX_RATE} Hz and {_MAX_CHANNELS} channels are read"
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
                "--sanitize replaces them by zero"
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
            raise UserError(f"{message}; refused because of --strict")
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


class Resampler:
    """Stream resampling by soxr, aligned and with exact length: ``round(samples * out / in)``."""

    def __init__(self, in_rate: float, out_rate: float, channels: int):
        self._ratio = out_rate / in_rate
        self._taken = self._given = 0
        self._stream = None
        self._empty = np.zeros((channels, 0), np.float32)
        if in_rate != out_rate:
            import soxr

            self._stream = soxr.ResampleStream(in_rate, out_rate, channels, dtype="float32", quality="HQ")

    def push(self, block: np.ndarray, last: bool = False) -> np.ndarray:
        """Take ``(channels, samples)``, return what can be given out so far."""
        self._taken += block.shape[1]
        if self._stream is None:
            return block
        out = self._stream.resample_chunk(np.ascontiguousarray(block.T), last=last)
        out = out.reshape(-1, block.shape[0]).T
        room = max(0, round(self._taken * self._ratio) - self._given) if last else out.shape[1]
        if last and out.shape[1] < room:
            out = np.pad(out, ((0, 0), (0, room - out.shape[1])))
        self._given += min(room, out.shape[1])
        return out[:, :room]

    def finish(self) -> np.ndarray:
        """Return the rest, after the last block."""
        return self.push(self._empty, last=True)


class AudioWriter:
    """Writes one file in blocks, under a temporary name until :meth:`finish` and :meth:`commit`.

    Blocks are kept as 32-bit float WAV (RF64 from 4 GiB on) and turned into the wanted format at
    the end, so that the gain which keeps a format without headroom from clipping is known.

    Args:
      path: the final name; its suffix does not matter, ``format`` does.
      sample_rate: Hz.
      channels: number of channels.
      format: one of ``OUTPUT_FORMATS``.
      frames: samples expected, to choose between WAV and RF64.

    Raises:
      UserError: the format cannot hold this rate or these channels, or the folder not the file.
    """

    def __init__(self, path, sample_rate: int, channels: int, format: str = "wav", frames: int = 0):
        import soundfile

        check_format(format, sample_rate, channels)
        self.path, self.format, self.peak = Path(path), format, 0.0
        self._rate, self._channels = sample_rate, channels
        self._large = frames * channels * 4 > (1 << 32) - (1 << 16)
        try:
            handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=".jaxsep-", suffix=".part")
            os.close(handle)
        except OSError as error:
            raise UserError(f"{show(self.path)}: cannot be written ({error.strerror})") from error
        self._temporary = [name]
        self._file = soundfile.SoundFile(
            _name(name), "w", sample_rate, channels, "FLOAT", format="RF64" if self._large else "WAV"
        )

    def write(self, block: np.ndarray) -> None:
        """Append ``(channels, samples)`` float32."""
        if block.shape[1]:
            self.peak = max(self.peak, float(np.max(np.abs(block))))
        with self._disk_errors():
            self._file.write(block.T)

    def finish(self, gain: float = 1.0) -> None:
        """End the file, scaled by ``gain``, in its format, still under a temporary name."""
        with self._disk_errors():
            self._file.close()
            if self.format != "wav" or gain != 1.0:
                self._convert(gain)
            os.chmod(self._temporary[-1], 0o644)

    def commit(self) -> None:
        """Give the finished file its final name."""
        with self._disk_errors():
            os.replace(self._temporary[-1], self.path)
        self.discard()

    def discard(self) -> None:
        """Remove what was written under temporary names."""
        with contextlib.suppress(Exception):
            self._file.close()
        for name in self._temporary:
            Path(name).unlink(missing_ok=True)

    def _convert(self, gain):
        import soundfile

        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=".jaxsep-", suffix=".part")
        os.close(handle)
        self._temporary.append(name)
        container, subtype, *_ = _FORMATS[self.format]
        container = "RF64" if container == "WAV" and self._large else container
        target = soundfile.SoundFile(_name(name), "w", self._rate, self._channels, subtype, format=container)
        with target, soundfile.SoundFile(_name(self._temporary[0])) as source:
            for block in source.blocks(_BLOCK, dtype="float32", always_2d=True):
                target.write(block * np.float32(gain))

    @contextlib.contextmanager
    def _disk_errors(self):
        import soundfile

        try:
            yield
        except (OSError, soundfile.LibsndfileError, RuntimeError, AssertionError) as error:
            self.discard()
            raise UserError(
                f"{show(self.path)}: could not be written ({error or 'the disk may be full'}); "
                "nothing is left under this name"
            ) from error


def check_format(format: str, sample_rate: int, channels: int) -> None:
    """Refuse what an output format cannot hold."""
    if format not in _FORMATS:
        raise UserError(f"--format {format}: expected one of {', '.join(_FORMATS)}")
    _, _, rates, most = _FORMATS[format]
    if rates is not None and sample_rate not in rates:
        raise UserError(f"--format {format}: cannot hold {sample_rate} Hz; use --format wav")
    if channels > most:
        raise UserError(f"--format {format}: cannot hold {channels} channels; use --format wav")


def show(path) -> str:
    """Return a path for a message: one line, whatever bytes are in it."""
    return os.fspath(path).encode("utf-8", "backslashreplace").decode().replace("\n", "\\n")


def _name(path):
    """A path as libsndfile takes it: as bytes where names need not be UTF-8."""
    return os.fsencode(path) if os.name == "posix" else os.fspath(path)


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


def write_together(writers: list[AudioWriter]) -> float:
    """Finish files that belong together, then name them all; return the one gain that they got.

    The gain is 1 unless a format without headroom would clip the loudest of them.
    """
    peak = max(writer.peak for writer in writers)
    gain = 1.0 if writers[0].format == "wav" or peak <= 1 else 0.999 / peak
    for writer in writers:
        writer.finish(gain)
    for writer in writers:
        writer.commit()
    return gain
