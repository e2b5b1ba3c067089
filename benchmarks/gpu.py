"""``python -m benchmarks gpu``: all that an accelerator is for, on the one that is here, without a network.

First correctness: transforms, blind separation, scores and the loss of each step on the accelerator beside
the CPU of the same machine, within a tolerance. Then, each warm and blocked until ready, medians: one
training step of every network in float32 and bfloat16, with the share it reaches of a large matrix product
in the same numbers; cuDNN's LSTM beside the scan (on NVIDIA); STFT, FastICA of a batch, AuxIVA, BSS Eval,
and separation by the shipped models, in multiples of real time; each beside PyTorch on the same card where
that is installed and has the card. Results go to benchmarks/results/gpu.json with the card, its driver,
versions and date. On a CPU all of it runs at small sizes.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks import torch_networks
from jaxsep import bss_eval_sources, fastica, stft
from jaxsep.bss import auxiva
from jaxsep.codecs import STFT, Codec, Direct, Frames, Inverse, Waveform
from jaxsep.compilation import compiler_options
from jaxsep.losses import MagnitudeMSE, WaveformMSE
from jaxsep.networks import (
    DPCRN,
    CNNAutoencoder,
    FeedForward,
    GRUMask,
    LSTMMask,
    MaskEstimation,
    OpenUnmix,
    RNNMask,
    SpleeterUNet,
    UNet,
    WaveUNet,
)
from jaxsep.optimizers import Adam
from jaxsep.separator import Separator
from jaxsep.system import System, SystemConfig
from jaxsep.training import init_state, make_batch, train_step
from train.clock import matmul_peak, operations
from train.log import environment

_SPECTRUM = Codec(STFT(n_fft=1024, hop_length=256))
_WAVES = Codec(Waveform(), head=Direct(), inversion=Inverse())
_FRAMES = Codec(Frames(size=1024), head=Direct(), inversion=Inverse())
_MAGNITUDES = Codec(STFT(n_fft=4096, hop_length=1024), head=Direct())
_BANDS = Codec(STFT(n_fft=4096, hop_length=1024, bins=1024))


@dataclasses.dataclass(frozen=True)
class Case:
    """A network at its published size, and a small one; examples and samples of a batch of each."""

    network: Any
    small: Any
    codec: Codec = _SPECTRUM
    batch: tuple[int, int] = (16, 2)
    samples: tuple[int, int] = (64000, 8000)
    torch: Callable | None = None


CASES = {
    "lstm_mask": Case(
        LSTMMask(),
        LSTMMask(layers=1, width=16),
        torch=partial(torch_networks.lstm, bins=513, width=1000, layers=3, num_sources=2),
    ),
    "gru_mask": Case(GRUMask(), GRUMask(layers=1, width=16)),
    "dpcrn": Case(DPCRN(), DPCRN(levels=3, filters=4, width=16)),
    "rnn_mask": Case(RNNMask(), RNNMask(layers=1, width=16)),
    "unet": Case(
        UNet(levels=5),
        UNet(levels=2, filters=4),
        torch=partial(torch_networks.unet, levels=5, filters=16, num_sources=2),
    ),
    "cnn_autoencoder": Case(
        CNNAutoencoder(),
        CNNAutoencoder(frames=38, frequency_filters=4, time_filters=3, time_kernel=9, width=8),
        Codec(STFT(n_fft=512, hop_length=128)),
        samples=(516 * 128, 37 * 128),
        torch=partial(torch_networks.cnn_autoencoder, bins=257, frames=517, num_sources=2),
    ),
    "feed_forward": Case(FeedForward(), FeedForward(layers=(16,)), _FRAMES),
    "mask_estimation": Case(MaskEstimation(), MaskEstimation(layers=(16, 16))),
    "spleeter_unet": Case(SpleeterUNet(), SpleeterUNet(levels=2, filters=3), _BANDS, samples=(130048, 20480)),
    "openunmix": Case(OpenUnmix(), OpenUnmix(layers=1, width=16), _MAGNITUDES, samples=(130048, 20480)),
    "wave_unet": Case(WaveUNet(), WaveUNet(levels=3, filters=3), _WAVES, samples=(65536, 8192)),
}
#: Largest difference over the largest value that the accelerator may show: float32 sums in another order, in
#: products of which NVIDIA's TF32 keeps 10 bits unless told otherwise.
TOLERANCES = {"stft": 1e-4, "fastica": 1e-2, "auxiva": 2e-2, "bss_eval": 1e-2, "step": 2e-2}


def main(small: bool | None = None, path: Path | None = None, say=print) -> dict:
    """Measure everything; write and return the results.

    Args:
      small: small sizes; on a CPU unless said otherwise.
      path: of the results; benchmarks/results/gpu.json when None.
    """
    small = jax.default_backend() == "cpu" if small is None else small
    peaks = {name: matmul_peak(name) for name in ("float32", "bfloat16")}
    for name, peak in peaks.items():
        say(f"a large product in {name}: {peak / 1e12:.2f} Tflop/s")
    report: dict[str, Any] = {
        "command": "python -m benchmarks gpu",
        "environment": environment() | {"driver": _driver()},
        "date": datetime.date.today().isoformat(),
        "small": small,
        "matmul_flops_per_second": peaks,
        "rows": [],
    }
    for row in (*_operations(small), *_steps(small, peaks), *_recurrence(small), *_models(small)):
        report["rows"].append(row)
        say("  " + ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()))
    path = path or Path(__file__).parent / "results" / "gpu.json"
    path.write_text(json.dumps(report, indent=2) + "\n")
    wrong = [row["case"] for row in report["rows"] if not row.get("agrees", True)]
    if wrong:
        say(f"differs from the CPU by more than its tolerance: {', '.join(wrong)}")
    return report


def _driver():
    """The NVIDIA driver's version, where there is one."""
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _median(call, rounds=7):
    """Median milliseconds of a warm call."""
    jax.block_until_ready(call())
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        jax.block_until_ready(call())
        seconds.append(time.perf_counter() - start)
    return 1e3 * float(np.median(seconds))


