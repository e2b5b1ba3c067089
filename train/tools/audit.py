"""``python -m train.tools.audit FOLDER``: what a data set of class folders holds, before it trains anything.

For each class: files, recordings, minutes; duplicates (files whose samples are the same, and files
whose sound is, whatever their level, rate or format); the share of silence (30 ms frames 35 dB
under the 95th percentile of the file), and the files that are more than 30 % silence.

Of a folder that ``python -m train.tools.render`` wrote it says what repeats, by its ``examples.csv``: for
each source the clips drawn, how often the most drawn one, and the share of draws that equal an earlier
one in clip, start, level and all else that its row says; and the share of whole examples that do.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from jaxsep.audio import AudioReader, audio_files, read_audio
from jaxsep.errors import UserError
from train.data.listing import plain_name, read_manifest
from train.data.silence import silent_frames

_RATE, _MAX_SILENCE = 8000, 0.3
#: Largest mean difference of two files' envelopes, dB, for their sound to be the same.
_SAME_DB = 1.0


@dataclass(frozen=True)
class Audited:
    """What was found of one file."""

    path: str
    label: str
    recording: str
    seconds: float
    silence: float
    """Share of its frames that is silence."""
    digest: str
    """Hash of its samples."""
    envelope: np.ndarray
    """``(bands, slices)`` dB, its mean taken off: what two copies have in common."""


@dataclass(frozen=True)
class Row:
    """One class of the table."""

    label: str
    files: int
    recordings: int
    minutes: float
    identical: int
    """Files whose samples another file has already."""
    alike: int
    """Files whose sound another file has already, those included."""
    silence: float
    """Share of the class's time that is silence."""
    silent_files: int
    """Files with more than 30 % silence."""


def main(arguments: list[str]) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m train.tools.audit",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "folder", metavar="FOLDER", help="holds a folder for each class, or the examples.csv of rendered ones"
    )
    parser.add_argument("--csv", help="write the table here too")
    parser.add_argument("--list", action="store_true", help="name the duplicates")
    options = parser.parse_args(arguments)
    try:
        if (listed := Path(options.folder) / "examples.csv").is_file():
            if options.list:
                raise UserError("--list: names duplicate files; a table of examples lists its own repeats")
            _say(repeats(listed), _text_of_repeats, options.csv)
            return 0
        files, skipped = audit(Path(options.folder))
    except UserError as error:
        print(f"train.tools.audit: {error}", file=sys.stderr)
        return 2
    _say(table(files), _text, options.csv)
    for line in skipped:
        print(f"skipped {line}", file=sys.stderr)
    if options.list:
        for group in duplicates(files):
            print("the same sound: " + ", ".join(f.path for f in group))
    return 0


def _say(rows, text, path):
    """Print rows, and write them to a CSV file where one is named."""
    print(text(rows))
    if path:
        with open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, list(asdict(rows[0])))
            writer.writeheader()
            writer.writerows(asdict(row) for row in rows)


def audit(folder: Path) -> tuple[list[Audited], list[str]]:
    """Read every audio file of the folders below ``folder``; a line for each that cannot be."""
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder")
    manifest = read_manifest(folder)
    files, skipped = [], []
    for path in audio_files(folder):
        name = path.relative_to(folder).as_posix()
        if "/" not in name:  # of no class
            continue
        try:
            files.append(_listen(path, name, manifest.get(plain_name(name), (name, ""))[0]))
        except (UserError, ValueError) as error:
            skipped.append(f"{name}: {error}")
    if not files:
        raise UserError(f"{folder}: holds no CLASS/FILE that can be read")
    return files, skipped


def table(files: list[Audited]) -> list[Row]:
    """One row for each class, and one for all."""
    copies = {f.path for group in duplicates(files) for f in group[1:]}
    labels = sorted({f.label for f in files})
    groups = [(label, [f for f in files if f.label == label]) for label in labels]
    return [
        Row(
            label=label,
            files=len(group),
            recordings=len({f.recording for f in group}),
            minutes=round(sum(f.seconds for f in group) / 60, 2),
            identical=len(group) - len({f.digest for f in group}),
            alike=sum(f.path in copies for f in group),
            silence=round(
                float(np.average([f.silence for f in group], weights=[f.seconds for f in group])), 3
            ),
            silent_files=sum(f.silence > _MAX_SILENCE for f in group),
        )
        for label, group in [*groups, ("all", files)]
    ]


