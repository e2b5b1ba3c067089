"""``python -m benchmarks.experiments.sounds MODEL [MODEL ...]``: SI-SDR of five classes on a fixed list.

The list (benchmarks/experiments/lists/sounds_dev.csv) has 200 mixtures of development recordings, in
FOLDER or ``$JAXSEP_DATA/fiveclass``. Each class is scored where it sounds; beside the models stand the
mixture as its own estimate and the ideal ratio mask. Intervals hold 95 % of 1000 draws of the recordings:
there are only three of sirens and four of dogs, so theirs are wide. The row ``sounds, one speed`` is of
a folder of that name: the shipped one, with no ``speeds`` in its config.json. ``sounds@0.25`` is the model
as ``jaxsep live --every 0.25`` hears it.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from benchmarks.experiments.intervals import by_recording, drawn_means, first_recordings, interval
from benchmarks.experiments.models import open_model, title_of
from benchmarks.experiments.sounds_list import RATE, SECONDS, SOURCES, development_bank, mixtures, read_list
from jaxsep.errors import UserError
from jaxsep.evaluation import baseline_estimator, model_estimator
from jaxsep.evaluation.estimators import Estimator
from jaxsep.metrics import si_sdr
from train.data.listing import data_folder

_RESULTS = Path(__file__).parents[1] / "results" / "sounds.json"


def main(arguments: list[str]) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.experiments.sounds", description=__doc__)
    parser.add_argument("models", metavar="MODEL", nargs="*", help="a shipped model's name, or a folder")
    parser.add_argument("--data", default="$JAXSEP_DATA/fiveclass", metavar="FOLDER")
    parser.add_argument("--json", default=str(_RESULTS))
    options = parser.parse_args(arguments)
    try:
        bank = development_bank(str(data_folder(options.data, "data")))
        estimators = {
            "mixture": baseline_estimator("mixture"),
            "ideal ratio mask": baseline_estimator("irm"),
            **{title_of(m): _model(m) for m in options.models},
        }
        parts, drawn = read_list(bank), mixtures(bank)
    except UserError as error:
        print(f"benchmarks.experiments.sounds: {error}", file=sys.stderr)
        return 2
    sources = [drawn.render(p)[:, 0] for p in parts]
    recordings = np.array([first_recordings(bank, p, len(SOURCES)) for p in parts])
    path = Path(options.json)
    before = json.loads(path.read_text())["results"] if path.exists() else {}
    results = {}
    for title, estimate in estimators.items():
        scores = np.array([_score(estimate, s) for s in sources])
        results[title] = summarize(scores, recordings)
        _say(title, results[title])
    head = {
        "command": "python -m benchmarks.experiments.sounds MODEL",
        "list": "benchmarks/experiments/lists/sounds_dev.csv",
        "mixtures": len(parts),
        "seconds": SECONDS,
        "unit": "dB; the interval is that of si_sdri",
    }
    path.write_text(json.dumps({**head, "results": {**before, **results}}, indent=2) + "\n")
    return 0


def summarize(scores: np.ndarray, recordings: np.ndarray, draws: int = 1000) -> dict[str, dict]:
    """Means for each class and over the classes, with intervals by bootstrap over recordings.

    Args:
      scores: ``(mixtures, 2, sources)`` SI-SDR and its improvement, dB; NaN where a source is silent.
      recordings: ``(mixtures, sources)`` names of the recordings.
      draws: how often recordings are drawn again.
    """
    rng = np.random.default_rng(0)
    rows: dict[str, dict] = {}
    drawn = np.zeros((len(SOURCES), draws))
    for s, source in enumerate(SOURCES):
        active = np.isfinite(scores[:, :, s]).all(axis=1)
        gained, names = scores[active, 1, s], recordings[active, s]
        totals, counts = by_recording(gained, np.ones(len(gained)), names)
        drawn[s] = drawn_means(totals, counts, draws, rng)
        rows[source] = _row(scores[active, 0, s].mean(), gained.mean(), drawn[s])
        rows[source] |= {"mixtures": int(active.sum()), "recordings": len(counts)}
    value, gain = (float(np.mean([rows[s][figure] for s in SOURCES])) for figure in ("si_sdr", "si_sdri"))
    rows["mean"] = _row(value, gain, drawn.mean(axis=0))
    rows["mean"] |= {"mixtures": len(scores), "recordings": sum(rows[s]["recordings"] for s in SOURCES)}
    return rows


def _row(value, gained, drawn):
    low, high = interval(drawn)
    figures = {"si_sdr": value, "si_sdri": gained, "low": low, "high": high}
    return {name: round(float(v), 2) for name, v in figures.items()}


def _score(estimate: Estimator, sources):
    mixture = sources.sum(axis=0)
    stems = estimate(dict(zip(SOURCES, sources[:, None], strict=True)), RATE)
    before = np.asarray(si_sdr(sources, mixture[None]))
    after = np.asarray(si_sdr(sources, np.stack([stems[s][0] for s in SOURCES])))
    return np.stack([after, after - before])


def _model(model) -> Estimator:
    separator = open_model(model)
    if missing := [s for s in SOURCES if s not in separator.sources]:
        raise UserError(f"{model}: has no stem {missing[0]} (its stems are {', '.join(separator.sources)})")
    return model_estimator(separator)


def _say(title, rows):
    print(f"{title}: SI-SDR (improvement, interval), dB")
    for name, r in rows.items():
        print(f"  {name:9} {r['si_sdr']:7.2f} ({r['si_sdri']:+.2f}, {r['low']:+.2f} to {r['high']:+.2f})")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
