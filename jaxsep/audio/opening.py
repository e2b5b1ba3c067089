"""Opening audio files for decoding from end to end, whatever their container says of the length."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import warnings
from typing import Any

from jaxsep.audio.containers import Part, View
from jaxsep.audio.formats import file_name, show
from jaxsep.errors import AudioWarning, UserError

#: One audio stream as WAV of floats; no keyboard, no addresses of the network in the file.
_READ = ("ffmpeg", "-nostdin", "-v", "error", "-protocol_whitelist", "file,pipe")
_WRITE = ("-c:a", "pcm_f32le", "-f", "wav", "pipe:1")
#: Above this a number of samples is a decoder's word for "unknown".
UNKNOWN = 1 << 60


def open_sound(source) -> Any:
    """A ``soundfile.SoundFile`` that is read forward: by default each read ends in a seek, which fails at
    the end of what has no known length."""
    import soundfile

    sound: Any = soundfile.SoundFile(source)
    sound.seekable = lambda: False
    return sound


@contextlib.contextmanager
def open_part(path, part: Part | None, piped: bool):
    """The sound of a file, or of a part of it."""
    if part is None:
        with open_sound(file_name(path)) as sound:
            yield sound
        return
    with contextlib.closing(View(path, part)) as view:
        if not piped:
            with open_sound(view) as sound:
                yield sound
            return
        out, into = os.pipe()
        feeder = threading.Thread(target=_feed, args=(view, into), daemon=True)
        feeder.start()
        try:
            with open_sound(out) as sound:
                yield sound
        finally:
            feeder.join()


def _feed(view, into):
    """Copy a file into a pipe until either ends."""
    with contextlib.suppress(BrokenPipeError), open(into, "wb") as pipe:
        shutil.copyfileobj(view, pipe, 1 << 16)


@contextlib.contextmanager
def open_stream(path, stream: int = 0):
    """The sound of one audio stream of a container that libsndfile does not read, decoded by ffmpeg.

    Raises:
      UserError: ffmpeg is not on the PATH, or does not decode it, at once or, after the sound was read,
        to its end.
    """
    if shutil.which("ffmpeg") is None:
        raise UserError(f"{show(path)}: is decoded by ffmpeg, which is not on the PATH; install it")
    command = [*_READ, "-i", "file:" + os.fspath(path), "-map", f"0:a:{stream}", *_WRITE]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said)
        assert process.stdout is not None

        def reason():
            said.seek(0)
            return " ".join(said.read(1 << 12).decode(errors="replace").split())[:200]

        try:
            try:
                sound = open_sound(os.dup(process.stdout.fileno()))
            except Exception as error:
                process.stdout.close()
                process.wait()
                raise UserError(
                    f"{show(path)}: stream {stream} cannot be decoded by ffmpeg ({reason()})"
                ) from error
            with sound:
                yield sound
                if process.wait():
                    raise UserError(f"{show(path)}: damaged ({reason()}); nothing of it is used")
                if reason():
                    warnings.warn(f"{show(path)}: ffmpeg says: {reason()}", AudioWarning, stacklevel=4)
        finally:
            process.stdout.close()
            process.kill()
            process.wait()


def spooled(path) -> Any:
    """A temporary file with all that comes out of a pipe; None for a path that is a file.

    ``-`` and ``/dev/stdin`` are the standard input.
    """
    if os.fspath(path) == "-":
        source: Any = contextlib.nullcontext(sys.stdin.buffer)
    elif os.path.isfile(path) or not os.path.exists(path) or os.path.isdir(path):
        return None
    else:
        source = open(path, "rb")  # noqa: SIM115 (closed below)
    with source as pipe:
        copy = tempfile.NamedTemporaryFile(prefix="jaxsep-")  # noqa: SIM115 (the caller's)
        shutil.copyfileobj(pipe, copy, 1 << 16)
        copy.flush()
    return copy
