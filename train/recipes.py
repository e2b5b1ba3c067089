"""Data recipes: which files of a folder are which source."""

from __future__ import annotations

import csv
import hashlib
import re
from pathlib import Path
from typing import Literal

from jaxsep.audio import AUDIO_SUFFIXES
from jaxsep.errors import UserError
from train.bank import Bank, Track, build_bank
from train.config import DataConfig, TrainConfig, data_folder

Part = Literal["train", "valid"]
#: What the ``split`` column of a manifest calls each part.
_SPLITS = {"train": ("train",), "valid": ("valid", "validation", "dev")}
#: Share of the recordings that validate where nothing says which.
_VALID_SHARE = 0.08


def open_part(config: TrainConfig, part: Part) -> Bank:
    """Decode the recordings that a run trains or validates on."""
    tracks = find_part(config.data, config.system.sources, part)
    return build_bank(tracks, config.system.sample_rate, config.data.cache)


def find_part(config: DataConfig, sources: tuple[str, ...], part: Part) -> list[Track]:
    """Return the recordings that a config trains or validates on, or those of its fold."""
    if not config.folds:
        folder = data_folder(getattr(config, part), f"data.{part}")
        return find_tracks(config, folder, sources, part)
    tracks = find_tracks(config, data_folder(config.train, "data.train"), sources, "train")
    held_out = set()
    for label in {t.label for t in tracks}:
        names = _shuffled({t.recording or t.name for t in tracks if t.label == label and not t.extra})
        if len(names) < config.folds:
            what = f"recordings of {label}" if label else "recordings"
            raise UserError(f"data.folds={config.folds}: too many for the {len(names)} {what} there are")
        held_out |= {(label, name) for name in names[config.fold :: config.folds]}
    out = [not t.extra and (t.label, t.recording or t.name) in held_out for t in tracks]
    return [t for t, is_out in zip(tracks, out, strict=True) if is_out == (part == "valid")]


def find_tracks(
    config: DataConfig, folder: Path, sources: tuple[str, ...], part: Part = "train"
) -> list[Track]:
    """Return the recordings below ``folder``, in the order of their names."""
    recipe = {
        "stereo_pairs": stereo_pairs,
        "song_folders": song_folders,
        "class_folders": class_folders,
        "two_folders": two_folders,
    }[config.recipe]
    tracks = recipe(config, folder, sources, part)
    if not tracks:
        raise UserError(f"{folder}: holds no recording that data.recipe={config.recipe} can use")
    return tracks


def stereo_pairs(config: DataConfig, folder: Path, sources: tuple[str, ...], part: Part) -> list[Track]:
    """Each file is a recording whose channels are its sources, as in MIR-1K."""
    del part
    missing = [s for s in sources if s not in config.channels]
    if missing:
        raise UserError(f"data.channels={config.channels}: lacks the source {missing[0]}")
    order = [config.channels.index(s) for s in sources]
    return [
        Track(p.stem, tuple(((str(p), channel),) for channel in order), recording=_recording(config, p))
        for p in _audio(folder)
    ]


def song_folders(config: DataConfig, folder: Path, sources: tuple[str, ...], part: Part) -> list[Track]:
    """Each folder that holds audio is a recording; ``config.files`` says which files are which.

    A manifest says which train. Without one, training and validation folders that are the same
    are split 92 to 8 by the topmost folder, so that sections of one song stay together.
    """
    missing = [s for s in sources if not config.files.get(s)]
    if missing:
        raise UserError(f"data.files: lacks patterns for the source {missing[0]}")
    manifest = read_manifest(folder)
    tracks: list[Track] = []
    for song in sorted({p.parent for p in _audio(folder)}):
        parts = [_matches(song, config.files[source]) for source in sources]
        name = song.relative_to(folder).as_posix()
        recording, split = name.split("/")[0], None
        if all(parts):
            recording, split = manifest.get(f"{name}/{parts[0][0].name}", (recording, split))
        if all(parts) and (split is None or split in _SPLITS[part]):
            pairs = tuple(tuple((str(p), None) for p in files) for files in parts)
            tracks.append(Track(name, pairs, recording=recording))
    return tracks if manifest else _part_of(config, tracks, part)


