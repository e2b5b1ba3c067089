"""Which files of a folder are audio: one rule for all commands."""

from __future__ import annotations

import os
from pathlib import Path

from jaxsep.audio.formats import AUDIO_SUFFIXES, show
from jaxsep.errors import UserError


def is_audio(path: Path) -> bool:
    """Whether a name is that of an audio file, hidden ones and macOS's companions ``._x.wav`` aside."""
    return path.suffix.lower() in AUDIO_SUFFIXES and not path.name.startswith(".")


def audio_files(folder, deep: bool = True) -> list[Path]:
    """The audio files of a folder, by name; linked folders count, hidden ones do not.

    A link to nothing counts too, so that whoever reads it hears of it; pipes do not.

    Args:
      folder: an existing folder.
      deep: look into the folders in it, too.

    Raises:
      UserError: a folder cannot be read.
    """
    found: list[Path] = []
    seen: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True, onerror=_refuse):
        real = os.path.realpath(place)
        if real in seen or not deep and seen:  # a link to a folder above
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(place) / name for name in names if is_audio(Path(name))]
    return sorted(path for path in found if path.is_file() or not path.exists())


def _refuse(error):
    raise UserError(f"{show(error.filename)}: cannot be read ({error.strerror})") from error
