"""``python -m train.tools.sweep CONFIG --grid FIELD=A,B [--grid ...] [--folds K] -o FOLDER``: many runs.

Trains every combination of the grid's values, each K times with another fold of the training
recordings to validate on, and ranks them by their best validation score::

    python -m train.tools.sweep configs/vocals_mir1k.yaml --grid optimizer.learning_rate=0.01,0.001
        --grid seed=0,1 --folds 5 -o runs/sweeps/rate -- --steps 500

writes ``FOLDER/sweep.csv``, a row for each run, and prints means over folds. A combination that
cannot be is refused with its reason, and the others run. Started again, the command goes on
where it stopped. ``--together`` trains runs that differ in seed and learning rate alone as one
program. Fields of the config are overridden after ``--``.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import yaml

from jaxsep.errors import UserError, one_line
from jaxsep.optimizers import OptimizerOptions
from jaxsep.parts import from_dict, to_dict
from jaxsep.training import init_state, make_batch, train_step
from train.config import TrainConfig, load_config, parse_with_overrides
from train.log import read_log


@dataclass(frozen=True)
class Run:
    """One run of a sweep."""

    values: dict[str, Any]
    """Field -> value of the grid."""
    fold: int | None
    config: TrainConfig | None
    """None where the combination was refused."""
    reason: str = ""
    """Why it was refused, or failed."""

    @property
    def name(self) -> str:
        """Its folder in the sweep's."""
        text = ",".join(f"{field}={value}" for field, value in self.values.items()) or "run"
        text = re.sub(r"[^\w.,=+-]", "_", text)
        return text if self.fold is None else f"{text},fold={self.fold}"


def main(arguments: list[str]) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m train.tools.sweep",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", metavar="CONFIG")
    parser.add_argument("--grid", action="append", default=[], metavar="FIELD=A,B", help="values to try")
    parser.add_argument("--folds", type=int, default=0, metavar="K", help="cross-validation")
    parser.add_argument("--together", action="store_true", help="train runs of one shape as one program")
    parser.add_argument("-o", "--out", required=True, metavar="FOLDER")
    options, overrides = parse_with_overrides(parser, arguments)
    try:
        config = load_config(options.config, overrides)
        grid = dict(parse_axis(text) for text in options.grid)
        return sweep(config, grid, options.folds, Path(options.out), options.together)
    except UserError as error:
        print(f"train.tools.sweep: {error}", file=sys.stderr)
        return 2


def parse_axis(text: str) -> tuple[str, list]:
    """Read one ``--grid``: a dotted field and its values, as YAML would read them.

    Example:
      >>> parse_axis("optimizer.learning_rate=1e-2,0.001")
      ('optimizer.learning_rate', ['1e-2', 0.001])
    """
    field, _, values = text.partition("=")
    if not field or not values:
        raise UserError(f"--grid {text}: expected FIELD=VALUE,VALUE")
    try:
        return field, yaml.safe_load(f"[{values}]")
    except yaml.YAMLError as error:
        raise UserError(f"--grid {text}: the values are no YAML list ({error.__class__.__name__})") from error


def sweep(config: TrainConfig, grid: dict[str, list], folds: int, out: Path, together: bool = False) -> int:
    """Train every combination that can be; write and print the table; return the exit status."""
    from train.run import run, run_together

    runs = [r for values in combinations(grid) for r in _runs(config, values, folds, out)]
    out.mkdir(parents=True, exist_ok=True)
    groups = _alike(runs) if together else [[r] for r in runs]
    reasons: dict[str, str] = {}
    for group in groups:
        configs = [r.config for r in group if r.config]
        if all(_result(c) for c in configs):
            continue
        print(f"sweep: {'; '.join(r.name for r in group)}", file=sys.stderr, flush=True)
        try:
            status, failed = run_together(configs) if len(configs) > 1 else (run(configs[0]), {})
        except UserError as error:
            status, failed = 0, {c.out: str(error) for c in configs}
        if status:
            return status
        reasons |= failed
    runs = [replace(r, reason=reasons.get(r.config.out, "")) if r.config else r for r in runs]
    _write_table(runs, list(grid), out / "sweep.csv")
    print(_summary(runs))
    return 0


