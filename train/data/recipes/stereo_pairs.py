"""Files with a source in each channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jaxsep.audio import audio_files
from jaxsep.errors import UserError
from jaxsep.parts import register
from train.data.bank import Signal, Track
from train.data.listing import recording_of
from train.data.recipes.songs import Songs


@register("recipe", "stereo_pairs")
@dataclass(frozen=True)
class StereoPairs(Songs):
    """Each file is a recording whose channels are its sources, as in MIR-1K."""

    channels: tuple[str, ...] = ("accompaniment", "vocals")
    """The source in each channel."""

    def find(self, data: Any, folder, sources, part) -> list[Track]:
        """The recordings below a folder."""
        missing = [s for s in sources if s not in self.channels]
        if missing:
            raise UserError(f"data.recipe.channels={self.channels}: lacks the source {missing[0]}")
        order = [self.channels.index(s) for s in sources]
        return [
            Track(
                p.stem,
                tuple((Signal(str(p), channel),) for channel in order),
                recording=recording_of(data.recording, p),
            )
            for p in audio_files(folder)
        ]
