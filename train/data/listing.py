"""Listing: the audio files of a folder, and which of them train and which validate."""

from __future__ import annotations

import csv
import fnmatch
import hashlib
import os
import posixpath
import re
import sys
import unicodedata
from pathlib import Path
from typing import Any, Literal

from jaxsep.audio import audio_files
from jaxsep.errors import UserError
from train.data.bank import Track

Part = Literal["train", "valid"]
#: What the ``split`` column of a manifest may call each part.
_PARTS = {
    "train": "train", "training": "train", "valid": "valid", "val": "valid", "validation": "valid",
    "dev": "valid", "test": "test",
}  # fmt: skip
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
    """``{path: (recording, part)}`` of a folder's ``manifest.csv``; empty without one.

    Parts are ``"train"``, ``"valid"`` and ``"test"``, by whatever usual name. Paths are compared as
    :func:`plain_name` has them.

    Raises:
      UserError: a column is missing, a split has another name, a recording is in two parts, or none of the
        files that are listed is there.
    """
    path = folder / "manifest.csv"
    if not path.is_file():
        return {}
    with open(path, newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"path", "split"} <= rows[0].keys():
        raise UserError(f"{path}: expected a table with the columns path, split and source_id")
    listed: dict[str, tuple[str, str]] = {}
    part_of_recording: dict[str, tuple[str, int]] = {}
    for line, row in enumerate(rows, 2):
        if row["path"] is None:
            raise UserError(f"{path}: line {line}: has fewer columns than the first, and no path")
        recording = row.get("source_id") or row["path"]
        part = _PARTS.get((row["split"] or "").strip().lower())
        if part is None:
            raise UserError(
                f"{path}: line {line}: split={row['split']!r}: expected one of {', '.join(_PARTS)}"
            )
        other, at = part_of_recording.setdefault(recording, (part, line))
        if other != part:
            raise UserError(
                f"{path}: the recording {recording} is in two splits: {other} (line {at}) and {part} (line "
                f"{line}); what is heard in training validates nothing"
            )
        listed[plain_name(row["path"])] = (recording, part)
    there = {plain_name(p.relative_to(folder).as_posix()) for p in audio_files(folder)}
    absent = [name for name in listed if name not in there]
    if len(absent) == len(listed):
        raise UserError(f"{path}: none of its {len(listed)} files is in this folder, the first {absent[0]}")
    if absent:
        print(
            f"{path}: {len(absent)} of {len(listed)} files are not there, the first {absent[0]}",
            file=sys.stderr,
        )
    return listed


def plain_name(path: str) -> str:
    """A path below a folder, however a table writes it.

    Example:
      >>> plain_name(".\\\\dog\\\\bark.wav")
      'dog/bark.wav'
    """
    return posixpath.normpath(unicodedata.normalize("NFC", path.strip()).replace("\\", "/"))


def listed_as(manifest: dict[str, tuple[str, str]], folder: Path, name: str) -> tuple[str, str]:
    """Recording and part of a file; a manifest that does not list it is refused."""
    try:
        return manifest[plain_name(name)]
    except KeyError:
        raise UserError(
            f"{folder / name}: not listed in manifest.csv, so it belongs to no split; add it there with its "
            "split and recording, or move it away"
        ) from None


def matching_files(folder: Path, patterns: tuple[str, ...], files: list[Path] | None = None) -> list[Path]:
    """The audio files below a folder that any of the patterns matches, by name; ``**`` is any folders.

    ``files`` are all audio files below it, where they are known.
    """
    wanted = [pattern.split("/") for pattern in patterns]
    return [
        path
        for path in (audio_files(folder) if files is None else files)
        if any(_matches(path.relative_to(folder).parts, pattern) for pattern in wanted)
    ]


def _matches(parts, pattern):
    if not pattern or not parts:
        return not parts and set(pattern) <= {"**"}
    if pattern[0] == "**":
        return _matches(parts, pattern[1:]) or _matches(parts[1:], pattern)
    return fnmatch.fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


def recording_of(pattern: str, path: Path) -> str:
    """The recording that a file was cut from, by its name: the pattern's first group."""
    found = re.fullmatch(pattern, path.stem)
    return found.group(1) or path.stem if found else path.stem


def part_of(tracks: list[Track], part: Part, data: Any) -> list[Track]:
    """The recordings of a part where nothing but their names says which; all where the folders differ."""
    if data.train != data.valid:
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
    """The recordings that a fold trains or validates on, parted class by class.

    A recording of several classes goes where the first of them puts it. Extra clips only train, those of a
    recording that is held out not even that.
    """
    held_by: dict[str, int] = {}
    for label in sorted({t.label for t in tracks}):
        names = shuffled({t.origin for t in tracks if t.label == label and not t.extra})
        if len(names) < folds:
            what = f"recordings of {label}" if label else "recordings"
            raise UserError(f"data.folds={folds}: too many for the {len(names)} {what} there are")
        for i, name in enumerate(names):
            held_by.setdefault(name, i % folds)

    def held_out(track):
        return held_by.get(track.origin) == fold

    if part == "valid":
        return [t for t in tracks if held_out(t) and not t.extra]
    return [t for t in tracks if not held_out(t)]


def shuffled(names) -> list[str]:
    """Names in an order of their own, the same in every run."""
    return sorted(names, key=lambda name: hashlib.sha256(os.fsencode(name)).hexdigest())
