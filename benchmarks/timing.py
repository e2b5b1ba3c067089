"""Fair timing: both sides warm, in turn, each after a pause, blocked until ready; the ratio of medians."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax
import numpy as np

#: Seconds before each side: idle threads of OpenBLAS and OpenMP go on spinning for over 0.1 s.
_PAUSE = 0.3
#: Seconds of calls, at least one, before the one that is timed: the pause cools caches, clocks and threads.
_WARM = 0.1


@dataclass(frozen=True)
class Result:
    """One case: ours beside one peer."""

    case: str
    peer: str
    ours_ms: float
    peer_ms: float
    ratio: float
    """Peer's median over ours: above 1 we are faster."""
    error: float
    """Largest difference of the results over the largest value; NaN where they cannot be equal."""
    spread: float = np.nan
    """Half the range of the middle half of both sides' timings, relative to their medians, added: how far
    the ratio may be off."""


def compare(
    case: str,
    ours: Callable[[], object],
    peers: Mapping[str, Callable[[], object]],
    *,
    rounds: int = 11,
    error: dict[str, float] | None = None,
) -> list[Result]:
    """Time ``ours`` and every peer in turn, ``rounds`` times each, warm."""
    everyone = {"ours": ours, **peers}
    times: dict[str, list[float]] = {name: [] for name in everyone}
    for call in everyone.values():
        jax.block_until_ready(call())
    for _ in range(rounds):
        for name, call in everyone.items():
            time.sleep(_PAUSE)
            times[name].append(_warm_time(call))
    medians = {name: 1e3 * float(np.median(t)) for name, t in times.items()}
    spreads = {name: spread_of(t) for name, t in times.items()}
    return [
        Result(
            case,
            peer,
            medians["ours"],
            medians[peer],
            medians[peer] / medians["ours"],
            (error or {}).get(peer, np.nan),
            round(spreads["ours"] + spreads[peer], 4),
        )
        for peer in peers
    ]


def _warm_time(call):
    """Seconds that a call takes behind ``_WARM`` seconds of others."""
    begin = start = time.perf_counter()
    while start - begin < _WARM:
        jax.block_until_ready(call())
        start = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - start


def difference(ours, theirs) -> float:
    """Largest difference over the largest value, both as numpy arrays."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    return float(np.max(np.abs(ours - theirs)) / np.max(np.abs(theirs)))


def over_devices(function: Callable, count: int | None = None) -> Callable:
    """``function`` over the leading axis, spread over the first ``count`` devices; all when None."""
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:count]), ("batch",))
    spec = jax.sharding.PartitionSpec("batch")
    return jax.jit(jax.shard_map(function, mesh=mesh, in_specs=spec, out_specs=spec))


def find_torch(say: Callable[[str], None]):
    """Return PyTorch, or None after saying that it is not there."""
    try:
        import torch
    except ImportError:
        say("PyTorch is not installed: skipped")
        return None
    return torch


def torch_threads(torch, call: Callable[[], object], threads: int) -> Callable[[], object]:
    """``call`` with PyTorch set to that many threads."""

    def run():
        torch.set_num_threads(threads)
        with torch.inference_mode(False):
            return call()

    return run


def spread_of(seconds):
    """Half the range of the middle half, relative to the median."""
    low, middle, high = np.percentile(seconds, (25, 50, 75))
    return float((high - low) / 2 / middle)
