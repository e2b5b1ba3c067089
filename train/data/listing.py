"""Listing: the audio files of a folder, and which of them train and which validate."""

from __future__ import annotations

import csv
import hashlib
import os
import re
from pathlib import Path
from typing import Literal

from jaxsep.audio import AUDIO_SUFFIXES
from jaxsep.errors import UserError
from train.data.bank import Track

Part = Literal["train", "valid"]
#: What the ``split`` column of a manifest calls each part.
SPLITS = {"train": ("train",), "valid": ("valid", "validation", "dev")}
#: Share of the recordings that validate where nothing says which.
_VALID_SHARE = 0.08


def data_folder(pattern: str, option: str) -> Path:
    """Fill in environment variables; say what is missing and what to do about it."""
    path = Path(os.path.expandvars(pattern)).expanduser()
    if "$" in str(path):
        name = str(path).split("$")[1].split("/")[0].strip("{}")
        raise UserError(
            f"{option}={pattern}: the environment variable {name} is not set; "
            f"set it to the folder of your recordings, or give --{option} FOLDER"
        )
    if not path.is_dir():
        raise UserError(f"{option}={path}: there is no such folder; give --{option} FOLDER")
    return path


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


def audio_files(folder: Path) -> list[Path]:
    """Every audio file below a folder, by name."""
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES)


def matching_files(folder: Path, patterns: tuple[str, ...]) -> list[Path]:
    """The audio files below a folder that any of the patterns matches, by name."""
    found = {p for pattern in patterns for p in folder.glob(pattern) if p.is_file()}
    return sorted(p for p in found if p.suffix.lower() in AUDIO_SUFFIXES)


def recording_of(pattern: str, path: Path) -> str:
    """The recording that a file was cut from, by its name: the pattern's first group."""
    found = re.fullmatch(pattern, path.stem)
    return found.group(1) or path.stem if found else path.stem


def part_of(tracks: list[Track], part: Part, split: bool) -> list[Track]:
    """The recordings of a part where nothing but their names says which; all where the folders differ."""
    if not split:
        return tracks
    held_out = validation_recordings([t.recording for t in tracks])
    return [t for t in tracks if (t.recording in held_out) == (part == "valid")]


def validation_recordings(recordings: list[str], share: float = _VALID_SHARE) -> set[str]:
    """Choose the recordings that validate, by the hash of their names: the same in every run.

    Example:
      >>> sorted(validation_recordings([f"clip{i}" for i in range(25)]))
      ['clip11', 'clip24']
    """
    names = shuffled(set(recordings))
    return set(names[: max(1, round(share * len(names)))]) if len(names) > 1 else set()


def in_fold(tracks: list[Track], folds: int, fold: int, part: Part) -> list[Track]:
    """The recordings that a fold trains or validates on, class by class; extra clips only train."""
    held_out = set()
    for label in {t.label for t in tracks}:
        names = shuffled({t.recording or t.name for t in tracks if t.label == label and not t.extra})
        if len(names) < folds:
            what = f"recordings of {label}" if label else "recordings"
            raise UserError(f"data.folds={folds}: too many for the {len(names)} {what} there are")
        held_out |= {(label, name) for name in names[fold::folds]}
    out = [not t.extra and (t.label, t.recording or t.name) in held_out for t in tracks]
    return [t for t, is_out in zip(tracks, out, strict=True) if is_out == (part == "valid")]


def shuffled(names) -> list[str]:
    """Names in an order of their own, the same in every run."""
    return sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
