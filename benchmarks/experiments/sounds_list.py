"""``python -m benchmarks.experiments.sounds_list FOLDER``: draw the fixed list of mixtures of five classes.

FOLDER is a set of class folders with a manifest. 200 mixtures of its development clips are drawn
as training draws them (one clip of each class, two of ``other``, -5 to +5 dB, at most 30 % silence)
and written as text: mixture, class, clip, where the excerpt starts in the clip (in seconds, its
pauses shortened as :mod:`train.silence` does) and its gain from -23 dBFS.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path
from typing import NamedTuple

from jaxsep.errors import UserError
from train.config import DataConfig
from train.data.bank import Bank, build_bank
from train.data.mixtures import Mixtures, Part
from train.data.recipes import ClassFolders, find_tracks

SOURCES = ("baby_cry", "siren", "dog", "speech", "other")
RATE, SECONDS = 22050, 5.0
LIST = Path(__file__).parent / "lists" / "sounds_dev.csv"
_COUNT, _SEED = 200, 2026


class Entry(NamedTuple):
    """One clip of one mixture, as the list has it."""

    mixture: int
    source: str
    clip: str
    start: float
    """Seconds."""
    gain_db: float


def main(arguments: list[str]) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.experiments.sounds_list", description=__doc__)
    parser.add_argument("folder", metavar="FOLDER")
    parser.add_argument("-o", "--out", default=str(LIST))
    options = parser.parse_args(arguments)
    try:
        drawn = mixtures(development_bank(options.folder))
    except UserError as error:
        print(f"benchmarks.experiments.sounds_list: {error}", file=sys.stderr)
        return 2
    with open(options.out, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Entry._fields)
        for i in range(_COUNT):
            writer.writerows(_entry(drawn, i, part) for part in drawn.draw(i))
    return 0


def development_bank(folder: str) -> Bank:
    """Decode the development clips of a folder."""
    config = DataConfig(ClassFolders(), train=folder, valid=folder)
    tracks = find_tracks(config, Path(folder), SOURCES, "valid")
    return build_bank(tracks, RATE, config.cache)


def mixtures(bank: Bank) -> Mixtures:
    """The mixtures that the list was drawn from, and that render its entries."""
    return Mixtures(bank, ClassFolders(), SOURCES, _SEED, round(SECONDS * RATE), _COUNT)


def read_list(bank: Bank, path: Path = LIST) -> list[list[Part]]:
    """Read the list as parts of each mixture; refuse clips that the bank lacks."""
    index = {name: i for i, name in enumerate(bank.names)}
    found: dict[int, list[Part]] = {}
    size = Mixtures(bank, ClassFolders(), SOURCES, _SEED, 1, 1).size
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            if row["clip"] not in index:
                raise UserError(
                    f"{path}: the recordings lack {row['clip']}, which mixture {row['mixture']} needs"
                )
            start = round(float(row["start"]) * RATE / size)
            part = Part(SOURCES.index(row["source"]), index[row["clip"]], start, float(row["gain_db"]))
            found.setdefault(int(row["mixture"]), []).append(part)
    return list(found.values())


def _entry(drawn, i, part):
    start = round(part.start * drawn.size / RATE, 3)
    return Entry(i, SOURCES[part.source], drawn.bank.names[part.clip], start, round(part.gain_db, 2))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
