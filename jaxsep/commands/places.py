"""Where the stems of each track of a command go: no two to one place, none over another input's unasked."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jaxsep.audio import show
from jaxsep.commands.options import FILENAME
from jaxsep.commands.tracks import Track
from jaxsep.errors import UserError, one_line
from jaxsep.outputs import claimed_folder


@dataclass(frozen=True)
class Place:
    """Where the stems of a track go."""

    folder: Path
    name: str
    """Of the track, another's of this name considered."""
    targets: dict[str, Path]
    own: bool
    """Whether the folder is this track's alone."""


class Places:
    """The places of a command's tracks, given out by several threads.

    Args:
      root: the model's folder.
      template: of the files below it.
      format: their suffix.
      stems: their names.
    """

    def __init__(self, root: Path, template: str, format: str, stems: tuple[str, ...]):
        self._root, self._template, self._format, self._stems = root, template, format, stems
        self._given: set[Path] = set()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def claimed(self, track: Track) -> Iterator[Place]:
        """A folder of the track's own, by which later commands know whose it is."""
        with claimed_folder(self._root, track.path, track.name) as folder:
            targets = {stem: folder / f"{stem}.{self._format}" for stem in self._stems}
            yield Place(folder, folder.name, targets, own=True)

    def free(self, track: Track, overwrite: bool) -> Place:
        """Files by the template that no other track of this command has, nor any other unless told so.

        Args:
          track: the input.
          overwrite: take what was there before the command.

        Raises:
          UserError: files that lead out of the folder, or a template that gives tracks one name.
        """
        before = None
        for name in (track.name, *(f"{track.name}-{n}" for n in range(2, 10000))):
            targets = {stem: self._root / self._filled(name, stem) for stem in self._stems}
            if targets == before:
                raise UserError(f"{self._template}: without {{track}} tracks would have one name", "filename")
            before = targets
            self._check(targets.values())
            with self._lock:
                taken = not self._given.isdisjoint(targets.values())
                if not taken and (overwrite or not any(path.exists() for path in targets.values())):
                    self._given.update(targets.values())
                    own = self._template == FILENAME
                    folder = next(iter(targets.values())).parent
                    return Place(folder, Path(name).name, targets, own)
        raise UserError(f"{show(self._root)}: too many tracks named {track.name}; give another folder", "out")

    def _filled(self, track, stem):
        return self._template.format(track=track, stem=stem, ext=self._format, model=self._root.name)

    def _check(self, paths):
        root = self._root.resolve()
        if not all(path.resolve().is_relative_to(root) for path in paths):
            raise UserError(f"{self._template}: leads out of {show(self._root)}", "filename")
        if len(set(paths)) < len(self._stems):
            raise UserError(f"{self._template}: gives two stems one name", "filename")


def check_template(template: str) -> None:
    """Refuse, before any work, a template that cannot be filled, or not with every stem.

    Raises:
      UserError: see above.
    """
    known = dict(track="t", stem="s", ext="e", model="m")
    try:
        differ = template.format(**known) != template.format(**{**known, "stem": "z"})
    except (KeyError, IndexError, ValueError, AttributeError, TypeError) as error:
        raise UserError(
            f"{template}: expected a name of {{track}}, {{stem}}, {{ext}} and {{model}} ({one_line(error)})",
            "filename",
        ) from error
    if not differ:
        raise UserError(f"{template}: without {{stem}} every stem would have one name", "filename")
