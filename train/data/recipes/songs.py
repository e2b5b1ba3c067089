"""What recipes of whole songs share: how excerpts are drawn from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jaxsep.parts import ranged
from train.data.bank import Bank
from train.data.excerpts import Excerpts
from train.data.placed import Placed, place_excerpts
from train.data.recipes.recipe import Examples, Recordings


@dataclass(frozen=True)
class Songs:
    """How excerpts are drawn from songs."""

    remix: float = ranged(0.5, least=0, most=1)
    """Share of the examples whose sources come from different recordings."""
    circular: bool = True
    """Read each source of a recording from a start of its own, wrapping round its end."""
    skip_seconds: float = ranged(0.0, least=0, below=36000)
    """An intro that no excerpt starts in, where the song is long enough."""
    sections: int = ranged(0, least=0, most=100000)
    """Excerpts start at this many points, evenly spaced; 0 for anywhere."""

    def examples(self, data: Any, bank: Bank, sources, seed: int, length: int, count: int) -> Examples:
        """Excerpts."""
        return Excerpts(bank, self, seed, length, count)

    def placed(self, data: Any, examples: Any, budget: int) -> Placed | None:
        """The same, cut on the device; None where the songs exceed ``budget`` bytes."""
        return place_excerpts(examples, budget)

    def validation(self, data: Any, bank: Bank, sources) -> Recordings:
        """The recordings, whole."""
        return bank
