"""Data recipes: which files of a folder are which source."""

from __future__ import annotations

from pathlib import Path

from jaxsep.audio import AUDIO_SUFFIXES
from jaxsep.errors import UserError
from train.bank import Track
from train.config import DataConfig


def find_tracks(config: DataConfig, folder: Path, sources: tuple[str, ...]) -> list[Track]:
    """Return the recordings below ``folder``, in the order of their names."""
    recipe = {"stereo_pairs": stereo_pairs, "song_folders": song_folders}[config.recipe]
    tracks = recipe(config, folder, sources)
    if not tracks:
        raise UserError(f"{folder}: holds no recording that data.recipe={config.recipe} can use")
    return tracks


def stereo_pairs(config: DataConfig, folder: Path, sources: tuple[str, ...]) -> list[Track]:
    """Each file is a recording whose channels are its sources, as in MIR-1K."""
    missing = [s for s in sources if s not in config.channels]
    if missing:
        raise UserError(f"data.channels={config.channels}: lacks the source {missing[0]}")
    order = [config.channels.index(s) for s in sources]
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES)
    return [Track(p.stem, tuple(((str(p), channel),) for channel in order)) for p in files]


def song_folders(config: DataConfig, folder: Path, sources: tuple[str, ...]) -> list[Track]:
    """Each folder that holds audio is a recording; ``config.files`` says which files are which."""
    missing = [s for s in sources if not config.files.get(s)]
    if missing:
        raise UserError(f"data.files: lacks patterns for the source {missing[0]}")
    tracks = []
    for song in sorted({p.parent for p in folder.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES}):
        parts = [_matches(song, config.files[source]) for source in sources]
        if all(parts):
            name = str(song.relative_to(folder))
            tracks.append(Track(name, tuple(tuple((str(p), None) for p in part) for part in parts)))
    return tracks


def _matches(folder, patterns):
    return sorted({p for pattern in patterns for p in folder.glob(pattern) if p.is_file()})
