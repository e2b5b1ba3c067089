"""The training step of three networks beside PyTorch's fused Adam, from waveforms on both sides.

The LSTM at full width, 3 layers of 1000 units, 16 x 125 frames; the U-Net with 5 levels of 16 to
256 filters (PyTorch channels-last), 4 x 251 frames of 513 bins; the CNN auto-encoder at its
published size, 9.96 M parameters, 8 x 517 frames of 257 bins. Ours is compiled as the trainer does
it, with the options of XLA that the network asks for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np

from benchmarks import torch_networks
from benchmarks.timing import Result, compare, find_torch, torch_threads
from jaxsep.codecs import STFT, Codec
from jaxsep.compilation import compiler_options
from jaxsep.losses import MagnitudeMSE
from jaxsep.networks import CNNAutoencoder, LSTMMask, UNet
from jaxsep.optimizers import Adam
from jaxsep.system import System, SystemConfig
from jaxsep.training import init_state, make_batch, train_step


@dataclass(frozen=True)
class Case:
    """A network on both sides, and what it is fed."""

    name: str
    network: Any
    torch: Callable
    """From the torch module to PyTorch's network."""
    batch: int
    samples: int
    num_sources: int = 2
    codec: Codec = Codec()


CASES = (
    Case(
        "train step LSTM 3 x 1000, batch 16 x 125",
        LSTMMask(layers=3, width=1000),
        partial(torch_networks.lstm, bins=513, width=1000, layers=3, num_sources=2),
        batch=16,
        samples=124 * 256,
    ),
    Case(
        "train step U-Net 5 levels, batch 4 x 251",
        UNet(levels=5, filters=16),
        partial(torch_networks.unet, levels=5, filters=16, num_sources=2),
        batch=4,
        samples=64000,
    ),
    Case(
        "train step CNN auto-encoder, batch 8 x 517",
        CNNAutoencoder(),
        partial(torch_networks.cnn_autoencoder, bins=257, frames=517, num_sources=5),
        batch=8,
        samples=516 * 128,
        num_sources=5,
        codec=Codec(STFT(n_fft=512, hop_length=128)),
    ),
)


def run(say) -> list[Result]:
    """Run the cases; without PyTorch only ours is timed."""
    torch = find_torch(say)
    results = []
    for case in CASES:
        shape = (case.batch, case.num_sources, case.samples)
        sources = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        ours, size = _ours(case, sources)
        if torch is None:
            results += compare(case.name, ours, {"nothing": lambda: None}, rounds=5)
            continue
        peers, sizes = {}, set()
        for threads in (1, 2):
            step, number = torch_step(torch, case, sources)
            peers[f"torch, {threads} threads"] = torch_threads(torch, step, threads)
            sizes.add(number)
        results += compare(case.name, ours, peers, rounds=5)
        say(f"{case.name}: parameters ours {size}, PyTorch {sizes} (its LSTM has two biases a gate)")
    return results


def _ours(case, sources):
    """A call that takes one training step, waveform to updated parameters."""
    names = tuple(f"source{i}" for i in range(case.num_sources))
    config = SystemConfig(sources=names, residual=names[-1], codec=case.codec, network=case.network)
    system, optimizer = System(config), Adam()()
    step = jax.jit(
        partial(train_step, system=system, loss=MagnitudeMSE(), optimizer=optimizer),
        donate_argnums=0,
        compiler_options=compiler_options(case.network),
    )
    state, batch = init_state(system, optimizer), make_batch(sources)

    def call():
        nonlocal state
        state, metrics = step(state, batch)
        return metrics

    return call, sum(x.size for x in jax.tree.leaves(state.params))


def torch_step(torch, case, sources):
    """The same step in PyTorch: STFT, network, ratio mask, MSE, fused Adam."""
    torch.manual_seed(0)
    network = case.torch(torch)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
    signal = torch.tensor(sources)
    signal = signal / signal.sum(1).abs().amax(-1)[:, None, None]
    step = torch_networks.training_step(torch, network, optimizer, signal, case.codec.transform)
    return step, sum(p.numel() for p in network.parameters())
