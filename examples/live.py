"""python examples/live.py: a causal system goes on while sound comes, a few milliseconds at a time.

It is trained for a moment on tones and noise; the command ``jaxsep live`` puts a shipped one between a
microphone and a loudspeaker.
"""

from functools import partial

import jax
import numpy as np

from jaxsep.codecs import STFT, Codec, Log
from jaxsep.live import Live, LiveStream
from jaxsep.losses import SNR
from jaxsep.metrics import si_sdr
from jaxsep.networks import LSTMMask
from jaxsep.optimizers import Adam
from jaxsep.system import System, SystemConfig
from jaxsep.training import init_state, make_batch, train_step

RATE = 8000
codec = Codec(STFT(n_fft=256, hop_length=128), scale=Log(), level="none")
network = LSTMMask(layers=1, width=32, activation="sigmoid")
names = dict(sources=("tone", "rest"), residual="rest")
system = System(SystemConfig(**names, sample_rate=RATE, codec=codec, network=network))
rng = np.random.default_rng(0)


def example(seconds):
    """A tone that jumps from pitch to pitch, and noise: (2, samples)."""
    time, pitch = np.arange(int(seconds * RATE)) / RATE, 2 ** rng.uniform(7.5, 10, int(seconds * 4) + 1)
    tone = np.sin(2 * np.pi * np.cumsum(np.repeat(pitch, RATE // 4)[: len(time)]) / RATE)
    return np.stack([0.3 * tone, 0.2 * rng.standard_normal(len(time))]).astype(np.float32)


optimizer = Adam(learning_rate=0.01)()
state = init_state(system, optimizer)
step = jax.jit(partial(train_step, system=system, loss=SNR(), optimizer=optimizer))
for _ in range(120):
    state, metrics = step(state, make_batch(np.stack([example(1.0) for _ in range(8)])))

live = Live(system, state.variables())
stream = LiveStream(live, channels=1, frames=1)
sources = example(3.0)
heard, pieces = sources.sum(axis=0)[None], []
for at in range(0, heard.shape[1], 100):  # blocks as a sound card gives them
    pieces.append(stream.push(heard[:, at : at + 100]))
stems = np.concatenate([*pieces, stream.finish()], axis=-1)[:, 0]
gain = si_sdr(sources, stems) - si_sdr(sources, np.stack([heard[0]] * 2))
print(f"{1000 * live.delay / RATE:.0f} ms behind; {gain[0]:.1f} and {gain[1]:.1f} dB better than the mixture")
