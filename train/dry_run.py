"""``python -m train CONFIG --dry-run``: what a run would be, and one step of it, without a run folder."""

from __future__ import annotations

import math
import time
from pathlib import Path

import jax

from jaxsep.training import init_state
from train.clock import Clock
from train.config import TrainConfig
from train.log import Log
from train.program import Program
from train.run import Runs


def dry_run(config: TrainConfig) -> int:
    """Print the data, shapes, parameters, memory and one step of a run; return the exit status."""
    runs = Runs([config], [Path(config.out)], [Log(Path(config.out), config)])
    program, clock, say = Program([config], runs.placed), Clock(), runs.logs[0].say
    if runs.placed:
        say(f"examples are made on the device, of {_size(runs.placed.nbytes)} of audio there")
    state = init_state(runs.system, config.optimizer(config.steps), config.seed, ema=config.ema_decay > 0)
    leaves = jax.tree.leaves(state.params)
    count, kept = sum(leaf.size for leaf in leaves), sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    batch = next(runs.batches(0))
    for name in ("sources", "id"):
        if name in batch[0]:
            say(f"batch.{name}: {batch[0][name].shape} {batch[0][name].dtype}, on this host")
    say(f"{count:,} parameters in {len(leaves)} arrays; state of {_size(kept)}")
    state, metrics = program.step(program.place(state), program.put(batch), clock)
    loss, lap = float(metrics["loss"]), clock.lap()
    start = time.perf_counter()
    state, metrics = program.step(state, program.put(batch), clock)
    jax.block_until_ready(metrics)
    seconds = time.perf_counter() - start
    say(f"compiled in {lap['compiling']:.1f} s; {program.memory()}")
    say(f"a step: loss {loss:.4f}, {seconds:.2f} s, {program.flops or math.nan:.3g} operations a device")
    return 0


def _size(count):
    return f"{count / 2**20:.1f} MiB"
