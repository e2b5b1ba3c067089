"""Batches of excerpts: the batch of a step is a function of (seed, step) alone.

So any number of hosts and threads sees the same order, and the step is all that a resumed run
needs to know of its input.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

import grain
import jax
import numpy as np

from train.bank import Bank
from train.config import DataConfig
from train.mixtures import Mixtures

#: Seed of the mixtures to choose by, whatever the seed of the run.
_VALID_SEED = 0


class Recordings(Protocol):
    """Whole recordings to validate on; a bank is one."""

    @property
    def names(self) -> list[str]: ...

    @property
    def lengths(self) -> np.ndarray:
        """Samples of each."""

    def track(self, i: int) -> np.ndarray:
        """Recording i, ``(sources, samples)``."""


def make_examples(
    bank: Bank, config: DataConfig, sources: tuple[str, ...], seed: int, length: int, count: int
) -> Excerpts | Mixtures:
    """Return ``count`` training examples of ``length`` samples by random access."""
    if config.recipe == "class_folders":
        return Mixtures(bank, config.mixing, sources, seed, length, count)
    return Excerpts(bank, config, seed, length, count)


def make_validation(bank: Bank, config: DataConfig, sources: tuple[str, ...]) -> Recordings:
    """Return what to validate on: the recordings, or fixed mixtures of clips as they were found."""
    if config.recipe != "class_folders":
        return bank
    mixing = replace(config.mixing, low_pass=0.0, speed_semitones=0.0, absent=0.0, generated={})
    length = round(config.seconds * bank.sample_rate)
    return Mixtures(bank, mixing, sources, _VALID_SEED, length, config.valid_mixtures)


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
    excerpts: Excerpts | Mixtures, batch_size: int, start_step: int, threads: int
) -> Iterator[dict[str, np.ndarray]]:
    """Yield this host's part of the batch of each step from ``start_step`` on.

    ``sources`` (local batch, sources, samples), ``id`` (local batch,) and ``track``, the indices
    of the recordings in the bank (-1 for none).
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
