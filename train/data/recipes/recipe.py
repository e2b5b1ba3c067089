"""What a data recipe is: which files are which source, and how examples are drawn from them.

A recipe is a part of the kind ``recipe`` with three methods::

    find(data, folder, sources, part) -> list[Track]        the recordings below a folder
    examples(data, bank, sources, seed, length, count)      training examples by random access, functions of
                                                            (seed, index) alone: {"sources": (sources,
                                                            channels, length) float32, "track": indices into
                                                            the bank, -1 for none}; with ``describe(index)``
    validation(data, bank, sources) -> Recordings           whole recordings to validate on

and, where its examples can be made on the device, ``placed(data, examples, budget) -> Placed | None`` of
:mod:`train.data.placed`. ``data`` is the run's :class:`train.config.DataConfig`.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from jaxsep.errors import UserError
from train.data.bank import Bank, Track, build_bank
from train.data.listing import Part, data_folder, in_fold


class Examples(Protocol):
    """Training examples by random access."""

    def __len__(self) -> int: ...

    def __getitem__(self, i: int) -> dict[str, np.ndarray]: ...

    def describe(self, i: int) -> list[dict]:
        """What example i is made of: a row for each part, with ``source``, ``clip`` and ``start``."""


class Recordings(Protocol):
    """Whole recordings to validate on; a bank is one."""

    @property
    def names(self) -> list[str]: ...

    @property
    def lengths(self) -> np.ndarray:
        """Samples of each."""

    def track(self, i: int) -> np.ndarray:
        """Recording i, ``(sources, channels, samples)``."""


def open_part(config: Any, part: Part) -> Bank:
    """Decode the recordings that a run trains or validates on."""
    system = config.system
    tracks = find_part(config.data, system.sources, part)
    return build_bank(tracks, system.sample_rate, config.data.cache, channels=system.channels)


def find_part(data: Any, sources: tuple[str, ...], part: Part) -> list[Track]:
    """Return the recordings that a config trains or validates on, or those of its fold."""
    if not data.folds:
        return find_tracks(data, data_folder(getattr(data, part), f"data.{part}"), sources, part)
    tracks = find_tracks(data, data_folder(data.train, "data.train"), sources, "train")
    return in_fold(tracks, data.folds, data.fold, part)


def find_tracks(data: Any, folder, sources: tuple[str, ...], part: Part = "train") -> list[Track]:
    """Return the recordings below ``folder``, in the order of their names."""
    tracks = data.recipe.find(data, folder, sources, part)
    if not tracks:
        raise UserError(f"{folder}: holds no recording that data.recipe={data.recipe.name} can use")
    return tracks
