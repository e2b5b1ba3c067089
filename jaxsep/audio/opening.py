"""Opening audio files for decoding from end to end, whatever their container says of the length."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import warnings
from typing import Any

from jaxsep.audio.containers import Part, View
from jaxsep.audio.formats import show
from jaxsep.errors import AudioWarning, UserError

#: One audio stream as AU, whose length may be unknown, of floats; no keyboard, no network.
_READ = ("ffmpeg", "-nostdin", "-v", "error", "-protocol_whitelist", "file,pipe")
_WRITE = ("-c:a", "pcm_f32be", "-f", "au", "pipe:1")
#: Above this a number of samples is a decoder's word for "unknown".
UNKNOWN = 1 << 60


def open_sound(source, **raw) -> Any:
    """A ``soundfile.SoundFile`` that is read forward: by default each read ends in a seek, which fails at
    the end of what has no known length. ``raw`` describes samples without a header."""
    import soundfile

    sound: Any = soundfile.SoundFile(source, **raw)
    sound.seekable = lambda: False
    return sound


@contextlib.contextmanager
def open_part(path, part: Part, piped: bool, like):
    """The sound of a part of a file, of whose format another sound is."""
    raw: dict = {}
    if part.raw:
        raw = dict(samplerate=like.samplerate, channels=like.channels, subtype=like.subtype)
        raw |= dict(format="RAW", endian="LITTLE")
    with contextlib.closing(View(path, part)) as view:
        if not piped:
            with open_sound(view, **raw) as sound:
                yield sound
            return
        out, into = os.pipe()
        failed: list[OSError] = []
        feeder = threading.Thread(target=_feed, args=(view, into, failed), daemon=True)
        feeder.start()
        try:
            with open_sound(out) as sound:
                yield sound
        finally:
            feeder.join()
        if failed:
            raise failed[0]


def _feed(view, into, failed):
    """Copy a file into a pipe until either ends."""
    try:
        with open(into, "wb") as pipe:
            shutil.copyfileobj(view, pipe, 1 << 16)
    except BrokenPipeError:
        return
    except OSError as error:
        failed.append(error)


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
                if process.stdout.read(1):
                    raise UserError(f"{show(path)}: longer than what can be read of it; cut it first")
                if process.wait():
                    raise UserError(f"{show(path)}: damaged ({reason()}); nothing of it is used")
                if reason():
                    warnings.warn(f"{show(path)}: ffmpeg says: {reason()}", AudioWarning, stacklevel=4)
        finally:
            process.stdout.close()
            process.kill()
            process.wait()


def is_pipe(path) -> bool:
    """Whether a path is ``-``, the standard input, or a pipe or device of any other name."""
    return (
        os.fspath(path) == "-" or os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path))
    )


def spooled(path) -> Any:
    """A temporary file with all that comes out of a pipe; None for a path that is no pipe.

    Raises:
      UserError: it cannot be read, or there is no room for it.
    """
    if not is_pipe(path):
        return None
    if os.fspath(path) != "-" and stat.S_ISCHR(os.stat(path).st_mode):
        raise UserError(f"{show(path)}: is a device, not a file or a pipe; - is the standard input")
    try:
        if os.fspath(path) != "-":
            source: Any = open(path, "rb")  # noqa: SIM115 (closed below)
        elif sys.stdin is None:
            raise UserError("-: there is no standard input")
        else:
            source = contextlib.nullcontext(sys.stdin.buffer)
        with source as pipe:
            copy = tempfile.NamedTemporaryFile(prefix="jaxsep-")  # noqa: SIM115 (the caller's)
            shutil.copyfileobj(pipe, copy, 1 << 16)
            copy.flush()
    except OSError as error:
        raise UserError(f"{show(path)}: cannot be read into a temporary file ({error.strerror})") from error
    return copy
