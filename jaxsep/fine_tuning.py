"""Fine-tuning: starting from another model's weights, training some of them, some more slowly."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsep.parts import checked, ranged


@checked
@dataclass(frozen=True)
class FineTuning:
    """What of a network is trained, and how fast; by default all of it, alike.

    Patterns are of parameters' names as ``source_0/down_3/kernel``, with ``*`` for anything.

    Example:
      >>> tuning = FineTuning(freeze=("source_1/*",), rates={"*/outputs/*": 10.0})
      >>> tuning.rate("source_1/outputs/bias"), tuning.rate("source_0/outputs/bias")
      (0.0, 10.0)
    """

    freeze: tuple[str, ...] = ()
    """Parameters that stay as they are."""
    rates: dict[str, float] = ranged({}, least=0, most=1000)
    """What the learning rate is multiplied by for the parameters of a pattern; the first that fits."""
    statistics: Literal["batch", "frozen"] = "batch"
    """``frozen``: the network trains as it separates, with the statistics of batch normalization that it
    has, which stay, and without dropout. The better choice for small batches of a trained network."""

    def rate(self, name: str) -> float:
        """What the learning rate of a parameter is multiplied by; 0 for a frozen one."""
        if any(fnmatchcase(name, pattern) for pattern in self.freeze):
            return 0.0
        return next((rate for p, rate in self.rates.items() if fnmatchcase(name, p)), 1.0)

    def check(self, params: Any) -> None:
        """Raise ValueError for a pattern that fits no parameter, or when all are frozen."""
        names = [name for name, _ in named(params)]
        for pattern in (*self.freeze, *self.rates):
            if not any(fnmatchcase(name, pattern) for name in names):
                raise ValueError(
                    f"fine_tuning: no parameter is called {pattern!r}; there are {', '.join(names[:4])}, ..."
                )
        if not any(self.rate(name) for name in names):
            raise ValueError(f"fine_tuning.freeze={self.freeze}: leaves nothing to train")


class Start(NamedTuple):
    """Variables to start from, and where they came from."""

    variables: dict
    fresh: list[str]
    """Names of the arrays that the other model does not have, or in another shape."""
    unused: list[str]
    """Names of its arrays that this one has no use for."""


def start_from(variables: dict, other: dict) -> Start:
    """Take every array of another model that fits by name and shape; the rest stays as it is.

    Args:
      variables: of this model, ``{"params": ..., "batch_stats": ...}``.
      other: of the other.

    Example:
      >>> ours = {"params": {"a": jnp.zeros(2), "b": jnp.zeros(3)}}
      >>> start = start_from(ours, {"params": {"a": jnp.ones(2), "b": jnp.ones(4)}})
      >>> start.variables["params"]["a"].tolist(), start.fresh, start.unused
      ([1.0, 1.0], ['params/b'], ['params/b'])
    """
    given = dict(named(other))
    taken = {
        name for name, leaf in named(variables) if name in given and np.shape(given[name]) == np.shape(leaf)
    }

    def choose(name, leaf):
        return jnp.array(given[name], leaf.dtype) if name in taken else leaf

    chosen = map_named(choose, variables)
    fresh = [name for name, _ in named(variables) if name not in taken]
    return Start(chosen, fresh, [name for name in given if name not in taken])


def named(tree: Any) -> list[tuple[str, Any]]:
    """Leaves of a tree of dictionaries with their names, ``down_0/kernel``."""
    return [(_name(path), leaf) for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]]


def map_named(change, tree: Any) -> Any:
    """Return the tree of ``change(name, leaf)``."""
    return jax.tree_util.tree_map_with_path(lambda path, leaf: change(_name(path), leaf), tree)


def _name(path):
    return "/".join(str(entry.key) for entry in path)