def duplicates(files: list[Audited]) -> list[list[Audited]]:
    """Groups of files with the same sound: envelopes of one length that differ by under 1 dB."""
    groups: list[list[Audited]] = []
    by_length: dict[int, list[list[Audited]]] = {}
    for file in files:
        length = file.envelope.shape[1]
        near = [g for n in (length - 1, length, length + 1) for g in by_length.get(n, [])]
        found = next((g for g in near if _difference(g[0], file) < _SAME_DB), None)
        if found is None:
            found = []
            by_length.setdefault(length, []).append(found)
            groups.append(found)
        found.append(file)
    return [group for group in groups if len(group) > 1]


@dataclass(frozen=True)
class Repeats:
    """What repeats among the drawn examples of a source, or among whole examples."""

    source: str
    draws: int
    clips: int
    """Different clips among the draws."""
    most: int
    """How often the most drawn clip was."""
    same: int
    """Draws that an earlier one equals in all that the table says, before augmentation."""


def repeats(path: Path) -> list[Repeats]:
    """Count what repeats in the ``examples.csv`` of a rendered set; the last row is of whole examples."""
    draws: dict[str, list[tuple]] = {}
    whole: dict[str, list[tuple]] = {}
    with open(path, newline="") as file:
        table = csv.DictReader(file)
        if missing := {"example", "source", "clip"} - set(table.fieldnames or ()):
            raise UserError(
                f"{path}: has no column {sorted(missing)[0]}; expected what train.tools.render writes"
            )
        for row in table:
            example, source = row.pop("example"), row["source"]
            drawn = tuple(row.values())
            draws.setdefault(source, []).append((row["clip"], drawn))
            whole.setdefault(example, []).append(drawn)
    if not draws:
        raise UserError(f"{path}: lists no examples")
    rows = []
    for source, each in sorted(draws.items()):
        clips = Counter(clip for clip, _ in each)
        same = len(each) - len({drawn for _, drawn in each})
        rows.append(Repeats(source, len(each), len(clips), max(clips.values()), same))
    sets = Counter(tuple(sorted(parts)) for parts in whole.values())
    return [
        *rows,
        Repeats("whole examples", len(whole), len(sets), max(sets.values()), len(whole) - len(sets)),
    ]


def _text_of_repeats(rows):
    lines = [f"{'source':16} {'draws':>8} {'different':>10} {'most drawn':>11} {'repeated':>10}"]
    for r in rows:
        lines.append(f"{r.source:16} {r.draws:8} {r.clips:10} {r.most:11} {100 * r.same / r.draws:8.3f} %")
    return "\n".join(lines)


def _difference(a, b):
    """Mean difference of two envelopes in dB, over the length that both have."""
    length = min(a.envelope.shape[1], b.envelope.shape[1])
    return float(np.mean(np.abs(a.envelope[:, :length] - b.envelope[:, :length])))


def _listen(path, name, recording):
    reader = AudioReader(path)
    rate = reader.sample_rate
    reader.close()
    audio = read_audio(path).mean(axis=0)
    slow = read_audio(path, _RATE).mean(axis=0)
    return Audited(
        path=name,
        label=name.split("/")[0],
        recording=recording,
        seconds=len(audio) / rate,
        silence=float(silent_frames(audio, rate).mean()) if len(audio) > rate // 10 else 1.0,
        digest=hashlib.sha256(audio.tobytes()).hexdigest(),
        envelope=_envelope(slow),
    )


def _envelope(audio, size=1024, bands=12):
    """Levels of bands of 64 ms slices in dB, floored 50 dB under the loudest, mean taken off."""
    padded = np.pad(audio, (0, -len(audio) % (size // 2)))
    slices = padded.reshape(-1, size // 2)
    power = np.abs(np.fft.rfft(slices, axis=1)[:, 1:]) ** 2
    edges = np.unique(np.geomspace(1, power.shape[1], bands + 1).astype(int)) - 1
    levels = 10 * np.log10(np.add.reduceat(power, edges[:-1], axis=1).T + 1e-20)
    levels = np.maximum(levels, levels.max() - 50)
    return levels - levels.mean()


def _text(rows):
    head = f"{'class':16} {'files':>6} {'recordings':>11} {'minutes':>8} {'identical':>10} {'alike':>6} "
    lines = [head + f"{'silence':>8} {'files > 30 %':>13}"]
    for r in rows:
        lines.append(
            f"{r.label:16} {r.files:6} {r.recordings:11} {r.minutes:8.2f} {r.identical:10} {r.alike:6} "
            f"{100 * r.silence:6.1f} % {r.silent_files:13}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
