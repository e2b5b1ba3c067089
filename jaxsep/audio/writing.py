"""Writing audio files: whole or not at all, and several together."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxsep.audio.formats import BLOCK, FORMATS, check_format, file_name, mp3_bitrates, show
from jaxsep.errors import UserError

ClipMode = Literal["rescale", "clamp", "none"]


class AudioWriter:
    """Writes one file in blocks, under a temporary name until :meth:`finish` and :meth:`commit`.

    Blocks are kept as 32-bit float WAV (RF64 from 4 GiB on) and turned into the wanted format at
    the end, so that the gain which keeps a format without headroom from clipping is known.

    Args:
      path: the final name; its suffix does not matter, ``format`` does.
      sample_rate: Hz.
      channels: number of channels.
      format: one of ``OUTPUT_FORMATS``.
      frames: samples expected, to choose between WAV and RF64; None when unknown, which takes RF64 and, if
        it was not needed, turns it into WAV at the end.
      subtype: of wav and flac: ``PCM_16``, ``PCM_24``, or ``FLOAT`` (wav); the format's own when empty.
      bitrate: of mp3, kbit/s; the encoder's choice when 0.

    Raises:
      UserError: the format cannot hold this rate or these channels, or the folder not the file.
    """

    def __init__(
        self,
        path,
        sample_rate: int,
        channels: int,
        format: str = "wav",
        frames: int | None = 0,
        subtype: str = "",
        bitrate: int = 0,
    ):
        import soundfile

        check_format(format, sample_rate, channels, subtype, bitrate)
        self._subtype, self._bitrate = subtype or FORMATS[format][1], bitrate
        self.path, self.format, self.peak = Path(path), format, 0.0
        self._rate, self._channels = sample_rate, channels
        self._frames, self._large = 0, frames is None or self._exceeds(frames)
        try:
            handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=".jaxsep-", suffix=".part")
            os.close(handle)
        except OSError as error:
            raise UserError(f"{show(self.path)}: cannot be written ({error.strerror})") from error
        self._temporary = [name]
        self._file = soundfile.SoundFile(
            file_name(name), "w", sample_rate, channels, "FLOAT", format="RF64" if self._large else "WAV"
        )

    def write(self, block: np.ndarray) -> None:
        """Append ``(channels, samples)`` float32.

        Raises:
          UserError: the samples are not finite, or the disk does not take them; nothing is left.
        """
        if block.shape[1]:
            peak = float(np.max(np.abs(block)))
            if not np.isfinite(peak):
                self.discard()
                where = f"{self._frames / self._rate:.2f} s"
                raise UserError(f"{show(self.path)}: not written: NaN or infinite samples from {where} on")
            self.peak = max(self.peak, peak)
        with self._disk_errors():
            self._file.write(block.T)
        self._frames += block.shape[1]

    @property
    def headroom(self) -> bool:
        """Whether the format holds samples above full scale."""
        return self._subtype == "FLOAT"

    def finish(self, gain: float = 1.0, clamp: bool = False) -> None:
        """End the file, scaled by ``gain`` or cut at full scale, in its format, under a temporary name."""
        with self._disk_errors():
            self._file.close()
            larger = self._large and not self._exceeds(self._frames)
            self._large = self._large and not larger
            if self._subtype != "FLOAT" or gain != 1.0 or clamp or larger:
                self._convert(gain, clamp)
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

    def _exceeds(self, frames):
        """Whether that many samples need more than the 4 GiB of a WAV file."""
        return frames * self._channels * 4 > (1 << 32) - (1 << 16)

    def _convert(self, gain, clamp):
        import soundfile

        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=".jaxsep-", suffix=".part")
        os.close(handle)
        self._temporary.append(name)
        container = FORMATS[self.format][0]
        container = "RF64" if container == "WAV" and self._large else container
        how: dict[str, Any] = dict(format=container)
        if self._bitrate:
            least, most = mp3_bitrates(self._rate)
            how |= dict(bitrate_mode="CONSTANT", compression_level=(most - self._bitrate) / (most - least))
        target = soundfile.SoundFile(file_name(name), "w", self._rate, self._channels, self._subtype, **how)
        with target, soundfile.SoundFile(file_name(self._temporary[0])) as source:
            for block in source.blocks(BLOCK, dtype="float32", always_2d=True):
                block = block * np.float32(gain)
                target.write(np.clip(block, -1, 1) if clamp else block)

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


def write_together(writers: list[AudioWriter], clip_mode: ClipMode = "rescale") -> float:
    """Finish files that belong together, then name them all; return the one gain that they got.

    Args:
      writers: of the files.
      clip_mode: what is done about samples above full scale: ``"rescale"`` all files by one gain where a
        format has no headroom for the loudest, ``"clamp"`` them in any format, ``"none"`` leaves it to the
        format.
    """
    peak = max(writer.peak for writer in writers)
    rescale = clip_mode == "rescale" and not writers[0].headroom and peak > 1
    gain = 0.999 / peak if rescale else 1.0
    for writer in writers:
        writer.finish(gain, clamp=clip_mode == "clamp" and peak > 1)
    for writer in writers:
        writer.commit()
    return gain