def combinations(grid: dict[str, list]) -> list[dict[str, Any]]:
    """Every combination of the values of a grid.

    Example:
      >>> combinations({"a": [1, 2], "b": [3]})
      [{'a': 1, 'b': 3}, {'a': 2, 'b': 3}]
    """
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def with_values(config: TrainConfig, values: dict[str, Any]) -> TrainConfig:
    """Return ``config`` with the fields of dotted names changed.

    Another part (``system.network.name``) starts from its own defaults.

    Raises:
      ValueError: an unknown field, or a value that it refuses.

    Example:
      >>> with_values(TrainConfig(), {"optimizer.learning_rate": 0.5}).optimizer.learning_rate
      0.5
    """
    plain = to_dict(config)
    # Names first, outer ones before those within: each puts a part with its own defaults in place.
    order = sorted(values.items(), key=lambda item: (not item[0].endswith(".name"), item[0].count(".")))
    for field, value in order:
        *path, last = field.split(".")
        place: Any = plain
        for key in path:
            if not isinstance(place.get(key), dict):
                raise ValueError(f"{field}: there is no such field")
            place = place[key]
        if last == "name" and place.get(last) != value:
            plain = _with_part(plain, path, value)
        else:
            place[last] = value
    return from_dict(TrainConfig, plain, "config")


def _with_part(plain, path, name):
    """A config's dictionary with another part at a place, filled in with that part's defaults."""
    place = plain
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = {"name": name}
    return to_dict(from_dict(TrainConfig, plain, "config"))


def why_impossible(config: TrainConfig) -> str:
    """Trace a training step without computing it; return what is wrong with its shapes, or nothing."""
    optimizer = config.optimizer(config.steps)
    options = config.step_options()

    def step(sources):
        state = init_state(options["system"], optimizer, ema=config.ema_decay > 0)
        return train_step(state, make_batch(sources), optimizer=optimizer, **options)

    shape = (config.accumulate, len(config.system.sources), config.system.channels, config.read_samples)
    try:
        jax.eval_shape(step, jax.ShapeDtypeStruct(shape, np.float32))
    except Exception as error:  # what a network raises at shapes that cannot be is its library's affair
        return one_line(error)
    return ""


def _runs(config, values, folds, out) -> list[Run]:
    """The runs of one combination: one for each fold, or one refused."""
    try:
        own = with_values(config, values)
        reason = why_impossible(own)
    except ValueError as error:
        own, reason = config, str(error)
    if reason:
        print(f"sweep: refused {values}: {reason}", file=sys.stderr)
        return [Run(values, None, None, reason)]
    runs = []
    for fold in range(folds) if folds else [None]:
        data = own.data if fold is None else replace(own.data, folds=folds, fold=fold)
        name = Run(values, fold, None).name
        runs.append(Run(values, fold, replace(own, data=data, out=str(out / name))))
    return runs


def _alike(runs) -> list[list[Run]]:
    """Groups of runs that differ in seed, learning rate and folder alone."""
    groups: dict[Any, list[Run]] = {}
    for i, run in enumerate(runs):
        key: Any = i
        if run.config and isinstance(run.config.optimizer, OptimizerOptions):
            same = {"seed": 0, "optimizer.learning_rate": 1.0, "out": ""}
            key = json.dumps(to_dict(with_values(run.config, same)), sort_keys=True)
        groups.setdefault(key, []).append(run)
    return list(groups.values())


def _result(config) -> dict | None:
    """The best validation of a run that has ended; None before."""
    rows = [row for row in read_log(Path(config.out)) if "valid/score" in row]
    if not rows:
        return None
    best = max(rows, key=lambda row: row["valid/score"])
    settled = config.patience and len(rows) - 1 - rows.index(best) >= config.patience
    return best if settled or rows[-1]["step"] >= config.steps else None


def _write_table(runs, fields, path):
    rows = []
    for run in runs:
        found = _result(run.config) if run.config else None
        status = "done" if found else "failed" if run.config else "refused"
        row = {**{f: run.values[f] for f in fields}, "fold": "" if run.fold is None else run.fold}
        scores = {k.removeprefix("valid/"): v for k, v in (found or {}).items()}
        rows.append({**row, "status": status, **scores, "reason": run.reason})
    columns = dict.fromkeys(itertools.chain.from_iterable(rows))
    columns["reason"] = columns.pop("reason")
    with open(path, "w", newline="") as file:
        table = csv.DictWriter(file, list(columns), restval="", lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def _summary(runs) -> str:
    """A line for each combination: mean and spread over folds, best first; the refused ones last."""
    scores: dict[str, list[float]] = {}
    for run in runs:
        name = replace(run, fold=None).name
        found = _result(run.config) if run.config else None
        scores.setdefault(name, []).extend([found["valid/score"]] if found else [])
    ranked = sorted((n for n in scores if scores[n]), key=lambda n: -np.mean(scores[n]))
    width = max(map(len, scores))
    lines = [f"{'combination':{width}}  SI-SDR improvement, dB"]
    for name in ranked:
        spread = f" +- {np.std(scores[name]):.2f} over {len(scores[name])}" if len(scores[name]) > 1 else ""
        lines.append(f"{name:{width}}  {np.mean(scores[name]):+.2f}{spread}")
    reasons = {replace(run, fold=None).name: run.reason for run in runs if run.reason}
    return "\n".join([*lines, *(f"{name:{width}}  {reason}" for name, reason in reasons.items())])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
