"""Steps of several runs of one shape: as one program, beside one after the other."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.timing import Result, compare, difference
from jaxsep.codecs import STFT, Codec
from jaxsep.losses import SNR
from jaxsep.networks import LSTMMask
from jaxsep.system import System, SystemConfig
from jaxsep.training import init_state, make_batch
from train.config import DataConfig, TrainConfig
from train.data.recipes import StereoPairs
from train.program import rated_optimizer, rated_step, stacked_step

_RUNS, _BATCH, _SECONDS = 4, 8, 1.0


def run(say) -> list[Result]:
    """Time four runs of a small and a middling network."""
    results = []
    for layers, width in ((1, 32), (2, 128)):
        results += _case(layers, width)
    return results


def _case(layers, width):
    network = LSTMMask(layers=layers, width=width, bidirectional=True)
    config = TrainConfig(
        system=SystemConfig(codec=Codec(STFT(n_fft=512, hop_length=128)), network=network),
        data=DataConfig(StereoPairs(), seconds=_SECONDS),
        loss=SNR(),
        batch_size=_BATCH,
    )
    config = replace(config, optimizer=replace(config.optimizer, clip_norm=1.0))
    system, step = System(config.system), partial(rated_step, config, config.step_options())
    optimizer = rated_optimizer(config, 1.0)
    states = [init_state(system, optimizer, seed) for seed in range(_RUNS)]
    samples = round(_SECONDS * config.system.sample_rate)
    rng = np.random.default_rng(0)
    audio = rng.standard_normal((_RUNS, _BATCH, 2, samples)).astype(np.float32)
    batches = [make_batch(x) for x in audio]
    rates = jnp.array([1e-3, 3e-4, 1e-4, 3e-5])
    one, every = jax.jit(step), jax.jit(partial(stacked_step, config, None, given={}))
    stacked = [jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees) for trees in (states, batches)]

    def together():
        return every(*stacked, rates)[1]["loss"]

    def in_turn():
        return [one(*each)[1]["loss"] for each in zip(states, batches, rates, strict=True)]

    error = {"one after the other": difference(together(), jnp.stack(in_turn()))}
    title = f"{_RUNS} runs, {layers} x {width} both ways, batch {_BATCH} x {_SECONDS} s"
    return compare(title, together, {"one after the other": in_turn}, rounds=5, error=error)
