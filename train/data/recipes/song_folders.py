"""Folders with a file for each source."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from jaxsep.errors import UserError
from jaxsep.parts import register
from train.data.bank import Signal, Track
from train.data.listing import SPLITS, audio_files, matching_files, part_of, read_manifest
from train.data.recipes.songs import Songs


@register("recipe", "song_folders")
@dataclass(frozen=True)
class SongFolders(Songs):
    """Each folder that holds audio is a recording, with a file, or several that are summed, for each source.

    A manifest says which train. Without one, training and validation folders that are the same are split 92
    to 8 by the topmost folder, so that sections of one song stay together.
    """

    files: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Patterns of the files that sum to each source."""

    def find(self, data: Any, folder, sources, part) -> list[Track]:
        """The recordings below a folder."""
        missing = [s for s in sources if not self.files.get(s)]
        if missing:
            raise UserError(f"data.recipe.files: lacks patterns for the source {missing[0]}")
        manifest = read_manifest(folder)
        tracks: list[Track] = []
        for song in sorted({p.parent for p in audio_files(folder)}):
            parts = [matching_files(song, self.files[source]) for source in sources]
            name = song.relative_to(folder).as_posix()
            recording, split = name.split("/")[0], None
            if all(parts):
                recording, split = manifest.get(f"{name}/{parts[0][0].name}", (recording, split))
            if all(parts) and (split is None or split in SPLITS[part]):
                signals = tuple(tuple(Signal(str(p)) for p in files) for files in parts)
                tracks.append(Track(name, signals, recording=recording))
        return tracks if manifest else part_of(tracks, part, data.train == data.valid)
