"""Intervals of means over few recordings: what 95 % of draws of them with replacement have."""

from __future__ import annotations

import numpy as np


def drawn_means(totals, weights, draws: int = 1000, rng: np.random.Generator | None = None) -> np.ndarray:
    """Weighted means of draws with replacement.

    Args:
      totals: ``(recordings,)`` sums, or values times their weights.
      weights: ``(recordings,)`` what they were summed over.
      draws: how many.
      rng: to draw by; None for a fixed start.

    Returns:
      ``(draws,)``.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    chosen = rng.integers(len(totals), size=(draws, len(totals)))
    return np.asarray(totals)[chosen].sum(axis=1) / np.asarray(weights)[chosen].sum(axis=1)


def interval(means, digits: int = 2) -> list[float]:
    """Lower and upper end of what 95 % of the means lie in, rounded to ``digits``.

    Example:
      >>> interval(np.arange(101))
      [2.5, 97.5]
    """
    return [round(float(end), digits) for end in np.percentile(means, [2.5, 97.5])]


def mean_and_interval(values, draws: int = 1000, digits: int = 2) -> list[float]:
    """``[mean, low, high]`` of what was measured once on each recording.

    Example:
      >>> mean_and_interval([1.0, 1.0])
      [1.0, 1.0, 1.0]
    """
    drawn = drawn_means(values, np.ones(len(values)), draws)
    return [round(float(np.mean(values)), digits), *interval(drawn, digits)]


def by_recording(values, weights, names) -> tuple[np.ndarray, np.ndarray]:
    """Totals and weights of each recording, for :func:`drawn_means`: what is of one is drawn together.

    Args:
      values: ``(rows,)`` of what was measured.
      weights: ``(rows,)`` of each row in the mean.
      names: ``(rows,)`` the recording that a row is of.

    Example:
      >>> totals, weights = by_recording([1.0, 3.0, 5.0], [1.0, 1.0, 1.0], ["a", "b", "a"])
      >>> totals.tolist(), weights.tolist()
      ([6.0, 3.0], [2.0, 1.0])
    """
    found, row_of = np.unique(np.asarray(names), return_inverse=True)
    weights = np.asarray(weights, float)
    totals = np.bincount(row_of, weights * np.asarray(values, float), len(found))
    return totals, np.bincount(row_of, weights, len(found))


def first_recordings(bank, parts, num_sources: int) -> list[str]:
    """The recording of each source's first clip in a mixture of clips; "" of a source that has none.

    Args:
      bank: a :class:`train.data.bank.Bank` of clips.
      parts: what :meth:`train.data.mixtures.Mixtures.draw` drew.
      num_sources: how many to return.
    """
    first = {p.source: bank.tracks[p.clip].recording for p in reversed(parts) if p.clip >= 0}
    return [first.get(s, "") for s in range(num_sources)]
