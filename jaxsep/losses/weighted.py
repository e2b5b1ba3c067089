"""A weighted sum of losses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax

from jaxsep.losses.part import domains_of, loss_of
from jaxsep.parts import Loss, ranged, register


@register("loss", "sum")
@dataclass(frozen=True)
class WeightedSum:
    """``sum_k weights[k] * losses[k]``, each of whatever domain it reads.

    Example:
      >>> from jaxsep.losses import SISDR, SNR
      >>> sorted(WeightedSum((SNR(), SISDR()), (1.0, 0.5)).reads)
      ['waveforms']
    """

    losses: tuple[Loss, ...] = ()
    """The losses."""
    weights: tuple[float, ...] = ranged((), least=0)
    """Their weights; all 1 when there are none."""

    def __post_init__(self):
        if not self.losses or len(self.weights) not in (0, len(self.losses)):
            raise ValueError(
                f"losses={len(self.losses)}, weights={self.weights}: expected at least one loss, "
                "and a weight each"
            )

    @property
    def reads(self) -> frozenset[str]:
        """What any of the losses reads."""
        return frozenset(domain for loss in self.losses for domain in domains_of(loss))

    def of(self, estimates: Any, reference: Any) -> jax.Array:
        """Estimates and references in every domain -> ``(batch,)``."""
        weights = self.weights or (1.0,) * len(self.losses)
        return sum(
            w * loss_of(loss, estimates, reference) for w, loss in zip(weights, self.losses, strict=True)
        )  # type: ignore[return-value]

    def requires(self, system: Any) -> None:
        """Refuse what any of the losses refuses."""
        for loss in self.losses:
            getattr(loss, "requires", lambda system: None)(system)
