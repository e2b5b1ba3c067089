"""``jaxsep evaluate``: scores of folders of stems."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from jaxsep.evaluation import FIGURES, evaluate_folders, summarise
from jaxsep.store import write_atomically


def evaluate(options) -> int:
    """Score ``ESTIMATES/TRACK/STEM.*`` against ``REFERENCES/TRACK/STEM.*`` and print a table."""
    tracks, problems = evaluate_folders(options.references, options.estimates, options.jobs)
    summary = summarise(tracks)
    for problem in problems:
        print(f"jaxsep: {problem}", file=sys.stderr)
    if options.json:
        result = {"summary": summary, "tracks": tracks, "problems": problems}
        write_atomically(Path(options.json), (json.dumps(result, indent=2) + "\n").encode())
    if not options.quiet:
        _print(tracks if options.verbose else {}, summary)
    return 2 if problems else 0


def _print(tracks, summary):
    print(f"{'':24}" + "".join(f"{name:>9}" for name in FIGURES))
    for track, stems in tracks.items():
        for stem, scores in stems.items():
            print(f"{track + '/' + stem:24.24}" + "".join(f"{_show(scores[f]):>9}" for f in FIGURES))
    for stem, scores in summary.items():
        print(f"{stem:24.24}" + "".join(f"{_show(scores[f]):>9}" for f in FIGURES))
        silent = [f"{scores[k]} {k}" for k in ("silent references", "silent estimates") if scores[k]]
        note = f"; left out: {', '.join(silent)}" if silent else ""
        print(f"  mean over {scores['tracks']} tracks, weighted by length, dB{note}")


def _show(value):
    return "-" if value is None else f"{value:.2f}"
