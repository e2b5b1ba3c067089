"""Folders with a file for each source."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from jaxsep.audio import audio_files
from jaxsep.errors import UserError
from jaxsep.parts import register
from train.data.bank import Signal, Track
from train.data.listing import listed_as, matching_files, part_of, read_manifest
from train.data.recipes.songs import Songs


@register("recipe", "song_folders")
@dataclass(frozen=True)
class SongFolders(Songs):
    """Each folder that holds audio is a recording, with a file, or several that are summed, for each source.

    A manifest says which train. Without one, training and validation folders that are the same are split 92
    to 8 by the topmost folder, so that sections of one song stay together.
    """

    files: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Patterns of the files that sum to each source; ``SOURCE.*`` where it is not named."""

    def find(self, data: Any, folder, sources, part) -> list[Track]:
        """The recordings below a folder."""
        patterns = {source: self.files.get(source) or (f"{source}.*",) for source in sources}
        manifest = read_manifest(folder)
        tracks: list[Track] = []
        for song in sorted({p.parent for p in audio_files(folder)}):
            parts = [matching_files(song, patterns[source]) for source in sources]
            name = song.relative_to(folder).as_posix()
            if not all(parts):
                continue
            recording, belongs = name.split("/")[0], part
            if manifest:
                recording, belongs = listed_as(manifest, folder, f"{name}/{parts[0][0].name}")
            if belongs == part:
                signals = tuple(tuple(Signal(str(p)) for p in files) for files in parts)
                tracks.append(Track(name, signals, recording=recording))
        if not tracks and not manifest:
            wanted = "; ".join(f"{source}: {', '.join(patterns[source])}" for source in sources)
            raise UserError(
                f"{folder}: no folder in it has a file for each source ({wanted}); data.recipe.files"
            )
        return tracks if manifest else part_of(tracks, part, data)
