"""What the host's part of the input costs an example: mixed on the host, or drawn for the device.

``python -m benchmarks input`` times the mixtures of configs/sounds.yaml, with all that happens to them, from
recordings that it makes itself: CPU milliseconds of the host an example, and how many a second a step that
does nothing sees from one thread.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
import time
from pathlib import Path

import jax
import numpy as np

from benchmarks.timing import Result, spread_of
from train.config import load_config
from train.data.bank import Signal, Track, build_bank
from train.data.batches import batches
from train.data.placed import place_mixtures

_CONFIG = Path(__file__).parents[1] / "configs" / "sounds.yaml"
_BATCH, _STEPS = 64, 40


def run(say) -> list[Result]:
    """Time both ways, and the device's part of the second."""
    with tempfile.TemporaryDirectory() as folder:
        mixtures, config = _mixtures(Path(folder))
        placed = place_mixtures(mixtures, 4 << 30, pool=8)
        windows = place_mixtures(mixtures, 0, pool=8)
        ways = {"mixed on the host": mixtures, "windows": windows, "drawn": placed}
        timings = {name: [_host(examples, say, name) for _ in range(3)] for name, examples in ways.items()}
        cpu = {name: float(np.median(seconds)) for name, seconds in timings.items()}
        spread = {name: spread_of(seconds) for name, seconds in timings.items()}
        step = jax.jit(jax.vmap(placed.render, in_axes=(None, 0)))
        drawn = jax.tree.map(lambda *x: np.stack(x), *(placed[i]["drawn"] for i in range(4)))
        arrays = jax.device_put(placed.arrays)
        jax.block_until_ready(step(arrays, drawn))
        start = time.perf_counter()
        jax.block_until_ready(step(arrays, drawn))
        device = jax.devices()[0].device_kind
        say(f"made inside the step: {1e3 * (time.perf_counter() - start) / 4:.1f} ms an example on {device}")
    error = _difference(mixtures, placed)
    size = len(config.system.sources)
    case = f"an example of {size} sources, {config.data.seconds:g} s, CPU ms of the host"
    return [
        Result(
            case,
            name,
            1e3 * cpu["drawn"],
            1e3 * cpu[name],
            cpu[name] / cpu["drawn"],
            error,
            round(spread["drawn"] + spread[name], 4),
        )
        for name in ("mixed on the host", "windows")
    ]


def _mixtures(folder):
    """The examples of the config, of noises that come and go, ten of a class."""
    import soundfile

    os.environ.setdefault("JAXSEP_DATA", str(folder))
    config = load_config(str(_CONFIG), [])
    rate, rng, tracks = config.system.sample_rate, np.random.default_rng(0), []
    for source in config.system.sources:
        for k in range(10):
            sound = rng.standard_normal(5 * rate).astype(np.float32) * (
                np.sin(np.arange(5 * rate) / rate) > -0.5
            )
            path = folder / f"{source}{k}.wav"
            soundfile.write(path, 0.1 * sound, rate, subtype="FLOAT")
            tracks.append(Track(path.name, ((Signal(str(path)),),), source, path.name))
    bank = build_bank(tracks, rate, folder / "cache")
    count = _BATCH * _STEPS
    data = dataclasses.replace(config.data, recipe=dataclasses.replace(config.data.recipe, extra=()))
    return data.recipe.examples(data, bank, config.system.sources, 0, config.read_samples, count), config


def _host(examples, say, name):
    """CPU seconds an example, read by one thread, after the first batch."""
    steps = _STEPS if name == "drawn" else 6
    reading = batches(examples, _BATCH, 0, 1)
    next(reading)
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(steps - 1):
        next(reading)
    count = _BATCH * (steps - 1)
    cpu, wall = (time.process_time() - cpu) / count, (time.perf_counter() - wall) / count
    say(f"{name}: {1e3 * cpu:.2f} CPU ms an example, {1 / wall:.0f} examples a second from one thread")
    return cpu


def _difference(mixtures, placed):
    """Largest difference of both ways' sources to their peak, over some examples."""
    render, worst = jax.jit(placed.render), 0.0
    for i in range(8):
        parts = [p if p.clip >= 0 else p._replace(start=p.start % 8) for p in mixtures.draw(i)]
        expected = mixtures.render(parts)
        found = np.asarray(render(placed.arrays, placed[i]["drawn"]))
        worst = max(worst, float(np.abs(found - expected).max() / np.abs(expected).max()))
    return worst
