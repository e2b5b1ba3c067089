"""Batches computed a few rows at a time where that is faster: on a CPU."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from jaxsep._sharding import on_each_device

#: Bytes of intermediate results that stay in a CPU core's cache.
_CACHE = 2 << 20


def map_rows(
    function: Callable, *arrays: jax.Array, core: int, row_bytes: int, shared: tuple = ()
) -> jax.Array:
    """Apply ``function`` to every leading index of ``arrays``.

    On a CPU a whole batch's intermediate results leave the cache and cost fresh pages, so there a
    loop takes as many rows at a time as fit; elsewhere the batch is computed at once. Derivatives
    are those of the batch computed at once.

    Args:
      function: from arrays of ``core`` dimensions, any leading ones being batch, and the shared
        ones, to one array. It must not close over traced arrays: those are ``shared``.
      *arrays: ``(..., *core)`` with the same leading dimensions.
      core: number of dimensions that belong to a row.
      row_bytes: size of the largest intermediate result of a row.
      shared: arrays that every row is given whole, after its own.
    """

    def part(*given):
        arrays, shared = given[:count], given[count:]
        batch = arrays[0].shape[: arrays[0].ndim - core]
        rows, at_once = math.prod(batch), max(1, _CACHE // max(1, row_bytes))
        if rows <= at_once:
            return function(*arrays, *shared)
        flat = tuple(x.reshape(rows, *x.shape[x.ndim - core :]) for x in arrays)
        y = _mapped(function, at_once, flat, shared)
        return y.reshape(*batch, *y.shape[1:])

    count = len(arrays)
    return on_each_device(part, *arrays, core=core, shared=shared)


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _mapped(function, at_once, arrays, shared):
    def in_turn(arrays, shared):
        return jax.lax.map(lambda row: function(*row, *shared), arrays, batch_size=at_once)

    def whole(arrays, shared):
        return function(*arrays, *shared)

    return jax.lax.platform_dependent(arrays, shared, cpu=in_turn, default=whole)


@_mapped.defjvp
def _(function, at_once, primals, tangents):
    del at_once
    return jax.jvp(lambda arrays, shared: function(*arrays, *shared), primals, tangents)


def each_problem(solve: Callable, *arrays: jax.Array, core: int, shared: tuple = ()):
    """Apply ``solve`` to every leading index of ``arrays``, whose problems have ``core`` dimensions.

    On a CPU one after another: vmap would run every problem until the slowest is done, and its
    skinny products are slow there.
    What all problems see alike is ``shared``, given to ``solve`` after its own arrays.
    """
    count = len(arrays)

    def in_turn(rows, shared):
        return jax.lax.map(lambda row: solve(*row, *shared), rows)

    def at_once(rows, shared):
        return jax.vmap(lambda *row: solve(*row, *shared))(*rows)

    def part(*given):
        arrays, shared = given[:count], given[count:]
        batch = arrays[0].shape[: arrays[0].ndim - core]
        if not batch:
            return solve(*arrays, *shared)
        rows = tuple(x.reshape(math.prod(batch), *x.shape[x.ndim - core :]) for x in arrays)
        result = jax.lax.platform_dependent(rows, shared, cpu=in_turn, default=at_once)
        return jax.tree.map(lambda a: a.reshape(*batch, *a.shape[1:]), result)

    return on_each_device(part, *arrays, core=core, shared=shared)


def varying_as(value, x: jax.Array) -> jax.Array:
    """``value`` as an array that varies over the mapped axes that ``x`` varies over.

    Under ``shard_map`` the carry of a loop must start with the type that it ends with.
    """
    value = jnp.asarray(value)
    return jnp.where(True, value, jnp.ravel(x)[0].real.astype(value.dtype))
