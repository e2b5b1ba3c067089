"""Memory and time of a training step, by what saves memory.

Each case beside the plain step of the same network: arguments and intermediate results of the compiled
program on one device, as XLA counts them, and the time of a step. XLA's CPU compiler may merge what
``remat`` computes twice, and computes bfloat16 in float32, so that both are of use on accelerators alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import numpy as np

from benchmarks.timing import Result, compare
from jaxsep.networks import LSTMMask, UNet
from jaxsep.system import System, SystemConfig
from jaxsep.training import init_state
from train.clock import Clock
from train.config import TrainConfig
from train.program import Program

_BATCH, _SAMPLES = 16, 3 * 16000
_NETWORKS = {
    "lstm_mask 2 x 512": LSTMMask(layers=2, width=512),
    "unet, 5 levels of 16": UNet(levels=5, filters=16),
}
_CASES: dict[str, dict[str, Any]] = {
    "bfloat16": dict(precision="bfloat16"),
    "accumulate 4": dict(accumulate=4),
    "remat": dict(remat=True),
    "accumulate 4, remat": dict(accumulate=4, remat=True),
    "fsdp": dict(fsdp=True),
}


def run(say) -> list[Result]:
    """Time and weigh every case."""
    results = []
    rng = np.random.default_rng(0)
    batch = {
        "sources": rng.standard_normal((_BATCH, 2, 1, _SAMPLES)).astype(np.float32),
        "weight": np.ones(_BATCH, np.float32),
        "id": np.arange(_BATCH, dtype=np.uint32),
    }
    for name, network in _NETWORKS.items():
        config = TrainConfig(system=SystemConfig(network=network), batch_size=_BATCH)
        plain, step = _step(config, batch)
        say(f"{name}: {_memory(plain)}")
        for case, options in _CASES.items():
            if case == "fsdp" and jax.device_count() == 1:
                continue
            program, other = _step(replace(config, **options), batch)
            memory = _memory(program)
            say(f"{name}, {case}: {memory}")
            results += compare(f"{name}, {case}: {memory}", other, {"plain": step}, rounds=3)
    return results


def _memory(program):
    return f"{program.memory()} a device"


def _step(config, batch):
    """The program of a config, and a call that takes a step of it."""
    program, clock = Program([config]), Clock()
    optimizer = config.optimizer(config.steps)
    state = program.place(init_state(System(config.system), optimizer, 0))
    placed = program.put([batch])
    state, _ = program.step(state, placed, clock)

    def call():
        nonlocal state
        state, metrics = program.step(state, placed, clock)
        return metrics["loss"]

    return program, call
