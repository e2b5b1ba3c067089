"""What a network is to the rest of the library, and how Flax Linen modules become one.

A network is a part: a frozen dataclass of options, registered under ``("network", name)``, with

- facts: ``causal``, ``window`` (frames that it takes at once, or None), ``domain`` (``"frames"`` or
  ``"samples"``), ``output_range`` (``"unit"``, ``"not negative"`` or ``"any"``); and, where they differ from
  those of :class:`NetworkFacts`, which may be inherited, ``sums_to_input``, ``cpu_options``, ``portable()``,
  ``frozen(name)``, ``check(sources, bins)``;
- ``build(sources=, channels=, bins=)``, which returns an object with the two pure functions of
  :class:`BuiltNetwork`; of a causal network that shall run live also those of :class:`Advancing`.

Nothing outside this folder and :mod:`jaxsep.nn` knows which module library a network is written in.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import flax.linen as nn
import jax

from jaxsep.nn.layers import ACTIVATIONS, OutputRange

#: Options of XLA on a CPU: matrix products and convolutions by YNNPACK, and nothing else.
YNNPACK_PRODUCTS = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_DOT"}

#: Options of XLA on a CPU: nothing by YNNPACK, all products by Eigen. YNNPACK arranges the weights of a
#: recurrence anew for each frame, and some of its convolutions take one core.
EIGEN_PRODUCTS = {"xla_cpu_experimental_ynn_fusion_type": ""}


class BuiltNetwork(Protocol):
    """A network for a number of sources, channels and bins: two pure functions."""

    def init(self, key: jax.Array, features: jax.Array) -> dict:
        """Return fresh variables, ``{"params": ..., "batch_stats": ...}``, for features of that shape."""

    def apply(
        self, variables: dict, features: jax.Array, *, train=False, key=None, mask=None, axis_name=None
    ) -> tuple[jax.Array, dict]:
        """Run the network.

        Args:
          variables: as :meth:`init` returns them; ``batch_stats`` may be missing or empty.
          features: ``(batch, channels * views, bins, frames)``, or ``(batch, channels, samples)`` in the
            domain of samples.
          train: use statistics of the batch and dropout.
          key: ``(batch,)`` random keys, one per example; needed for dropout when ``train``.
          mask: ``(batch,)`` weights of the examples in statistics of the batch; None for all 1.
          axis_name: mapped device axis over which statistics are summed.

        Returns:
          ``(batch, sources, channels, bins, frames)`` or ``(batch, sources, channels, samples)`` outputs,
          and the new ``batch_stats`` (the old ones unless ``train``).
        """


class Advancing(Protocol):
    """What a causal network gives beside, to go on frame by frame (:mod:`jaxsep.live`).

    Of a Linen module these two follow from its own ``start``, and from ``__call__`` with ``carry=``, which
    then returns the new carry beside the outputs; one that needs no memory starts with an empty tuple.
    """

    def start(self, batch: int) -> Any:
        """Return the carry before the first frame."""

    def advance(self, variables: dict, carry: Any, features: jax.Array) -> tuple[jax.Array, Any]:
        """Run the next frames, at least one; return outputs as ``apply`` would, and the carry behind them."""


def goes_on(built: Any) -> bool:
    """Whether a built network can go on frame by frame."""
    return getattr(built, "goes_on", hasattr(built, "start") and hasattr(built, "advance"))


class NetworkFacts:
    """What is true of a network that does not say otherwise."""

    activation: str = "linear"

    @property
    def causal(self) -> bool:
        """Whether an output frame depends on no later input frame."""
        return False

    @property
    def window(self) -> int | None:
        """Frames that the network takes at once; None for any number."""
        return None

    @property
    def domain(self) -> Literal["frames", "samples"]:
        """Whether it maps ``(batch, channels, bins, frames)`` or ``(batch, channels, samples)``."""
        return "frames"

    @property
    def output_range(self) -> OutputRange:
        """Where its outputs lie: in [0, 1], at or above 0, anywhere."""
        return ACTIVATIONS[self.activation][1]

    @property
    def sums_to_input(self) -> bool:
        """Whether its outputs sum to its input."""
        return False

    @property
    def cpu_options(self) -> dict[str, str]:
        """Options of XLA under which it runs fastest on a CPU, for those who compile it."""
        return {}

    def portable(self):
        """The same network, with the implementation that runs anywhere."""
        return self

    def frozen(self, name: str) -> bool:
        """Whether a parameter, by its name as ``heads/bias``, is not trained."""
        return False

    def check(self, num_sources: int, num_bins: int) -> None:
        """Raise ValueError when there is no such network for this many sources and bins."""


class HoldsNetwork(NetworkFacts):
    """What is true of a part that holds a ``network``: what is true of that."""

    network: Any

    @property
    def causal(self) -> bool:
        """Whether an output frame depends on no later input frame."""
        return self.network.causal

    @property
    def window(self) -> int | None:
        """Frames that the network takes at once; None for any number."""
        return self.network.window

    @property
    def domain(self) -> Literal["frames", "samples"]:
        """The network's domain."""
        return self.network.domain

    @property
    def cpu_options(self) -> dict[str, str]:
        """The network's options of XLA."""
        return getattr(self.network, "cpu_options", {})

    def frozen(self, name: str) -> bool:
        """Whether a parameter of the network, by the name that it has there, is not trained."""
        return getattr(self.network, "frozen", lambda name: False)(name)

    def portable(self):
        """The same, with the implementation of the network that runs anywhere."""
        inner = getattr(self.network, "portable", lambda: self.network)()
        return dataclasses.replace(self, network=inner)  # type: ignore[type-var]


