"""Excerpts of recordings: each a function of (seed, number) alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from train.data.bank import Bank


class Excerpts:
    """Random access: example i of the whole run, drawn from (seed, i)."""

    def __init__(self, bank: Bank, recipe: Any, seed: int, length: int, count: int):
        self.bank, self.recipe = bank, recipe
        self.seed, self.length, self.count = seed, length, count
        self.chance = bank.lengths / bank.lengths.sum()

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> dict[str, np.ndarray]:
        track, start = self.drawn(i)
        audio = [self.bank.read(t, s, start[s], self.length) for s, t in enumerate(track)]
        return {"sources": np.stack(audio), "track": track}

    def describe(self, i: int) -> list[dict]:
        """What example i is made of: for each source the recording, and where it starts in seconds."""
        rows = zip(*self.drawn(i), strict=True)
        return [
            {"source": s, "clip": self.bank.names[t], "start": round(x / self.bank.sample_rate, 3)}
            for s, (t, x) in enumerate(rows)
        ]

    def drawn(self, i):
        """Recording and start of each source."""
        rng = np.random.Generator(np.random.Philox(key=[self.seed, int(i)]))
        sources = self.bank.audio.shape[1]
        one = int(rng.choice(len(self.chance), p=self.chance))
        track = np.array([one] * sources)
        if rng.random() < self.recipe.remix:
            track = np.asarray(rng.choice(len(self.chance), size=sources, p=self.chance))
        start = [self._start(rng, track[0])] * sources
        for s in range(1, sources):
            if self.recipe.circular or track[s] != track[0]:
                start[s] = self._start(rng, track[s])
        return track, start

    def _start(self, rng, track) -> int:
        """A start in a section, anywhere when excerpts may wrap, or from which the excerpt fits."""
        length, skip = int(self.bank.lengths[track]), self._skip(track)
        if self.recipe.sections:
            starts = section_starts(length, self.length, skip, self.recipe.sections)
            return int(starts[rng.integers(len(starts))])
        room = length - skip if self.recipe.circular else max(1, length - skip - self.length + 1)
        return skip + int(rng.integers(room))

    def _skip(self, track) -> int:
        """Samples of the intro, as far as an excerpt fits behind it."""
        skip = round(self.recipe.skip_seconds * self.bank.sample_rate)
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
