"""MUSDB18 as it is published: compressed in one file a song, or uncompressed in a folder a song."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxsep.errors import UserError
from jaxsep.parts import register
from train.data.bank import Signal, Track
from train.data.recipes.songs import Songs

#: Stems in the order of a file's audio streams; the first is the mixture.
STREAMS = ("mixture", "drums", "bass", "other", "vocals")

#: Songs of ``train`` that validate, as the package ``musdb`` has them.
VALIDATION = frozenset(
    {
        "ANiMAL - Rockshow",
        "Actions - One Minute Smile",
        "Alexander Ross - Goodbye Bolero",
        "Clara Berry And Wooldog - Waltz For My Victims",
        "Fergessen - Nos Palpitants",
        "James May - On The Line",
        "Johnny Lokke - Promises & Lies",
        "Leaf - Summerghost",
        "Meaxic - Take A Step",
        "Patrick Talbot - A Reason To Leave",
        "Skelpolu - Human Mistakes",
        "Traffic Experiment - Sirens",
        "Triviul - Angelsaint",
        "Young Griffo - Pennies",
    }
)

_SUFFIX = ".stem.mp4"


@register("recipe", "musdb")
@dataclass(frozen=True)
class MUSDB(Songs):
    """Songs of MUSDB18: ``train/*.stem.mp4``, read by ffmpeg, or MUSDB18-HQ: ``train/*/vocals.wav`` ....

    ``data.train`` and ``data.valid`` both name the folder that holds ``train`` and ``test``; 14 songs of
    ``train`` validate, always the same, and ``test`` is left alone.

    References:
      Z. Rafii, A. Liutkus, F.-R. Stöter, S. I. Mimilakis, R. Bittner, "The MUSDB18 corpus for music
      separation", 2017; "MUSDB18-HQ", 2019.
    """

    stems: dict[str, tuple[str, ...]] = field(
        default_factory=lambda: {"accompaniment": ("drums", "bass", "other")}
    )
    """The stems that sum to a source; the stem of its name where it is not named."""

    def __post_init__(self):
        for source, stems in self.stems.items():
            unknown = [stem for stem in stems if stem not in STREAMS[1:]]
            if unknown or not stems:
                found = unknown[0] if unknown else "()"
                raise ValueError(f"stems.{source}={found}: expected some of {', '.join(STREAMS[1:])}")

    def find(self, data: Any, folder, sources, part) -> list[Track]:
        """The songs of a part."""
        parts = [self.stems.get(source, (source,)) for source in sources]
        unknown = [stem for stems in parts for stem in stems if stem not in STREAMS]
        if unknown:
            raise UserError(
                f"data.recipe.stems: lacks the stems of the source {unknown[0]}; there are "
                f"{', '.join(STREAMS[1:])}"
            )
        songs = [s for s in _songs(folder) if (_name(s) in VALIDATION) == (part == "valid")]
        return [
            Track(_name(song), tuple(tuple(_signal(song, stem) for stem in stems) for stems in parts))
            for song in songs
        ]


def _songs(folder):
    """Files or folders of the songs to train and validate on, by name."""
    train = Path(folder) / "train"
    if not train.is_dir():
        raise UserError(f"{folder}: expected the folder of MUSDB18 that holds train and test")
    there = [p for p in train.iterdir() if not p.name.startswith(".")]
    return sorted(p for p in there if p.name.endswith(_SUFFIX) or (p / "vocals.wav").is_file())


def _name(song):
    return song.name.removesuffix(_SUFFIX)


def _signal(song, stem):
    """Where a stem of a song is read from."""
    if song.is_dir():
        return Signal(str(song / f"{stem}.wav"))
    return Signal(str(song), stream=STREAMS.index(stem))
