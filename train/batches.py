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


def overlays(config: DataConfig) -> bool:
    """Whether examples are overlaid of clips of one source each."""
    return config.recipe in ("class_folders", "two_folders")


def make_examples(
    bank: Bank, config: DataConfig, sources: tuple[str, ...], seed: int, length: int, count: int
) -> Excerpts | Mixtures:
    """Return ``count`` training examples of ``length`` samples by random access."""
    if overlays(config):
        return Mixtures(bank, config.mixing, sources, seed, length, count)
    return Excerpts(bank, config, seed, length, count)


def make_validation(bank: Bank, config: DataConfig, sources: tuple[str, ...]) -> Recordings:
    """Return what to validate on: the recordings, or fixed mixtures of clips as they were found."""
    if not overlays(config):
        return bank
    mixing = replace(config.mixing, absent=0.0, generated={})
    mixing = replace(mixing, low_pass=0.0, speed_semitones=0.0, equaliser_db=0.0, reverb=0.0)
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
        track, start = self._draw(i)
        audio = [self.bank.read(t, s, start[s], self.length) for s, t in enumerate(track)]
        return {"sources": np.stack(audio), "track": track}

    def describe(self, i: int) -> list[dict]:
        """What example i is made of: for each source the recording, and where it starts in seconds."""
        rows = zip(*self._draw(i), strict=True)
        return [
            {"source": s, "clip": self.bank.names[t], "start": round(x / self.bank.sample_rate, 3)}
            for s, (t, x) in enumerate(rows)
        ]

    def _draw(self, i):
        """Recording and start of each source."""
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
        return track, start

    def _start(self, rng, track) -> int:
        """A start in a section, anywhere when excerpts may wrap, or from which the excerpt fits."""
        length, skip = int(self.bank.lengths[track]), self._skip(track)
        if self.config.sections:
            starts = section_starts(length, self.length, skip, self.config.sections)
            return int(starts[rng.integers(len(starts))])
        room = length - skip if self.config.circular else max(1, length - skip - self.length + 1)
        return skip + int(rng.integers(room))

    def _skip(self, track) -> int:
        """Samples of the intro, as far as an excerpt fits behind it."""
        skip = round(self.config.skip_seconds * self.bank.sample_rate)
        return max(0, min(skip, int(self.bank.lengths[track]) - self.length))


def section_starts(length: int, excerpt: int, skip: int, sections: int) -> np.ndarray:
    """Evenly spaced starts of excerpts, the first behind the intro, the last at the end.

    Args:
      length: samples of the recording.
      excerpt: samples of an excerpt.
      skip: samples of the intro, where the recording is long enough.
      sections: how many.

    Example:
      >>> section_starts(100, 10, 30, 4)
      array([30, 50, 70, 90])
    """
    last = max(0, length - excerpt)
    return np.linspace(min(skip, last), last, sections).round().astype(int)


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
