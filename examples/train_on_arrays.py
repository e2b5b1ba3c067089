"""python examples/train_on_arrays.py: a network of one's own size, trained on arrays, scored, saved, used."""

from functools import partial

import jax
import numpy as np

import jaxsep
from jaxsep.losses import SNR
from jaxsep.networks import LSTMMask
from jaxsep.optimizers import Adam
from jaxsep.training import init_state, make_batch, train_step

STEPS, RATE = 60, 8000
rng = np.random.default_rng(0)


def batch(size=8, seconds=1.0):
    """Low and high notes, (batch, sources, samples)."""
    time = np.arange(round(RATE * seconds)) / RATE
    hz = np.stack([rng.uniform(150, 400, size), rng.uniform(1000, 3000, size)], axis=1)
    return (0.3 * np.sin(2 * np.pi * hz[..., None] * time)).astype(np.float32)


config = jaxsep.SystemConfig(
    sources=("low", "high"), residual="high", sample_rate=RATE, network=LSTMMask(layers=1, width=32)
)
system, optimizer = jaxsep.System(config), Adam(learning_rate=5e-3)()
state = init_state(system, optimizer, seed=0)
step = jax.jit(partial(train_step, system=system, loss=SNR(), optimizer=optimizer))
for _ in range(STEPS):
    state, metrics = step(state, make_batch(batch()))

sources = batch(size=4)
stems = np.asarray(system.separate(state.variables(), sources.sum(axis=1)))
gain = jaxsep.si_sdr(sources, stems) - jaxsep.si_sdr(sources, sources.sum(axis=1, keepdims=True))
print(f"loss {float(metrics['loss']):.2f}, gain {float(gain.mean()):.1f} dB on notes that it never heard")

separator = jaxsep.Separator(system, state.variables(), name="notes")
separator.save_pretrained("notes", description="low and high notes", license="Apache-2.0")
print("jaxsep separate FILE -m notes")