def _agreement(case, function, *arrays):
    """What the accelerator's result differs by from the CPU's, and whether the tolerance allows it."""
    found = jax.device_get(function(*arrays))
    with jax.default_device(jax.devices("cpu")[0]):
        expected = jax.device_get(function(*arrays))
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    error = max(float(np.nanmax(np.abs(a - b)) / max(np.nanmax(np.abs(b)), 1e-30)) for a, b in pairs)
    return {"error": error, "agrees": bool(error <= TOLERANCES[case])}


def _operations(small) -> Iterator[dict]:
    rng, torch = np.random.default_rng(0), _torch()
    batch, seconds = (4, 1) if small else (64, 10)
    x = rng.standard_normal((batch, seconds * 22050)).astype(np.float32)
    mixed = rng.laplace(size=(batch, 4, seconds * 22050)).astype(np.float32)
    mixed = np.einsum("bij,bjt->bit", rng.standard_normal((batch, 4, 4)).astype(np.float32), mixed)
    estimate = (mixed + 0.1 * rng.standard_normal(mixed.shape)).astype(np.float32)
    taps, room = (32, dict(n_fft=512, n_iter=3)) if small else (512, dict(n_fft=4096, n_iter=30))
    calls: dict[str, tuple[Callable, tuple]] = {
        "stft": (partial(stft, n_fft=1024), (x,)),
        "fastica": (lambda m: fastica(m).sources, (mixed,)),
        "auxiva": (partial(auxiva, **room), (mixed[:, :2],)),
        "bss_eval": (
            lambda s, e: bss_eval_sources(s, e, filter_length=taps, permute=False).sdr,
            (mixed, estimate),
        ),
    }
    for case, (function, arrays) in calls.items():
        agreement = _agreement(case, function, *(array[:1] for array in arrays))
        there = jax.device_put(arrays)
        ms = _median(partial(function, *there))
        row = {"case": case, "shape": str(arrays[0].shape), "ms": ms, **agreement}
        if case == "stft" and torch is not None:
            wave, window = torch.tensor(x, device="cuda"), torch.hann_window(1024, device="cuda")
            spectrum = partial(torch.stft, wave, 1024, 256, window=window, return_complex=True)
            row["torch_ms"] = _torch_median(torch, spectrum)
        yield row


