"""The LSTM training step at full width, 3 layers of 1000 units, beside PyTorch's fused Adam."""

from __future__ import annotations

from functools import partial

import jax
import numpy as np

from benchmarks.timing import Result, compare, find_torch, torch_threads
from jaxsep.codec import STFTCodec
from jaxsep.models import LSTMMaskConfig
from jaxsep.system import System, SystemConfig
from jaxsep.training import LossConfig, OptimizerConfig, init_state, make_batch, make_optimizer, train_step

_BATCH, _FRAMES, _BINS, _WIDTH, _LAYERS = 16, 125, 513, 1000, 3
_SAMPLES = (_FRAMES - 1) * 256


def run(say) -> list[Result]:
    """Run the case; without PyTorch only ours is timed."""
    sources = np.random.default_rng(0).standard_normal((_BATCH, 2, _SAMPLES)).astype(np.float32)
    ours, size = _ours(sources)
    torch = find_torch(say)
    if torch is None:
        return compare(_case(), ours, {"nothing": lambda: None}, rounds=5)
    peers, losses = {}, {}
    for threads in (1, 2):
        step, loss = _torch(torch, sources)
        peers[f"torch, {threads} threads"] = torch_threads(torch, step, threads)
        losses[threads] = loss
    results = compare(_case(), ours, peers, rounds=5)
    say(f"parameters: ours {size}, PyTorch {losses[1]} (it has two biases a gate)")
    return results


def _case():
    return f"train step {_LAYERS} x {_WIDTH}, batch {_BATCH} x {_FRAMES} frames"


def _ours(sources):
    """A call that takes one training step, waveform to updated parameters."""
    network = LSTMMaskConfig(layers=_LAYERS, width=_WIDTH)
    system = System(SystemConfig(codec=STFTCodec(), network=network))
    optimizer = make_optimizer(OptimizerConfig("adam"))
    step = jax.jit(
        partial(train_step, system=system, loss=LossConfig("magnitude_mse"), optimizer=optimizer),
        donate_argnums=0,
    )
    state, batch = init_state(system, optimizer), make_batch(sources)

    def call():
        nonlocal state
        state, metrics = step(state, batch)
        return metrics

    return call, sum(x.size for x in jax.tree.leaves(state.params))


def _torch(torch, sources):
    """The same step in PyTorch: STFT, 3-layer LSTM, ReLU heads, ratio mask, MSE, fused Adam."""

    class Network(torch.nn.Module):  # type: ignore[name-defined]
        def __init__(self):
            super().__init__()
            self.lstm = torch.nn.LSTM(_BINS, _WIDTH, _LAYERS, batch_first=True)
            self.heads = torch.nn.Linear(_WIDTH, 2 * _BINS)

        def forward(self, size):
            y = torch.relu(self.heads(self.lstm(size)[0])).unflatten(-1, (2, _BINS))
            return y / (y.sum(-2, keepdim=True) + 1e-12) * size[..., None, :]

    def magnitude(x):
        window = torch.hann_window(1024)
        spectrum = torch.stft(
            x.flatten(0, -2), 1024, 256, window=window, pad_mode="constant", return_complex=True
        )
        return spectrum.abs().mT.unflatten(0, x.shape[:-1])

    torch.manual_seed(0)
    network = Network()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
    signal = torch.tensor(sources)
    signal = signal / signal.sum(1).abs().amax(-1)[:, None, None]

    def step():
        optimizer.zero_grad(set_to_none=True)
        estimate = network(magnitude(signal.sum(1)))
        target = magnitude(signal).transpose(1, 2)
        loss = (estimate - target).square().mean((1, 3)).sum(-1).mean()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step, sum(p.numel() for p in network.parameters())
