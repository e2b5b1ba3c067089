"""``python -m train.tools.render CONFIG -n COUNT -o FOLDER``: the examples of a training run as files.

Example n is exactly what training would see in its step ``n // batch_size``, augmentation included::

    FOLDER/mixtures/000000.wav           FOLDER/sources/000000/SOURCE.wav         FOLDER/examples.csv

``examples.csv`` says what is in each. ``jaxsep separate FOLDER/mixtures/*.wav -o OUT`` and
``jaxsep evaluate FOLDER/sources OUT/MODEL`` score a model on them; the recipe ``song_folders``
trains on ``FOLDER/sources``. Started again, the command goes on where it stopped. Fields of the
config are overridden as in training, after ``--``.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import sys
from functools import partial
from pathlib import Path

import jax
import numpy as np

from jaxsep.audio import OUTPUT_FORMATS, AudioWriter, write_together
from jaxsep.augment import augment
from jaxsep.errors import UserError
from jaxsep.training import example_keys
from train.config import TrainConfig, load_config, parse_with_overrides
from train.data.recipes import open_part

_COLUMNS = ("example", "source", "clip", "start", "gain_db", "cutoff", "speed", "equalizer", "room", "pan")


def main(arguments: list[str]) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m train.tools.render",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", metavar="CONFIG")
    parser.add_argument("-n", "--count", type=int, required=True, help="examples")
    parser.add_argument("-o", "--out", required=True, metavar="FOLDER")
    parser.add_argument("--part", choices=("train", "valid"), default="train", help="recordings to use")
    parser.add_argument("--format", choices=OUTPUT_FORMATS, default="wav")
    options, overrides = parse_with_overrides(parser, arguments)
    try:
        if options.count < 1:
            raise UserError(f"--count {options.count}: expected at least 1")
        config = load_config(options.config, overrides)
        render(config, options.count, Path(options.out), options.part, options.format)
    except (UserError, OSError) as error:
        print(f"train.tools.render: {error}", file=sys.stderr)
        return 2
    return 0


def render(config: TrainConfig, count: int, out: Path, part="train", format: str = "wav") -> None:
    """Write ``count`` examples of a run below ``out``, those aside that are there already."""
    sources, rate = config.system.sources, config.system.sample_rate
    bank = open_part(config, part)
    examples = config.data.recipe.examples(
        config.data, bank, sources, config.seed, config.read_samples, count
    )
    change = jax.jit(partial(_augmented, config))
    (out / "mixtures").mkdir(parents=True, exist_ok=True)
    with open(out / "examples.csv", "w", newline="") as file:
        table = csv.DictWriter(file, _COLUMNS, restval="", lineterminator="\n")
        table.writeheader()
        for i in range(count):
            name = f"{i:06d}"
            for row in examples.describe(i):
                table.writerow({**row, "example": name, "source": sources[row["source"]]})
            if not (out / "sources" / name).is_dir():
                audio = np.asarray(change(np.uint32(i), examples[i]["sources"]))
                _write(out, name, dict(zip(sources, audio, strict=True)), rate, format)


def _augmented(config, i, sources):
    """Augment example ``i`` as the training step that meets it does."""
    step, place = i // config.batch_size, i % config.batch_size
    key = example_keys(config.seed, step, place[None])[0, 0]
    change = partial(augment, config.augment, key, length=config.excerpt_samples)
    return jax.vmap(change, in_axes=1, out_axes=1)(sources)


def _write(out, name, stems, rate, format):
    """Write a mixture and its sources; the folder of sources gets its name last."""
    part = out / "sources" / f".{name}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    audio = {part / f"{stem}.{format}": x for stem, x in stems.items()}
    audio[out / "mixtures" / f"{name}.{format}"] = sum(stems.values())
    writers = []
    for path, x in audio.items():
        writers.append(AudioWriter(path, rate, len(x), format))
        writers[-1].write(x)
    write_together(writers)
    os.replace(part, out / "sources" / name)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
