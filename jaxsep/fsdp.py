"""Fully sharded data parallel training: parameters and optimizer state spread over the devices, too.

A rule on shapes says which arrays are spread and by which dimension. The forward pass gathers each where it
is used, the gradient comes back scattered, and every device updates its own part.

References:
  S. Rajbhandari et al., "ZeRO: memory optimizations toward training trillion parameter models", SC 2020.
"""

from __future__ import annotations

import math
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

#: Elements of the smallest array that is spread: below it, gathering costs more than it saves.
LEAST = 1 << 16


def spread_dimension(shape: tuple[int, ...], devices: int, least: int = LEAST) -> int:
    """The dimension by which an array is spread over devices, -1 where it is whole on each.

    The longest one that they divide, of arrays of ``least`` elements or more.

    Example:
      >>> spread_dimension((513, 4000), 4), spread_dimension((4000,), 4), spread_dimension((333, 333), 4)
      (1, -1, -1)
    """
    fitting = [d for d, length in enumerate(shape) if length % devices == 0]
    if devices == 1 or math.prod(shape) < least or not fitting:
        return -1
    return max(fitting, key=lambda d: shape[d])


def spread_dimensions(tree: Any, devices: int, least: int = LEAST) -> Any:
    """:func:`spread_dimension` of every array of a tree."""
    return jax.tree.map(lambda leaf: spread_dimension(leaf.shape, devices, least), tree)


def spread_specs(tree: Any, mesh: Mesh, axis_name: str, least: int = LEAST) -> Any:
    """The :class:`~jax.sharding.PartitionSpec` of every array of a tree over a mesh axis."""

    def spec(leaf):
        dimension = spread_dimension(leaf.shape, mesh.shape[axis_name], least)
        return PartitionSpec(*(axis_name if d == dimension else None for d in range(leaf.ndim)))

    return jax.tree.map(spec, tree)


def spread_shardings(tree: Any, mesh: Mesh, axis_name: str, least: int = LEAST) -> Any:
    """The :class:`~jax.sharding.NamedSharding` of every array of a tree, to place a state by.

    Example:
      >>> import jax.numpy as jnp
      >>> mesh = jax.make_mesh((1,), ("devices",))
      >>> spread_shardings({"w": jnp.ones((8, 8))}, mesh, "devices")["w"].is_fully_replicated
      True
    """
    specs = spread_specs(tree, mesh, axis_name, least)
    return jax.tree.map(
        lambda spec: NamedSharding(mesh, spec), specs, is_leaf=lambda x: isinstance(x, PartitionSpec)
    )


def gathered(params: Any, dimensions: Any, axis_name: str) -> Any:
    """Parameters of which each device holds a part, whole; inside ``shard_map``.

    Its reverse sums gradients over the devices and leaves each its own part.
    """

    def whole(leaf, dimension):
        return leaf if dimension < 0 else jax.lax.all_gather(leaf, axis_name, axis=dimension, tiled=True)

    return jax.tree.map(whole, params, dimensions)
