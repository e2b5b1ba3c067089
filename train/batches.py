"""Batches of excerpts: the batch of a step is a function of (seed, step) alone.

So any number of hosts and threads sees the same order, and the step is all that a resumed run
needs to know of its input.
"""

from __future__ import annotations

from collections.abc import Iterator

import grain
import jax
import numpy as np

from train.bank import Bank
from train.config import DataConfig


class Excerpts:
    """Random access: example i of the whole run, drawn from (seed, i)."""

    def __init__(self, bank: Bank, config: DataConfig, seed: int, length: int, count: int):
        self.bank, self.config = bank, config
        self.seed, self.length, self.count = seed, length, count
        self.chance = bank.lengths / bank.lengths.sum()

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> dict[str, np.ndarray]:
        rng = np.random.Generator(np.random.Philox(key=[self.seed, int(i)]))
        sources = self.bank.audio.shape[1]
        one = int(rng.choice(len(self.chance), p=self.chance))
        track = np.array([one] * sources)
        if rng.random() < self.config.remix:
            track = np.asarray(rng.choice(len(self.chance), size=sources, p=self.chance))
        start = [self._start(rng, track[0])] * sources
        for s in range(1, sources):
            if self.config.circular or track[s] != track[0]:
                start[s] = self._start(rng, track[s])
        audio = [self.bank.read(track[s], s, start[s], self.length) for s in range(sources)]
        return {"sources": np.stack(audio), "track": track}

    def _start(self, rng, track) -> int:
        """A start anywhere when excerpts may wrap, else one from which the excerpt fits."""
        length = int(self.bank.lengths[track])
        room = length if self.config.circular else max(1, length - self.length + 1)
        return int(rng.integers(room))


def batches(
    excerpts: Excerpts, batch_size: int, start_step: int, threads: int
) -> Iterator[dict[str, np.ndarray]]:
    """Yield this host's part of the batch of each step from ``start_step`` on.

    ``sources`` (local batch, sources, samples), ``id`` (local batch,) and ``track``.
    """
    hosts, host = jax.process_count(), jax.process_index()
    local = batch_size // hosts
    ids = np.arange(host * local, (host + 1) * local, dtype=np.uint32)

    def load(k: int) -> dict[str, np.ndarray]:
        step, place = divmod(k, local)
        return excerpts[step * batch_size + int(ids[place])]

    steps = len(excerpts) // batch_size
    examples = grain.MapDataset.range(steps * local).map(load).batch(local)[start_step:]
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=4 * max(1, threads))
    for batch in examples.to_iter_dataset(options):
        yield {**batch, "id": ids, "weight": np.ones(local, np.float32)}
