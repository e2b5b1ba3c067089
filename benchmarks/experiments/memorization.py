"""``python -m benchmarks.experiments.memorization RUN [RUN ...]``: what of a training loss is memorized.

RUN is a run's folder. The loss of its last whole checkpoint is printed, without dropout and augmentation,
mean and standard error over up to 160 mixtures each: of those that it was trained on (the first; where
``augment`` or ``data.on_device`` changes them, as they were before), of others of the same recordings, and of
recordings that it was not trained on.
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path

import jax
import numpy as np

from jaxsep.checkpoints import Checkpoints
from jaxsep.errors import UserError
from jaxsep.parts import from_dict
from jaxsep.system import System
from jaxsep.training import eval_step, init_state, make_batch
from train.config import TrainConfig
from train.data.recipes import open_part

#: Mixtures of each kind, at most.
_COUNT = 160


def main(arguments: list[str]) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.experiments.memorization", description=__doc__
    )
    parser.add_argument("runs", metavar="RUN", nargs="+")
    try:
        for run in parser.parse_args(arguments).runs:
            for what, losses in losses_of(Path(run)).items():
                error = losses.std() / np.sqrt(len(losses))
                print(f"{Path(run).name}: {what}: {losses.mean():.1f} ± {error:.1f}", flush=True)
    except (UserError, ValueError, OSError) as error:
        print(f"benchmarks.experiments.memorization: {error}", file=sys.stderr)
        return 2
    return 0


def losses_of(run: Path) -> dict[str, np.ndarray]:
    """The losses of a run's last whole checkpoint, by what the mixtures are made of.

    Raises:
      UserError: there is none.
      ValueError: the run's config has parts that are not known here.
    """
    config = from_dict(TrainConfig, json.loads((run / "config.json").read_text()))
    system = System(config.system)
    state = _last_state(config, system, run)
    evaluate = jax.jit(partial(eval_step, system=system, loss=config.loss))

    def losses(part, seed, count=_COUNT):
        drawn = config.system.sources, seed, config.read_samples, count
        mixtures = config.data.recipe.examples(config.data, open_part(config, part), *drawn)
        cut = (mixtures[i]["sources"][None, ..., : config.excerpt_samples] for i in range(count))
        return np.array([float(evaluate(state, make_batch(sources))["loss"]) for sources in cut])

    drawn = config.data.distinct or config.steps * config.batch_size
    return {
        "mixtures that it was trained on": losses("train", config.seed, min(_COUNT, drawn)),
        "other mixtures of the same recordings": losses("train", config.seed + 1),
        "mixtures of other recordings": losses("valid", config.seed),
    }


def _last_state(config, system, run):
    checkpoints = Checkpoints(run)
    try:
        newest_first = reversed(checkpoints.steps())
        step = next((step for step in newest_first if not checkpoints.damage(step)), None)
        if step is None:
            raise UserError(f"{run}: has no whole checkpoint; expected the folder of a run of its own")
        like = init_state(system, config.optimizer(config.steps), config.seed, bool(config.ema_decay))
        return checkpoints.state(step, like)
    finally:
        checkpoints.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
