"""``python -m benchmarks.experiments [NAME ...]``: a short run of every experiment, in one table.

The experiments stand in benchmarks/experiments/lists/experiments.yaml. Each is trained (or goes on where it
stopped) in RUNS/NAME, then separates recordings that it was not trained on. A row of
results/experiments.json has the published figure and ours in the same unit; SDR, SIR, SAR and the
improvement of SI-SDR of every source, for the model, the ideal ratio mask and the mixture as its own
estimate; parameters and seconds per step. The improvement has an interval, which holds 95 % of draws of
the recordings. results/experiments.md is the table to read.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import jax
import numpy as np
import yaml

from benchmarks.experiments.intervals import by_recording, drawn_means, first_recordings, interval
from jaxsep.errors import UserError
from jaxsep.evaluation import baseline_estimator, model_estimator, score_track, summarize
from jaxsep.hub import find_model
from jaxsep.separator import Separator
from jaxsep.training import example_loss
from train.config import TrainConfig, load_config
from train.data.mixtures import Mixtures
from train.data.recipes import Recordings, open_part
from train.log import read_log
from train.run import run

_ROOT = Path(__file__).parents[2]
_LIST = Path(__file__).parent / "lists" / "experiments.yaml"
_RESULTS = _ROOT / "benchmarks" / "results" / "experiments.json"
_CONFIGS = _ROOT / "configs"
#: Seconds of a recording that are scored, from its middle.
_SECONDS = 12.0


def main(arguments: list[str]) -> int:
    """Run the command; return its exit status."""
    experiments = yaml.safe_load(_LIST.read_text())
    parser = argparse.ArgumentParser(prog="python -m benchmarks.experiments", description=__doc__)
    parser.add_argument("names", metavar="NAME", nargs="*", help=f"of {', '.join(experiments)}; all")
    parser.add_argument("--runs", default="runs/experiments", metavar="FOLDER")
    parser.add_argument("--recordings", type=int, default=24, help="to score at most, each")
    parser.add_argument("--json", default=str(_RESULTS))
    options = parser.parse_args(arguments)
    path = Path(options.json)
    rows = json.loads(path.read_text()) if path.exists() else {}
    unknown = [name for name in options.names if name not in experiments]
    if unknown:
        expected = f"expected some of {', '.join(experiments)}"
        print(f"benchmarks.experiments: {unknown[0]}: {expected}", file=sys.stderr)
        return 2
    status = 0
    for name in options.names or experiments:
        try:
            row = _experiment(name, experiments[name], Path(options.runs), options.recordings)
        except UserError as error:  # the others need not wait for what this one misses
            print(f"benchmarks.experiments: {name}: {error}", file=sys.stderr)
            status = 2
            continue
        if row is None:
            return 1
        rows[name] = row
        rows = {k: rows[k] for k in experiments if k in rows}
        path.write_text(json.dumps(rows, indent=2) + "\n")
        path.with_suffix(".md").write_text(table(rows))
    print(table(rows))
    return status


def _experiment(name, entry, runs, most):
    """Train and measure one experiment; None when it was stopped."""
    out = runs / name
    options = {**entry.get("options", {}), "out": str(out)}
    config = load_config(str(_CONFIGS / entry["config"]), overrides(options))
    if run(config):
        return None
    row = {
        "title": entry["title"],
        "command": f"python -m benchmarks.experiments {name}",
        "config": entry["config"],
        "published": entry["published"],
        "note": entry.get("note", ""),
        "steps": config.steps,
        "seconds_per_step": _seconds_per_step(out),
        **measure(config, find_model(str(out)), most),
    }
    return {**row, "ours": _same_unit(entry, row, out)}


def overrides(options: dict) -> list[str]:
    """Options of an experiment as those of ``python -m train``.

    Example:
      >>> overrides({"steps": 5, "system.codec.phase": True})
      ['--steps', '5', '--system.codec.phase']
    """
    pairs = ([f"--{k}"] if value is True else [f"--{k}", str(value)] for k, value in options.items())
    return [x for pair in pairs for x in pair]


def measure(config: TrainConfig, folder: Path, most: int) -> dict:
    """Scores of a model on the validation recordings of a config, beside the oracle and the mixture."""
    recordings = config.data.recipe.validation(config.data, open_part(config, "valid"), config.system.sources)
    separator = Separator.from_pretrained(folder)
    rate = separator.sample_rate
    estimators = {
        "scores": model_estimator(separator),
        "oracle": baseline_estimator("irm"),
        "mixture": baseline_estimator("mixture"),
    }
    tracks: dict[str, dict] = {which: {} for which in estimators}
    names: dict[str, list[str]] = {source: [] for source in config.system.sources}
    for i in np.linspace(0, len(recordings.names) - 1, min(most, len(recordings.names))).astype(int):
        sources = _middle(recordings.track(i), round(_SECONDS * rate))
        references = dict(zip(config.system.sources, sources, strict=True))
        for source, name in zip(references, _recordings(recordings, i, len(sources)), strict=True):
            names[source].append(name)
        for which, estimate in estimators.items():
            estimates = estimate(references, rate)
            rows = score_track(sources, [estimates[name] for name in references])
            seconds = sources.shape[-1] / rate
            named = zip(references, rows, strict=True)
            tracks[which][str(i)] = {source: {**row, "seconds": seconds} for source, row in named}
    size = parameter_count(separator)
    loss = _development_loss(config, separator, recordings, most)
    scores = {which: _rounded(summarize(rows)) for which, rows in tracks.items()}
    for source, row in scores["scores"].items():
        rows = [stems[source] for stems in tracks["scores"].values()]
        row["si_sdri interval"], row["recordings"] = _interval(rows, names[source])
    return {"parameters": size, "development_loss": loss, **scores}


def _recordings(recordings, i, num_sources) -> list[str]:
    """The recording of each source of validation track i, which are one unless it was overlaid of clips."""
    if isinstance(recordings, Mixtures):
        return first_recordings(recordings.bank, recordings.draw(i), num_sources)
    return [recordings.tracks[i].recording or recordings.names[i]] * num_sources


def _interval(rows, names):
    """Interval of the mean SI-SDR improvement over draws of the recordings, and how many; None of one."""
    named = zip(rows, names, strict=True)
    kept = [(row, name) for row, name in named if row["si_sdri"] is not None and np.isfinite(row["si_sdri"])]
    if not kept:
        return None, 0
    values, seconds = ([row[key] for row, _ in kept] for key in ("si_sdri", "seconds"))
    totals, weights = by_recording(values, seconds, [name for _, name in kept])
    return interval(drawn_means(totals, weights)) if len(totals) > 1 else None, len(totals)


def parameter_count(separator: Separator) -> int:
    """Numbers that its network learnt."""
    return sum(x.size for x in jax.tree.leaves(separator.variables["params"]))


def _middle(sources, samples):
    start = max(0, sources.shape[-1] - samples) // 2
    return np.asarray(sources[..., start : start + samples], np.float32)


def _development_loss(config, separator, recordings: Recordings, most):
    """Mean of what the config trains on, over excerpts of the validation recordings."""
    system = separator.system

    @jax.jit
    def loss(variables, sources):
        estimates, encoded, _ = system.forward(variables, sources.sum(axis=1))
        return example_loss(config.loss, system, estimates, encoded, sources)[0]

    length, values = config.excerpt_samples, []
    for i in range(min(most, len(recordings.names))):
        sources = _middle(recordings.track(i), length)
        if sources.shape[-1] == length:
            values.append(float(loss(separator.variables, sources[None])))
    return float(np.mean(values)) if values else None


def _same_unit(entry, row, out):
    """Ours in the unit of the published figure."""
    if entry["figure"] != "loss":
        return {entry["figure"]: row["scores"][entry["stem"]][entry["figure"]]}
    losses = [line["loss"] for line in read_log(out) if "loss" in line]
    found = {"train": float(np.mean(losses[-2:])), "dev": row["development_loss"]}
    return {part: None if x is None else round(x, 1) for part, x in found.items()}


def _seconds_per_step(out):
    """Median over the log, its first line with the compilation aside."""
    times = [line["seconds_per_step"] for line in read_log(out) if "seconds_per_step" in line]
    return round(float(np.median(times[1:] or times)), 3)


def _rounded(summary):
    return {
        stem: {k: round(v, 2) if isinstance(v, float) else v for k, v in row.items()}
        for stem, row in summary.items()
    }


def table(rows: dict[str, dict]) -> str:
    """Rows as a Markdown table: each source's SI-SDR improvement with its interval, SDR / SIR / SAR."""
    head = (
        "experiment", "published", "ours", "sources", "SI-SDR improvement", "SDR / SIR / SAR",
        "oracle mask", "mixture SDR", "parameters", "steps", "s/step",
    )  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name, row in rows.items():
        sources = list(row["scores"])
        cells = [
            f"{row['title']} (`{name}`)",
            _figures(row["published"]) or row["note"] or "none",
            _figures(row["ours"]),
            "<br>".join(sources),
            "<br>".join(improvement(score) for score in row["scores"].values()),
            _cells(row["scores"], "sdr", "sir", "sar"),
            _cells(row["oracle"], "si_sdri"),
            _cells(row["mixture"], "sdr"),
            f"{row['parameters'] / 1e6:.2f} M",
            _show(row["steps"], "{}"),
            _show(row["seconds_per_step"], "{:.2f}"),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def improvement(score: dict) -> str:
    """A source's SI-SDR improvement with its interval, as far as one was measured.

    Example:
      >>> improvement({"si_sdri": 5.04, "si_sdri interval": [3.96, 6.2]})
      '5.0 (4.0 to 6.2)'
    """
    mean, ends = score["si_sdri"], score.get("si_sdri interval")
    return _show(mean, "{:.1f}") + (f" ({ends[0]:.1f} to {ends[1]:.1f})" if ends else "")


def _figures(figures):
    return ", ".join(f"{name} {_show(value, '{:g}')}" for name, value in (figures or {}).items())


def _cells(rows, *figures):
    """A line for each source."""
    return "<br>".join(" / ".join(_show(row[f], "{:.1f}") for f in figures) for row in rows.values())


def _show(value, form):
    return "-" if value is None else form.format(value)
