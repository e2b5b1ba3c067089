"""One network for one of two sources; the other is what it leaves of the mixture."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from jaxsep.networks.network import HoldsBuilt, HoldsNetwork
from jaxsep.networks.spleeter import SpleeterUNet
from jaxsep.nn.layers import OutputRange
from jaxsep.parts import Network, ranged, register

#: Masks below it are 0 where a power is taken.
_LEAST = 1e-6


@register("network", "complement")
@dataclass(frozen=True)
class Complement(HoldsNetwork):
    """Holds a network whose output in [0, 1] is the mask of one source, and 1 minus it the other's.

    Half the cost and size of a network for each; a ratio mask takes the two as they are. Its variables are
    called as in ``per_source``, so one starts from the weights of the other.

    Example:
      >>> network = Complement(SpleeterUNet(levels=2, filters=2)).build(sources=2, channels=1, bins=8)
      >>> features = jnp.ones((3, 1, 8, 4))
      >>> masks, _ = network.apply(network.init(jax.random.key(0), features), features)
      >>> masks.shape, bool(jnp.all(masks.sum(1) == 1))
      ((3, 2, 1, 8, 4), True)
    """

    network: Network = field(default_factory=SpleeterUNet)
    """Estimates the mask."""
    source: int = ranged(0, least=0, most=1)
    """Index of the source whose mask it is."""
    exponent: float = ranged(1.0, least=0.05, most=8)
    """The mask is the network's output to this power: below 1, the source gets more of what is in doubt."""

    @property
    def output_range(self) -> OutputRange:
        """Where masks lie."""
        return "unit"

    def frozen(self, name: str) -> bool:
        """Whether a parameter of the network, by its name as ``source_0/heads/bias``, is not trained."""
        return super().frozen(name.partition("/")[2])

    def check(self, num_sources: int, num_bins: int) -> None:
        """Raise ValueError when there are not two sources, or the network gives no mask."""
        if num_sources != 2:
            raise ValueError(f"network.name='complement': expected 2 sources, not {num_sources}")
        if self.network.output_range != "unit":
            raise ValueError(
                f"network.network.name={self.network.name!r}: its outputs are {self.network.output_range}; "
                "expected masks in [0, 1], as a sigmoid gives"
            )
        getattr(self.network, "check", lambda sources, bins: None)(1, num_bins)

    def build(self, *, sources: int, channels: int, bins: int) -> BuiltComplement:
        """Return the network."""
        one = self.network.build(sources=1, channels=channels, bins=bins)
        return BuiltComplement(one, self.source, self.exponent)


@dataclass(frozen=True)
class BuiltComplement(HoldsBuilt):
    """A network for one source, with the other's mask beside its own."""

    one: Any
    source: int
    exponent: float = 1.0

    def init(self, key: jax.Array, features: jax.Array) -> dict:
        """Return fresh variables: the network's, under ``source_i``."""
        found = self.one.init(key, features)
        return {kind: {self._name: found.get(kind, {})} for kind in ("params", "batch_stats")}

    def apply(self, variables, features, **call):
        """Run the network."""
        mask, statistics = self.one.apply(self._own(variables, self._name), features, **call)
        return self._both(mask), {self._name: statistics}

    def advance(self, variables, carry, features):
        """Run the next frames."""
        mask, carry = self.one.advance(self._own(variables, self._name), carry, features)
        return self._both(mask), carry

    def _both(self, mask):
        if self.exponent != 1:  # the slope of a root has no bound at 0
            mask = jnp.where(mask > _LEAST, jnp.maximum(mask, _LEAST) ** self.exponent, 0.0)
        both = (mask, 1.0 - mask) if self.source == 0 else (1.0 - mask, mask)
        return jnp.concatenate(both, axis=1)

    @property
    def _name(self):
        return f"source_{self.source}"