def two_folders(config: DataConfig, folder: Path, sources: tuple[str, ...], part: Part) -> list[Track]:
    """Two folders of recordings, each of one instrument, for mixing in pairs."""
    if len(sources) != 2:
        raise UserError(f"data.recipe=two_folders: expected two sources, not {', '.join(sources)}")
    return class_folders(config, folder, sources, part)


def class_folders(config: DataConfig, folder: Path, sources: tuple[str, ...], part: Part) -> list[Track]:
    """Each file is a clip of the class whose folder it is in.

    A ``manifest.csv`` with the columns ``path`` and ``split`` (and ``source_id``, the recording)
    says which clips train and which validate. Without one, training and validation folders that
    are the same are split 92 to 8 by recording, class by class; excerpts of one recording stay
    together. Clips of ``config.extra`` train only.
    """
    tracks = _clips(config, folder, sources, part)
    if part == "train":
        for pattern in config.extra:
            extra = data_folder(pattern, "data.extra")
            tracks += _clips(config, extra, sources, part, extra=True)
    for source in sources:
        needed = part == "valid" or config.mixing.generated.get(source, 0) < 1
        if needed and all(t.label != source for t in tracks):
            raise UserError(
                f"{folder}: no clip of the class {source} for data.{part}; expected files in "
                f"{source}/, other names in data.files.{source}, or (without a manifest) enough "
                "recordings to split; data.recording says which files are one recording"
            )
    return tracks


def _clips(config, folder, sources, part, extra=False):
    """The clips of a folder that belong to a part."""
    manifest = read_manifest(folder)
    tracks: list[Track] = []
    for source in sources:
        clips = []
        for path in _matches(folder, config.files.get(source, (f"{source}/**/*",))):
            name = path.relative_to(folder).as_posix()
            recording, split = manifest.get(name, (_recording(config, path), None))
            if split is None or split in _SPLITS[part]:
                name = f"{folder.name}/{name}" if extra else name
                clips.append(Track(name, (((str(path), None),),), source, recording, extra))
        tracks += clips if manifest or extra else _part_of(config, clips, part)
    return tracks


def _part_of(config, tracks, part):
    """The recordings of a part, where nothing but their names says which."""
    if config.train != config.valid:
        return tracks
    held_out = validation_recordings([t.recording for t in tracks])
    return [t for t in tracks if (t.recording in held_out) == (part == "valid")]


def validation_recordings(recordings: list[str], share: float = _VALID_SHARE) -> set[str]:
    """Choose the recordings that validate, by the hash of their names: the same in every run.

    Example:
      >>> sorted(validation_recordings([f"clip{i}" for i in range(25)]))
      ['clip11', 'clip24']
    """
    names = _shuffled(set(recordings))
    return set(names[: max(1, round(share * len(names)))]) if len(names) > 1 else set()


def _shuffled(names):
    """Names in an order of their own, the same in every run."""
    return sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())


def _recording(config, path):
    """The recording that a file was cut from, by its name."""
    found = re.fullmatch(config.recording, path.stem)
    return found.group(1) or path.stem if found else path.stem


def read_manifest(folder: Path) -> dict[str, tuple[str, str]]:
    """``{path: (recording, split)}`` of a folder's manifest; empty without one."""
    path = folder / "manifest.csv"
    if not path.is_file():
        return {}
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"path", "split"} <= rows[0].keys():
        raise UserError(f"{path}: expected a table with the columns path, split and source_id")
    return {row["path"]: (row.get("source_id") or row["path"], row["split"]) for row in rows}


def _audio(folder):
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES)


def _matches(folder, patterns):
    found = {p for pattern in patterns for p in folder.glob(pattern) if p.is_file()}
    return sorted(p for p in found if p.suffix.lower() in AUDIO_SUFFIXES)
