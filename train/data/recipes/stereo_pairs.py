"""Files with a source in each channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jaxsep.audio import audio_files
from jaxsep.errors import UserError
from jaxsep.parts import register
from train.data.bank import Signal, Track
from train.data.listing import listed_as, part_of, plain_name, read_manifest, recording_of
from train.data.recipes.songs import Songs


@register("recipe", "stereo_pairs")
@dataclass(frozen=True)
class StereoPairs(Songs):
    """Each file is a recording whose channels are its sources, as in MIR-1K.

    A manifest says which train. Without one, training and validation folders that are the same are split 92
    to 8 by recording. Folds part all recordings but those that a manifest keeps for tests.
    """

    channels: tuple[str, ...] = ("accompaniment", "vocals")
    """The source in each channel."""

    def find(self, data: Any, folder, sources, part) -> list[Track]:
        """The recordings below a folder."""
        missing = [s for s in sources if s not in self.channels]
        if missing:
            raise UserError(f"data.recipe.channels={self.channels}: lacks the source {missing[0]}")
        order = [self.channels.index(s) for s in sources]
        manifest = read_manifest(folder)
        tracks: list[Track] = []
        for path in audio_files(folder):
            file = path.relative_to(folder)
            recording, belongs = recording_of(data.recording, path), part
            if manifest:
                listed, belongs = listed_as(manifest, folder, file.as_posix())
                recording = recording if plain_name(listed) == plain_name(file.as_posix()) else listed
            if belongs == part or (data.folds and belongs != "test"):
                signals = tuple((Signal(str(path), channel),) for channel in order)
                tracks.append(Track(file.with_suffix("").as_posix(), signals, recording=recording))
        return tracks if manifest or data.folds else part_of(tracks, part, data)