class HoldsBuilt:
    """What is true of a built network that holds ``one`` more: that it goes on where that does."""

    one: Any

    @property
    def goes_on(self) -> bool:
        """Whether the network can go on frame by frame."""
        return goes_on(self.one)

    def start(self, batch: int) -> Any:
        """Return the carry of the network."""
        return self.one.start(batch)

    @staticmethod
    def _own(variables, name):
        """Variables of the one that is called so."""
        return {kind: variables.get(kind, {}).get(name, {}) for kind in ("params", "batch_stats")}


class LinenNetwork(NetworkFacts):
    """A network whose ``module(num_sources, num_bins)`` is a Flax Linen module.

    The module maps ``(batch, channels * views, bins, frames)`` to ``(batch, num_sources, bins, frames)``, one
    source for each source and channel, and takes ``train``, ``keys``, ``mask`` and ``axis_name``.
    """

    def module(self, num_sources: int, num_bins: int) -> nn.Module:
        """Return the module."""
        raise NotImplementedError

    def build(self, *, sources: int, channels: int, bins: int) -> LinenBuilt:
        """Return the network for this many sources, channels heard together, and bins."""
        return LinenBuilt(self.module(sources * channels, bins), sources, channels)


@dataclass(frozen=True)
class LinenBuilt:
    """A Linen module as pure functions; see :class:`BuiltNetwork`."""

    module: Any
    sources: int
    channels: int

    def init(self, key: jax.Array, features: jax.Array) -> dict:
        """Return fresh variables."""
        return dict(self.module.init(key, features))

    def apply(self, variables, features, *, train=False, key=None, mask=None, axis_name=None):
        """Run the network."""
        call = dict(train=train, keys=key, mask=mask, axis_name=axis_name)
        statistics = variables.get("batch_stats", {})
        if train:
            outputs, updated = self.module.apply(variables, features, **call, mutable=["batch_stats"])
            statistics = dict(updated).get("batch_stats", {})
        else:
            outputs = self.module.apply(variables, features, **call)
        return self._by_source(outputs), statistics

    @property
    def goes_on(self) -> bool:
        """Whether :meth:`start` and :meth:`advance` are there to be called."""
        return hasattr(self.module, "start")

    def start(self, batch: int) -> Any:
        """Return the carry before the first frame; empty where no frame depends on another."""
        return self.module.start(batch)

    def advance(self, variables, carry, features):
        """Run the next frames."""
        if carry == ():
            return self.apply(variables, features)[0], ()
        outputs, carry = self.module.apply(variables, features, carry=carry)
        return self._by_source(outputs), carry

    def _by_source(self, outputs):
        return outputs.reshape(len(outputs), self.sources, self.channels, *outputs.shape[2:])