def case_system(case: Case, small: bool) -> tuple[System, Any, int]:
    """The system of a case, the loss that it is trained for, and samples of an example."""
    network, samples = (case.small if small else case.network), case.samples[1 if small else 0]
    system = System(SystemConfig(network=network, codec=case.codec, overlap_seconds=0.1))
    loss = WaveformMSE() if case.codec is _WAVES or case.codec is _FRAMES else MagnitudeMSE()
    return system, loss, system.window or samples


def _steps(small, peaks) -> Iterator[dict]:
    """One training step of every network in both precisions."""
    torch = _torch()
    for name, case in CASES.items():
        batch, (system, loss, samples) = case.batch[1 if small else 0], case_system(case, small)
        network, optimizer = system.config.network, Adam()()
        sources = np.random.default_rng(0).standard_normal((batch, 2, 1, samples)).astype(np.float32)
        step = partial(train_step, system=system, loss=loss, optimizer=optimizer)
        state = init_state(system, optimizer)
        once = lambda s, b, step=step: jax.jit(step)(s, b)[1]["loss"]  # noqa: E731
        agreement = _agreement("step", once, state, make_batch(sources))
        for precision in ("float32", "bfloat16"):
            state, data = init_state(system, optimizer), make_batch(sources)
            jitted = jax.jit(
                partial(step, precision=precision),
                donate_argnums=0,
                compiler_options=compiler_options(network),
            )
            compiled = jitted.lower(state, data).compile()
            held = [state]

            def call(compiled=compiled, held=held, data=data):
                held[0], metrics = compiled(held[0], data)
                return metrics

            ms = _median(call, rounds=3 if small else 9)
            speed = operations(compiled) / ms * 1e3
            row = {"case": f"step {name}", "precision": precision, "shape": str(sources.shape), "ms": ms}
            row |= {"flops_per_second": speed, "share_of_matmul": speed / peaks[precision]}
            if precision == "float32":
                row |= agreement
            if torch is not None and case.torch is not None:
                row["torch_ms"] = _torch_step(torch, case, batch, samples, precision)
            yield row


def _recurrence(small) -> Iterator[dict]:
    """cuDNN's LSTM beside the scan."""
    if jax.default_backend() != "gpu":
        return
    for implementation in ("scan", "cudnn"):
        options = LSTMMask(layers=1, width=64) if small else LSTMMask()
        options = dataclasses.replace(options, implementation=implementation)
        network = options.build(sources=2, channels=1, bins=513)
        x = jax.random.normal(jax.random.key(0), (16, 1, 513, 250))
        variables = network.init(jax.random.key(0), x)
        apply = jax.jit(lambda v, x, network=network: network.apply(v, x)[0])
        ms = _median(partial(apply, variables, x))
        yield {"case": f"lstm forward, {implementation}", "shape": str(x.shape), "ms": ms}


def _models(small) -> Iterator[dict]:
    """Separation by what ships, with reading and writing left out."""
    for name in ("vocals", "sounds"):
        separator = Separator.from_pretrained(name)
        rate, channels = separator.system.config.sample_rate, separator.system.config.channels
        seconds = 12 if small else 240
        x = np.random.default_rng(0).standard_normal((channels, rate * seconds)).astype(np.float32) / 10
        separator(x[:, : rate * 12], rate)
        start = time.perf_counter()
        separator(x, rate)
        taken = time.perf_counter() - start
        row = {"case": f"separate, {name}", "shape": str(x.shape), "ms": 1e3 * taken}
        yield row | {"times_real_time": seconds / taken}


def _torch():
    """PyTorch, where it has a card."""
    try:
        import torch
    except ImportError:
        return None
    return torch if torch.cuda.is_available() else None


def _torch_median(torch, call):
    def done():
        call()
        torch.cuda.synchronize()

    return _median(done)


def _torch_step(torch, case, batch, samples, precision):
    """The same step in PyTorch on the card, with its fused Adam."""
    network = case.torch(torch).cuda()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
    signal = torch.randn(batch, 2, samples, device="cuda")
    narrow = torch.autocast("cuda", torch.bfloat16, enabled=precision == "bfloat16")
    step = torch_networks.training_step(torch, network, optimizer, signal, case.codec.transform, narrow)
    return _torch_median(torch, step)
