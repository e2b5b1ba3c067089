"""Runs of one shape, that differ in seed and learning rate alone, trained as one program.

The states of the runs are stacked and THE training step is mapped over them: small networks fill
an accelerator, and everything is compiled once. The learning rate multiplies the update of
an optimiser of rate 1, which Adam, AdamW, Adadelta and SGD all allow.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxsep.compilation import compiler_options
from jaxsep.config import to_dict
from jaxsep.errors import UserError
from jaxsep.store import Checkpoints, run_lock
from jaxsep.system import System
from jaxsep.training import init_state, make_optimizer, train_step
from train.batches import batches, make_examples, make_validation
from train.config import TrainConfig
from train.log import Log
from train.loop import Stop, part_bank, track_names, validate_run


def run_together(configs: list[TrainConfig]) -> tuple[int, dict[str, str]]:
    """Train ``configs``; return the exit status, and why runs failed, by their folder.

    Each run leaves its log and its best model in its own folder; the checkpoints, of all runs at
    once, are in a folder beside them, and the same call goes on from there.
    """
    with ExitStack() as stack:
        outs = [Path(c.out).expanduser() for c in configs]
        for out in outs:
            stack.enter_context(run_lock(out))
        logs = [stack.enter_context(Log(out, c)) for out, c in zip(outs, configs, strict=True)]
        group = _Group(configs, outs, logs)
        stop = stack.enter_context(Stop())
        status = group.train(stop)
    return status, group.failed


class _Group:
    """Runs that share all but their seeds and learning rates."""

    def __init__(self, configs, outs, logs):
        self.configs, self.outs, self.logs = configs, outs, logs
        self.config, self.system = configs[0], System(configs[0].system)
        self.failed: dict[str, str] = {}
        self.train_bank = part_bank(self.config, "train", logs[0])
        valid_bank = part_bank(self.config, "valid", logs[0])
        self.recordings = make_validation(valid_bank, self.config.data, self.system.config.sources)
        digests = {"train": self.train_bank.digest(), "valid": valid_bank.digest()}
        self.notes = [{"score": None, "validated": 0, "data": digests} for _ in configs]

    def train(self, stop) -> int:
        """Take the steps that are left of every run; save, validate and stop between them."""
        config = self.config
        checkpoints = Checkpoints(_folder(self.outs), config.keep)
        states, first = self._start(checkpoints)
        rates = jnp.array([c.optimizer.learning_rate for c in self.configs], jnp.float32)
        options = compiler_options(config.system.network)
        step = jax.jit(make_group_step(config), donate_argnums=0, compiler_options=options)
        for log in self.logs:
            log.start(first, config.steps)
        for number, (batch, names) in enumerate(self._batches(first), first + 1):
            states, metrics = step(states, batch, rates)
            self._log(number, metrics, names)
            if number % config.valid_every == 0 or number == config.steps:
                self._validate(states, stop)
            if number % config.save_every == 0 or number == config.steps or stop:
                self._flush()
                checkpoints.save(number, states, self._saved())
            if stop:
                return 128 + stop.signal
        checkpoints.close()
        return 0

    def _start(self, checkpoints):
        """The stacked states to start from, and their step."""
        optimizer = make_rated_optimizer(self.config, 1.0)
        ema = self.config.ema_decay > 0
        each = [init_state(self.system, optimizer, c.seed, ema=ema) for c in self.configs]
        states = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
        newest = checkpoints.newest_whole(self.logs[0].say)
        if newest is None:
            return states, 0
        saved = checkpoints.config(newest)
        if saved["configs"] != self._saved()["configs"]:
            raise UserError(f"{self.outs[0].parent}: holds another sweep's runs; give another --out")
        self.notes = saved["notes"]
        return checkpoints.state(newest, states), newest

    def _saved(self):
        return {"configs": [to_dict(c) for c in self.configs], "notes": self.notes}

    def _batches(self, first) -> Iterator[tuple[dict, list]]:
        """The runs' batches of each step, stacked, and the names of their recordings."""
        config = self.config
        sources, count = config.system.sources, config.steps * config.batch_size
        seeds = list(dict.fromkeys(c.seed for c in self.configs))
        places = [seeds.index(c.seed) for c in self.configs]
        streams = [
            batches(
                make_examples(self.train_bank, config.data, sources, seed, config.read_samples, count),
                config.batch_size,
                first,
                config.data.threads,
            )
            for seed in seeds
        ]
        for each in zip(*streams, strict=True):
            names = [track_names(self.train_bank, batch) for batch in each]
            keys = ("sources", "weight", "id")
            yield {k: np.stack([each[p][k] for p in places]) for k in keys}, [names[p] for p in places]

    def _log(self, number, metrics, names):
        for i in self._alive():
            try:
                self.logs[i].step(number, {k: v[i] for k, v in metrics.items()}, names[i])
            except UserError as error:
                self._give_up(i, error)

    def _flush(self):
        for i in self._alive():
            try:
                self.logs[i].flush()
            except UserError as error:
                self._give_up(i, error)

    def _validate(self, states, stop):
        self._flush()
        for i in self._alive():
            state = jax.tree.map(lambda leaf, i=i: leaf[i], states)
            run = (self.configs[i], self.outs[i], self.system, state, self.recordings, self.notes[i])
            validate_run(*run, self.logs[i], stop)

    def _alive(self):
        return [i for i, c in enumerate(self.configs) if c.out not in self.failed]

    def _give_up(self, i, error):
        """Go on without a run that has gone bad."""
        self.failed[self.configs[i].out] = str(error)
        self.logs[i].say(str(error))


def make_rated_optimizer(config: TrainConfig, rate) -> optax.GradientTransformation:
    """The optimiser of ``config`` with another learning rate, which may be traced."""
    unit = make_optimizer(replace(config.optimizer, learning_rate=1.0), config.steps)
    return optax.chain(unit, optax.scale(rate))


def make_step(config: TrainConfig):
    """``(state, batch, learning rate) -> (state, metrics)`` of one run."""
    options = config.step_options()

    def rated(state, batch, rate):
        return train_step(state, batch, optimizer=make_rated_optimizer(config, rate), **options)

    return rated


def make_group_step(config: TrainConfig):
    """``(states, batches, learning rates) -> (states, metrics)`` of runs stacked on the first axis.

    An accelerator computes them at once. A CPU takes them in turn, which its caches prefer.
    """
    step = make_step(config)
    if jax.default_backend() != "cpu":
        return jax.vmap(step)
    return lambda *stacked: jax.lax.map(lambda run: step(*run), stacked)


def _folder(outs):
    """Where the checkpoints of a group of runs are."""
    names = hashlib.sha256("\n".join(out.name for out in outs).encode()).hexdigest()[:12]
    return outs[0].parent / f"together-{names}"
