"""Networks for all sources but the last; that is what they leave of the mixture."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from jaxsep.networks.network import HoldsBuilt, HoldsNetwork
from jaxsep.networks.openunmix import OpenUnmix
from jaxsep.networks.per_source import PerSource
from jaxsep.nn.layers import OutputRange
from jaxsep.parts import Network, register


@register("network", "remainder")
@dataclass(frozen=True)
class Remainder(HoldsNetwork):
    """Holds a network whose outputs are magnitudes, and adds a source: what they leave of the mixture's.

    So a model of a single target has a second stem. Its variables are those of the network.

    Example:
      >>> network = Remainder(PerSource(OpenUnmix(layers=1, width=4))).build(sources=2, channels=1, bins=5)
      >>> features = jnp.ones((3, 1, 5, 7))
      >>> variables = network.init(jax.random.key(0), features)
      >>> sorted(variables["params"]), network.apply(variables, features)[0].shape
      (['source_0'], (3, 2, 1, 5, 7))
    """

    network: Network = field(default_factory=lambda: PerSource(OpenUnmix()))
    """Estimates magnitudes of the other sources."""

    @property
    def output_range(self) -> OutputRange:
        """Where magnitudes lie."""
        return "not negative"

    def check(self, num_sources: int, num_bins: int) -> None:
        """Raise ValueError when there is one source, or the network gives no magnitudes."""
        if num_sources < 2:
            raise ValueError(f"network.name='remainder': expected 2 sources or more, not {num_sources}")
        if self.network.output_range != "not negative" or self.network.domain != "frames":
            raise ValueError(
                f"network.network.name={self.network.name!r}: its outputs are {self.network.output_range} "
                f"over {self.network.domain}; expected magnitudes, not negative, as 'openunmix' gives"
            )
        getattr(self.network, "check", lambda sources, bins: None)(num_sources - 1, num_bins)

    def build(self, *, sources: int, channels: int, bins: int) -> BuiltRemainder:
        """Return the network."""
        inner = self.network.build(sources=sources - 1, channels=channels, bins=bins)
        return BuiltRemainder(inner, channels)


@dataclass(frozen=True)
class BuiltRemainder(HoldsBuilt):
    """A network, with what its sources leave beside them."""

    one: Any
    channels: int

    def init(self, key: jax.Array, features: jax.Array) -> dict:
        """Return fresh variables: the network's."""
        return self.one.init(key, features)

    def apply(self, variables, features, **call):
        """Run the network."""
        found, statistics = self.one.apply(variables, features, **call)
        return self._with_rest(found, features), statistics

    def advance(self, variables, carry, features):
        """Run the next frames."""
        found, carry = self.one.advance(variables, carry, features)
        return self._with_rest(found, features), carry

    def _with_rest(self, found, features):
        left = features[:, None, : self.channels] - jnp.sum(found, axis=1, keepdims=True)
        return jnp.concatenate([found, jnp.maximum(left, 0.0)], axis=1)
