"""``jaxsep evaluate``: scores of estimates, of a model or of a baseline."""

from __future__ import annotations

import csv
import io
import json
import math
import sys
import time
from pathlib import Path

from jaxsep.audio import show
from jaxsep.commands.evaluation_page import write_page
from jaxsep.compilation import keep_compiled
from jaxsep.errors import UserError, for_command
from jaxsep.evaluation import Evaluation, baseline_estimator, evaluate_folders, model_estimator
from jaxsep.files import check_writable, write_atomically
from jaxsep.hub import find_model, read_info
from jaxsep.separator import Separator

#: Figures whose names are too long for a column.
_HEADS = {"si_sdri_voiced": "voiced", "si_sdri_unvoiced": "unvoiced"}
#: Seconds between two writings of scores on the way.
_EVERY = 5.0


def evaluate(options) -> int:
    """Score ``TRACK/STEM.*`` of one folder against another's, or against what a model makes of them."""
    keep_compiled()
    for path in (options.json, options.csv, options.html):
        if path:
            check_writable(path)
    estimates, name = _estimates(options)
    if options.resume and not options.json:
        raise UserError("--resume: takes up the scores in --json FILE; give that too")
    if options.judge != "jaxsep" and options.window is not None:
        raise UserError(f"--judge {options.judge}: scores whole tracks; leave out --window")
    if options.hop is not None and options.window is None:
        raise UserError(f"--hop {options.hop}: is between frames; give their --window too")
    written = time.monotonic()

    def progress(result):
        nonlocal written
        if options.json and time.monotonic() - written > _EVERY:
            _write_json(options.json, result)
            written = time.monotonic()

    result = evaluate_folders(
        options.references,
        estimates,
        name=name,
        version=str(read_info(find_model(options.model)).get("sha256")) if options.model else "",
        jobs=options.jobs,
        window=options.window,
        hop=options.hop,
        judge=options.judge,
        voiced=options.voiced,
        sanitize=options.sanitize,
        known=_known(options.json) if options.resume else None,
        progress=progress,
    )
    for problem in result.problems:
        print(f"jaxsep: {for_command(problem)}", file=sys.stderr)
    if options.json:
        _write_json(options.json, result)
    if options.csv:
        write_atomically(Path(options.csv), _csv(result))
    if options.html:
        write_page(options, estimates, name, result)
    if not options.quiet:
        _print(result, options.verbose)
    return 2 if result.problems else 0


def _estimates(options):
    """The folder or the function that estimates come from, and its name."""
    given = [x for x in (options.estimates, options.model, options.baseline) if x]
    if len(given) != 1:
        raise UserError(
            "evaluate: expected one of a folder of ESTIMATES, -m MODEL and --baseline NAME, "
            f"got {' and '.join(map(str, given)) or 'none'}"
        )
    if options.wiener and not options.model:
        raise UserError(f"wiener={options.wiener}: filters the stems of a model; give one by -m", "wiener")
    if options.model:
        separator = Separator.from_pretrained(options.model, wiener=options.wiener)
        filtered = f", wiener {options.wiener}" if options.wiener else ""
        return model_estimator(separator), f"model {separator.name}{filtered}"
    if options.baseline:
        return baseline_estimator(options.baseline), f"baseline {options.baseline}"
    return options.estimates, ""


def _known(path):
    """Scores written before; none where there is no such file."""
    if not Path(path).exists():
        return None
    try:
        saved = json.loads(Path(path).read_text())
        tracks = {
            track: {stem: {k: _as_float(v) for k, v in row.items()} for stem, row in stems.items()}
            for track, stems in saved["tracks"].items()
        }
        return Evaluation(tuple(saved["figures"]), tracks, [], saved["inputs"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{show(path)}: holds no scores to go on from; leave out --resume") from error


def _write_json(path, result):
    saved = {
        "summary": _in_json(result.summary()),
        "figures": result.figures,
        "tracks": _in_json(result.tracks),
        "problems": [str(problem) for problem in result.problems],
        "inputs": result.inputs,
    }
    write_atomically(Path(path), (json.dumps(saved, indent=2) + "\n").encode())


def _in_json(value):
    """The same with infinite figures as ``"inf"``: JSON has no number for them."""
    if isinstance(value, dict):
        return {k: _in_json(v) for k, v in value.items()}
    return str(value) if isinstance(value, float) and math.isinf(value) else value


def _as_float(value):
    return float(value) if value in ("inf", "-inf") else value


def _csv(result):
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["track", "stem", *result.figures, "silent", "seconds"])
    for track, stems in result.tracks.items():
        for stem, row in stems.items():
            writer.writerow([track, stem, *(row[f] for f in result.figures), row["silent"], row["seconds"]])
    return text.getvalue()


def _print(result, verbose):
    figures = result.figures
    print(f"{'':24}" + "".join(f"{_HEADS.get(name, name):>9}" for name in figures))
    for track, stems in result.tracks.items() if verbose else ():
        for stem, scores in stems.items():
            print(f"{show(track + '/' + stem):24.24}" + "".join(f"{_show(scores[f]):>9}" for f in figures))
    how = (
        "median over {} tracks of the median over frames"
        if "isr" in figures
        else ("mean over {} tracks, weighted by length")
    )
    for stem, scores in result.summary().items():
        print(f"{show(stem):24.24}" + "".join(f"{_show(scores[f]):>9}" for f in figures))
        silent = [f"{scores[k]} {k}" for k in ("silent references", "silent estimates") if scores[k]]
        silent += [f"{scores['perfect']} perfect (+inf dB SI-SDR)"] if scores["perfect"] else []
        note = f"; left out: {', '.join(silent)}" if silent else ""
        print(f"  {how.format(scores['tracks'])}, dB{note}")


def _show(value):
    return "-" if value is None else f"{value:.2f}"
