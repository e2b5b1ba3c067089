"""Streams of containers that libsndfile does not read, decoded by ffmpeg."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile

import numpy as np

from jaxsep.audio.formats import show
from jaxsep.audio.reading import read_audio
from jaxsep.errors import UserError

#: A stream as a WAV file of floats, of any length; no keyboard, no addresses of the network in the file.
_READ = ("ffmpeg", "-nostdin", "-v", "error", "-protocol_whitelist", "file")
_WRITE = ("-c:a", "pcm_f32le", "-rf64", "auto")


def read_stream(path, stream: int, sample_rate: int | None = None) -> np.ndarray:
    """Read one audio stream of a file that holds several, such as ``.stem.mp4``, whole.

    Args:
      path: a file that ffmpeg decodes.
      stream: number of the audio stream, from 0.
      sample_rate: Hz to resample to; the stream's own when None.

    Returns:
      ``(channels, samples)`` float32.

    Raises:
      UserError: ffmpeg is not on the PATH, the file is missing or damaged, or has no such stream.
    """
    if not os.path.isfile(path):
        raise UserError(f"{show(path)}: there is no such file")
    if shutil.which("ffmpeg") is None:
        raise UserError(f"{show(path)}: is decoded by ffmpeg, which is not on the PATH; install it")
    with tempfile.TemporaryDirectory() as folder:
        decoded = os.path.join(folder, "stream.wav")
        source = ("-i", "file:" + os.fspath(path), "-map", f"0:a:{stream}")
        done = subprocess.run([*_READ, *source, *_WRITE, decoded], capture_output=True, check=False)
        if done.returncode:
            reason = " ".join(done.stderr.decode(errors="replace").split())[:200]
            raise UserError(f"{show(path)}: stream {stream} cannot be decoded by ffmpeg ({reason})")
        return read_audio(decoded, sample_rate)
