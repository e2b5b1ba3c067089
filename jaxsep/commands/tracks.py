"""The tracks that a command's arguments mean: files, pipes, and the audio files of folders."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from jaxsep.audio import audio_files, show
from jaxsep.errors import UserError


class Track(NamedTuple):
    """An input."""

    path: str
    name: str
    """Of its output: the file's without suffix, behind the folders between it and the one that was named."""


def find_tracks(arguments: list[str], out: Path) -> Iterator[Track | UserError]:
    """The tracks of the arguments in turn; what is wrong with one takes its place.

    Args:
      arguments: files, ``-`` for the standard input, or folders, which are searched to any depth.
      out: where the model's stems go; what is there, and in the folder above it where that lies below an
        argument, is output, not input.
    """
    for argument in arguments:
        if argument == "-":
            yield Track("-", "stdin")
            continue
        if not os.path.isdir(argument):
            yield Track(argument, Path(argument).stem or "track")
            continue
        try:
            output = _output_below(Path(argument), out)
            found = [path for path in audio_files(argument) if not _below(path, output)]
        except UserError as error:
            yield error
            continue
        if not found:
            yield UserError(f"{show(argument)}: a folder without audio files")
        for path in found:
            yield Track(str(path), str(path.relative_to(argument).with_suffix("")))


def _output_below(folder, out):
    """The folder of output that a search of ``folder`` would come upon, if any."""
    places = (place for place in (out.parent, out) if _below(place, folder))
    return next((place for place in places if place.resolve() != folder.resolve()), None)


def _below(path, folder):
    return folder is not None and path.resolve().is_relative_to(folder.resolve())
