"""Sources for the benchmarks of blind separation: recordings, or made-up songs where there are none."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

import numpy as np

from jaxsep.audio import read_audio
from jaxsep.examples import song


@lru_cache(maxsize=4)
def _pool(rate: int) -> list[np.ndarray]:
    """Speech and music of JAXSEP_DATA, or songs."""
    root = Path(os.environ.get("JAXSEP_DATA", ""))
    files = sorted(root.glob("fiveclass/speech/*"))[:60] + sorted(root.glob("multitrack/*/*/*.ogg"))[:60]
    if root != Path() and files:
        return [read_audio(f, rate).mean(axis=0) for f in files]
    return [part for seed in range(20) for part in song(10.0, rate, seed).values()]


def sources(count: int, samples: int, rng: np.random.Generator, rate: int = 22050) -> np.ndarray:
    """``(count, samples)`` float32 of different recordings, repeated to length, unit variance."""
    pool = _pool(rate)
    chosen = [pool[i] for i in rng.choice(len(pool), count, replace=False)]
    signals = np.stack([np.resize(np.roll(s, -int(rng.integers(len(s)))), samples) for s in chosen])
    signals = signals + 1e-4 * rng.standard_normal(signals.shape)
    return (signals / signals.std(axis=1, keepdims=True)).astype(np.float32)


def mixture(count: int, samples: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A mixing matrix of condition below 20, and mixtures ``(count, samples)`` float32."""
    while True:
        matrix = rng.standard_normal((count, count))
        if np.linalg.cond(matrix) < 20:
            return matrix, (matrix @ sources(count, samples, rng)).astype(np.float32)


def amari(product: np.ndarray) -> float:
    """Amari distance in [0, 1] of ``unmixing @ mixing`` from a scaled permutation."""
    p = np.abs(product)
    n = len(p)
    rows = (p.sum(1) / p.max(1) - 1).sum()
    columns = (p.sum(0) / p.max(0) - 1).sum()
    return float((rows + columns) / (2 * n * (n - 1)))
