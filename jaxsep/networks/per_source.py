"""One network for each source, as Open-Unmix and Spleeter are built."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxsep.masks import ratio_mask
from jaxsep.networks.lstm import LSTMMask
from jaxsep.networks.network import HoldsBuilt, HoldsNetwork
from jaxsep.nn.layers import OutputRange
from jaxsep.parts import Network, ranged, register

#: Shared out beside the outputs' squares: near 0 shares are equal, and finite their slopes.
_LEAST = 1e-10


@register("network", "per_source")
@dataclass(frozen=True)
class PerSource(HoldsNetwork):
    """Holds any network once per source; each hears the mixture and estimates its own.

    Example:
      >>> network = PerSource(LSTMMask(layers=1, width=4)).build(sources=2, channels=1, bins=5)
      >>> features = jnp.ones((3, 1, 5, 7))
      >>> variables = network.init(jax.random.key(0), features)
      >>> sorted(variables["params"]), network.apply(variables, features)[0].shape
      (['source_0', 'source_1'], (3, 2, 1, 5, 7))
    """

    network: Network = field(default_factory=LSTMMask)
    """The network that each source has one of."""
    trained: tuple[int, ...] = ranged((), least=0)
    """Indices of the sources whose networks are trained, the others staying as they are; all when empty."""
    joint: Literal["none", "softmax", "first"] = "none"
    """``softmax`` of the networks' linear outputs over the sources, as Spleeter with five stems; ``first``:
    the first source's output is its mask, and the others have what it leaves of the mixture, in proportion
    to their outputs squared, so that the stems sum to the mixture (with the head ``ratio`` as it is by
    default, or ``mask``); or none."""

    @property
    def output_range(self) -> OutputRange:
        """Where the outputs lie."""
        return self.network.output_range if self.joint == "none" else "unit"

    def check(self, num_sources: int, num_bins: int) -> None:
        """Raise ValueError when there is no such network, or no such source to train."""
        getattr(self.network, "check", lambda sources, bins: None)(1, num_bins)
        if self.joint == "first" and num_sources < 2:
            raise ValueError(
                "joint='first': there is one source; expected others, which share what it leaves"
            )
        if self.joint == "first" and self.network.output_range != "unit":
            raise ValueError(
                f"network.network.name={self.network.name!r}: its outputs are {self.network.output_range}; "
                "joint='first' needs masks in [0, 1], as a sigmoid gives"
            )
        if any(i >= num_sources for i in self.trained):
            raise ValueError(f"trained={self.trained}: expected indices below the {num_sources} sources")

    def frozen(self, name: str) -> bool:
        """Whether a parameter, by its name as ``source_0/heads/bias``, is not trained."""
        source, _, own = name.partition("/")
        if self.trained and int(source.removeprefix("source_")) not in self.trained:
            return True
        return super().frozen(own)

    def build(self, *, sources: int, channels: int, bins: int) -> BuiltPerSource:
        """Return the networks."""
        one = self.network.build(sources=1, channels=channels, bins=bins)
        return BuiltPerSource(one, sources, self.trained or tuple(range(sources)), self.joint)


@dataclass(frozen=True)
class BuiltPerSource(HoldsBuilt):
    """One network, with as many sets of variables as sources."""

    one: Any
    sources: int
    trained: tuple[int, ...]
    joint: str

    def init(self, key: jax.Array, features: jax.Array) -> dict:
        """Return fresh variables, those of source i under ``source_i``."""
        each = [self.one.init(jax.random.fold_in(key, i), features) for i in range(self.sources)]
        return {c: self._named([v.get(c, {}) for v in each]) for c in ("params", "batch_stats")}

    def apply(self, variables, features, *, train=False, key=None, mask=None, axis_name=None):
        """Run every network on the mixture."""
        outputs, statistics = [], []
        for i in range(self.sources):
            own = self._own(variables, f"source_{i}")
            learns = train and i in self.trained
            if train and not learns:
                own["params"] = jax.lax.stop_gradient(own["params"])
            keys = None if key is None else jax.vmap(lambda k, i=i: jax.random.fold_in(k, i))(key)
            call = dict(train=learns, key=keys, mask=mask, axis_name=axis_name)
            found, changed = self.one.apply(own, features, **call)
            outputs.append(found)
            statistics.append(changed)
        return self._joined(outputs), self._named(statistics)

    def start(self, batch: int) -> tuple:
        """Return the carries of the networks."""
        return tuple(self.one.start(batch) for _ in range(self.sources))

    def advance(self, variables, carry, features):
        """Run the next frames."""
        found = []
        for i in range(self.sources):
            found.append(self.one.advance(self._own(variables, f"source_{i}"), carry[i], features))
        return self._joined([outputs for outputs, _ in found]), tuple(carry for _, carry in found)

    def _joined(self, outputs):
        joined = jnp.concatenate(outputs, axis=1)
        if self.joint == "softmax":
            return jax.nn.softmax(joined, axis=1)
        if self.joint == "first":
            shares = ratio_mask(joined[:, 1:] ** 2, axis=1, epsilon=_LEAST)
            return jnp.concatenate([joined[:, :1], (1.0 - joined[:, :1]) * shares], axis=1)
        return joined

    @staticmethod
    def _named(each):
        return {f"source_{i}": value for i, value in enumerate(each)}
