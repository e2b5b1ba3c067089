"""Which files of a folder are audio: one rule for all commands."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from jaxsep.audio.formats import AUDIO_SUFFIXES, show
from jaxsep.errors import UserError


def is_audio(path: Path) -> bool:
    """Whether a name is that of an audio file, hidden ones and macOS's companions ``._x.wav`` aside."""
    return path.suffix.lower() in AUDIO_SUFFIXES and not path.name.startswith(".")


def audio_files(
    folder, depth: int | None = None, refused: Callable[[UserError], None] | None = None
) -> list[Path]:
    """The audio files of a folder, by name; linked folders count, hidden ones do not.

    A link to nothing counts too, so that whoever reads it hears of it; pipes do not.

    Args:
      folder: an existing folder.
      depth: levels of folders below it to look into; None for all.
      refused: is told of folders that cannot be read; by default the first ends the search.

    Raises:
      UserError: a folder cannot be read.
    """

    def refuse(error):
        reason = UserError(f"{show(error.filename)}: cannot be read ({error.strerror})")
        if refused is None:
            raise reason from error
        refused(reason)

    found: list[Path] = []
    for place, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        inside = Path(place).relative_to(folder).parts
        above = [os.path.realpath(Path(folder, *inside[:k])) for k in range(len(inside))]
        if os.path.realpath(place) in above:  # a link to a folder above
            folders.clear()
            continue
        deeper = depth is None or len(inside) < depth
        folders[:] = sorted(name for name in folders if deeper and not name.startswith("."))
        found += [Path(place) / name for name in names if is_audio(Path(name))]
    return sorted(path for path in found if path.is_file() or not path.exists())
