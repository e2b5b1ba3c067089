"""``python -m train.tools.tracks CONFIG [-o FILE.csv]``: the recordings of a config, in a table.

One row for each: part, name, what it was cut from, class (for clips), seconds, the files of each
source, and where its sections start. Fields of the config are overridden as in training, after
``--``.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path
from typing import get_args

from jaxsep.errors import UserError
from train.config import TrainConfig, load_config, parse_with_overrides
from train.data.excerpts import section_starts
from train.data.listing import Part
from train.data.recipes import open_part


def main(arguments: list[str]) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m train.tools.tracks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", metavar="CONFIG")
    parser.add_argument("-o", "--out", metavar="FILE.csv", help="write the table here instead of printing it")
    options, overrides = parse_with_overrides(parser, arguments)
    try:
        rows = track_table(load_config(options.config, overrides))
        if options.out:
            with open(options.out, "w", newline="") as file:
                _write(rows, file)
        else:
            _write(rows, sys.stdout)
    except (UserError, OSError) as error:
        print(f"train.tools.tracks: {error}", file=sys.stderr)
        return 2
    return 0


def track_table(config: TrainConfig) -> list[dict]:
    """Return the rows of the table."""
    data, sources, rate = config.data, config.system.sources, config.system.sample_rate
    rows = []
    for part in get_args(Part):
        bank = open_part(config, part)
        excerpt, skip = config.excerpt_samples, round(getattr(data.recipe, "skip_seconds", 0.0) * rate)
        for track, length in zip(bank.tracks, bank.lengths.tolist(), strict=True):
            starts = section_starts(length, excerpt, skip, getattr(data.recipe, "sections", 0)) / rate
            row = {"part": part, "track": track.name, "recording": track.origin}
            row |= {"class": track.label, "seconds": f"{length / rate:.2f}"}
            row |= {"sections": " ".join(f"{s:.2f}" for s in starts)}
            names = (track.label,) if track.label else sources
            files = [" + ".join(Path(s.file).name for s in signals) for signals in track.sources]
            rows.append({**row, **dict.fromkeys(sources, ""), **dict(zip(names, files, strict=True))})
    return rows


def _write(rows, file):
    table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
