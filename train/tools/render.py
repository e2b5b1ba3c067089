"""``python -m train.tools.render CONFIG -n COUNT -o FOLDER``: the examples of a training run as files.

Example n is exactly what training would see in its step ``n // batch_size``, augmentation included, as
32-bit float WAV, or ``--format`` and ``--subtype`` (``PCM_16``)::

    FOLDER/mixtures/000000.wav           FOLDER/sources/000000/SOURCE.wav         FOLDER/examples.csv

``examples.csv`` says what is in each. ``jaxsep separate FOLDER/mixtures/*.wav -o OUT`` and
``jaxsep evaluate FOLDER/sources OUT/MODEL`` score a model on them; the recipe ``song_folders``
trains on ``FOLDER/sources``; ``python -m train.tools.audit FOLDER`` counts what repeats, for which
``--list`` writes the table alone. Started again, the command goes on where it stopped. Fields of the
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

from jaxsep.audio import OUTPUT_FORMATS, AudioWriter, check_format, write_together
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
    parser.add_argument("--subtype", choices=("PCM_16", "PCM_24", "FLOAT"), default="", help="of wav, flac")
    parser.add_argument("--list", action="store_true", help="write examples.csv, and no audio")
    options, overrides = parse_with_overrides(parser, arguments)
    try:
        if options.count < 1:
            raise UserError(f"--count {options.count}: expected at least 1")
        config = load_config(options.config, overrides)
        check_format(options.format, config.system.sample_rate, config.system.channels, options.subtype)
        if options.list and (Path(options.out) / "mixtures").is_dir():
            raise UserError(
                f"--list: {options.out} holds rendered examples and their table; choose another folder"
            )
        kind = None if options.list else (options.format, options.subtype)
        render(config, options.count, Path(options.out), options.part, kind)
    except (UserError, OSError) as error:
        print(f"train.tools.render: {error}", file=sys.stderr)
        return 2
    return 0


def render(
    config: TrainConfig, count: int, out: Path, part="train", kind: tuple[str, str] | None = ("wav", "")
) -> None:
    """Write ``count`` examples of a run below ``out``, those aside that are there already.

    Args:
      config: of the run.
      count: examples.
      out: folder; made where missing.
      part: the recordings to use, ``"train"`` or ``"valid"``.
      kind: format and subtype of the files; None writes ``examples.csv`` alone.
    """
    sources, rate = config.system.sources, config.system.sample_rate
    bank = open_part(config, part)
    examples = config.data.recipe.examples(
        config.data, bank, sources, config.seed, config.read_samples, count
    )
    change = jax.jit(partial(_augmented, config))
    (out / "mixtures" if kind else out).mkdir(parents=True, exist_ok=True)
    with open(out / "examples.csv", "w", newline="") as file:
        table = csv.DictWriter(file, _COLUMNS, restval="", lineterminator="\n")
        table.writeheader()
        for i in range(count):
            name, drawn = f"{i:06d}", i % (config.data.distinct or count)
            for row in examples.describe(drawn):
                table.writerow({**row, "example": name, "source": sources[row["source"]]})
            if kind and not (out / "sources" / name).is_dir():
                audio = np.asarray(change(np.uint32(i), examples[drawn]["sources"]))
                _write(out, name, dict(zip(sources, audio, strict=True)), rate, *kind)


def _augmented(config, i, sources):
    """Augment example ``i`` as the training step that meets it does."""
    step, place = i // config.batch_size, i % config.batch_size
    key = example_keys(config.seed, step, place[None])[0, 0]
    return augment(config.augment, key, sources, config.excerpt_samples)


def _write(out, name, stems, rate, format, subtype):
    """Write a mixture and its sources; the folder of sources gets its name last."""
    part = out / "sources" / f".{name}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    audio = {part / f"{stem}.{format}": x for stem, x in stems.items()}
    audio[out / "mixtures" / f"{name}.{format}"] = sum(stems.values())
    writers = []
    for path, x in audio.items():
        writers.append(AudioWriter(path, rate, len(x), format, subtype=subtype))
        writers[-1].write(x)
    write_together(writers)
    os.replace(part, out / "sources" / name)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
