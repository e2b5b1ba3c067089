"""``python -m benchmarks.experiments.by_heart RUN [RUN ...]``: what of a training loss is learnt by heart.

RUN is a run's folder. The loss of its last checkpoint is printed, mean and standard error over 160 mixtures
each: of those that it was trained on (the first; with ``data.distinct`` they came again and again), of others
of the same recordings, and of recordings that it never heard.
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

#: Mixtures of each kind.
_COUNT = 160


def main(arguments: list[str]) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.experiments.by_heart", description=__doc__)
    parser.add_argument("runs", metavar="RUN", nargs="+")
    try:
        for run in parser.parse_args(arguments).runs:
            for what, losses in losses_of(Path(run)).items():
                error = losses.std() / np.sqrt(len(losses))
                print(f"{Path(run).name}: {what}: {losses.mean():.1f} ± {error:.1f}", flush=True)
    except (UserError, OSError) as error:
        print(f"benchmarks.experiments.by_heart: {error}", file=sys.stderr)
        return 2
    return 0


def losses_of(run: Path) -> dict[str, np.ndarray]:
    """The losses of a run's last checkpoint, by what the mixtures are made of."""
    config = from_dict(TrainConfig, json.loads((run / "config.json").read_text()))
    system, checkpoints = System(config.system), Checkpoints(run)
    like = init_state(system, config.optimizer(config.steps), config.seed, bool(config.ema_decay))
    state = checkpoints.state(checkpoints.steps()[-1], like)
    checkpoints.close()
    evaluate = jax.jit(partial(eval_step, system=system, loss=config.loss))

    def losses(part, seed):
        drawn = config.system.sources, seed, config.read_samples, _COUNT
        mixtures = config.data.recipe.examples(config.data, open_part(config, part), *drawn)
        cut = (mixtures[i]["sources"][None, ..., : config.excerpt_samples] for i in range(_COUNT))
        return np.array([float(evaluate(state, make_batch(sources))["loss"]) for sources in cut])

    return {
        "mixtures that it was trained on": losses("train", config.seed),
        "other mixtures of the same recordings": losses("train", config.seed + 1),
        "mixtures of other recordings": losses("valid", config.seed),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
