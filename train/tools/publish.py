"""``python -m train.tools.publish RUN FOLDER``: a training run's best model as a published one.

Writes ``model.safetensors`` (float16 unless ``--weights`` says otherwise), ``config.json`` and the card
``README.md``. ``--about`` is a YAML file with the entries ``description``, ``license`` and ``card``;
``--config`` names a config whose system it is published as, in place of the run's: with its arrays, but
other bins or speeds. ``--scores`` is a JSON file that ``jaxsep evaluate --json`` or ``python -m
benchmarks.experiments.sounds RUN`` wrote on the data that ``--data`` names.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import jax
import yaml

from jaxsep.errors import UserError
from jaxsep.fine_tuning import start_from
from jaxsep.hub import find_model, load_model, save_model
from jaxsep.system import System
from train.config import load_config


def main(arguments: list[str]) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m train.tools.publish", description=__doc__)
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("folder", metavar="FOLDER")
    parser.add_argument("--about", required=True)
    parser.add_argument("--config")
    parser.add_argument("--scores")
    parser.add_argument("--data", default="valid")
    parser.add_argument("--weights", choices=("float32", "float16", "int8"), default="float16")
    options = parser.parse_args(arguments)
    try:
        about = Path(options.about)
        system = System(load_config(options.config, []).system) if options.config else None
        found = (options.scores, options.data)
        publish(options.run, Path(options.folder), about, *found, options.weights, system)
    except (UserError, OSError, KeyError) as error:
        print(f"train.tools.publish: {error}", file=sys.stderr)
        return 2
    return 0


def publish(
    run: str,
    folder: Path,
    about_path: Path,
    scores_path: str | None,
    data: str,
    storage="float16",
    system: System | None = None,
) -> None:
    """Write the model of ``run``, or its arrays as ``system``, with what ``about_path`` says of them."""
    own, variables, info = load_model(find_model(run))
    system = system or own
    start = start_from(system.init(jax.random.key(0)), variables)
    if start.fresh:
        raise UserError(f"{run}: lacks {start.fresh[0]} of the system that it is to be published as")
    about = yaml.safe_load(about_path.read_text())
    scores = {}
    if scores_path:
        summary = _summary(Path(scores_path), Path(run).name)
        scores = {
            data: {
                stem: {k: round(v, 2) for k, v in row.items() if v is not None}
                for stem, row in summary.items()
            }
        }
    entries = {
        "name": folder.name,
        "description": about["description"],
        "license": about["license"],
        "step": info.get("step"),
        "scores": scores,
    }
    save_model(folder, system, start.variables, info=entries, storage=storage)
    sha256 = json.loads((folder / "config.json").read_text())["sha256"]
    parts = [f"# {folder.name}", about["card"].strip(), *_table(data, scores)]
    card = "\n\n".join([*parts, f"SHA-256 of model.safetensors: `{sha256}`"]) + "\n"
    (folder / "README.md").write_text(card)


def _summary(path, name):
    """Scores for each stem, of an evaluation or of the model of that name in a benchmark."""
    found = json.loads(path.read_text())
    if "summary" in found:
        return found["summary"]
    if name not in found["results"]:
        raise UserError(f"{path}: holds no scores of {name}; run `python -m benchmarks.experiments.sounds`")
    return found["results"][name]


def _table(data, scores):
    """Scores as a Markdown table, where there are any."""
    if not scores:
        return []
    rows = scores[data]
    figures = [k for k in next(iter(rows.values())) if k != "tracks" and not k.startswith("silent")]
    lines = [f"| {data}, dB | " + " | ".join(figures) + " |", "|---" * (len(figures) + 1) + "|"]
    lines += [f"| {stem} | " + " | ".join(str(row[k]) for k in figures) + " |" for stem, row in rows.items()]
    return ["\n".join(lines)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
