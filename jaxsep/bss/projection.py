"""Iterative projection: the update that AuxIVA and ILRMA share, in real float32 products.

Covariances see the mixture only through the products ``x_i conj(x_j)`` of each bin and frame. Kept
as real numbers ``(pairs, bins, frames)``, the weighted covariances of all sources are one real product
with the weights. Bins come last in all small matrices, so that their closed forms run along them.
"""

from __future__ import annotations

from functools import reduce

import jax
import jax.numpy as jnp

#: Share of a channel's level below which what is left of it is taken for rounding.
_ROUNDING = 3e-6
#: Channels up to which small systems are written out instead of given to LAPACK. (More of them, spread over
#: simulated devices of one CPU, may hang.)
_WRITTEN_OUT = 8


def products(x: jax.Array) -> jax.Array:
    """``(channels, bins, frames)`` complex -> ``(channels ** 2, bins, frames)`` real.

    In order: ``|x_i|^2`` for each channel, then real and imaginary part of ``x_i conj(x_j)`` for
    each pair ``i < j``.
    """
    parts = [power_of(c) for c in x]
    for i, j in pairs(len(x)):
        parts.append(x[i].real * x[j].real + x[i].imag * x[j].imag)
        parts.append(x[i].imag * x[j].real - x[i].real * x[j].imag)
    return jnp.stack(parts)


def pairs(channels: int) -> list[tuple[int, int]]:
    """Pairs of different channels."""
    return [(i, j) for i in range(channels) for j in range(i + 1, channels)]


def hermitian(parts: jax.Array, channels: int) -> jax.Array:
    """``(channels ** 2, ...)`` real, in the order of :func:`products` -> ``(channels, channels, ...)``."""
    rows: list = [[None] * channels for _ in range(channels)]
    for i in range(channels):
        rows[i][i] = parts[i].astype(jnp.complex64)
    for k, (i, j) in enumerate(pairs(channels)):
        value = jax.lax.complex(parts[channels + 2 * k], parts[channels + 2 * k + 1])
        rows[i][j], rows[j][i] = value, jnp.conj(value)
    return jnp.stack([jnp.stack(row) for row in rows])


def orthogonalize(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Gram-Schmidt over the channels of each bin, so that float32 is enough for what follows.

    Microphones close together hear low frequencies alike, and the covariances of what they hear
    are nearly singular; those of the result are not.

    Args:
      x: ``(channels, bins, frames)`` complex.

    Returns:
      z: ``(channels, bins, frames)`` of unit power and uncorrelated over frames; 0 in a bin where a channel
        is made up of those before it.
      back: ``(channels, channels, bins)`` lower triangular, ``x = back @ z`` in each bin.
    """
    z: list = []
    rows = []
    for i in range(len(x)):
        rest, row = x[i], [jnp.zeros(x.shape[1], x.dtype)] * len(x)
        for j in [*range(i), *range(i)]:  # twice, for what rounding left the first time
            shared = jnp.mean(rest * jnp.conj(z[j]), axis=-1)
            rest = rest - shared[:, None] * z[j]
            row[j] = row[j] + shared
        level = _root(jnp.mean(power_of(rest), axis=-1))
        # What is left of a channel that the others make up is rounding: a direction without a source.
        heard = level > _ROUNDING * _root(jnp.mean(power_of(x[i]), axis=-1))
        rest = jnp.where(heard[:, None], rest, 0.0)
        level = jnp.where(heard, level, 1.0)
        row[i] = level.astype(x.dtype)
        z.append(rest / level[:, None])
        rows.append(jnp.stack(row))
    return jnp.stack(z), jnp.stack(rows)


def power_of(x: jax.Array) -> jax.Array:
    """``|x|^2`` of a complex array."""
    return jnp.square(x.real) + jnp.square(x.imag)


def unmixed(w: jax.Array, x: jax.Array) -> jax.Array:
    """``(sources, channels, bins)`` and ``(channels, bins, frames)`` -> ``(sources, bins, frames)``."""
    return _sum(w[:, i, :, None] * x[i] for i in range(len(x)))


def power_through(w: jax.Array, covariance: jax.Array) -> jax.Array:
    """Power of each source in each bin, from the covariance of the channels.

    Args:
      w: ``(sources, channels, bins)`` complex unmixing matrices.
      covariance: ``(channels, channels, bins)`` complex.

    Returns:
      ``(sources, bins)``.
    """
    m = range(w.shape[1])
    return _sum(w[:, i] * covariance[i, j] * jnp.conj(w[:, j]) for i in m for j in m).real


def update(w: jax.Array, covariances: jax.Array) -> jax.Array:
    """One sweep of iterative projection over all sources.

    Args:
      w: ``(sources, channels, bins)`` complex unmixing matrices, square.
      covariances: ``(channels, channels, sources, bins)`` weighted covariances.

    Returns:
      The new ``(sources, channels, bins)``.

    References:
      N. Ono, "Stable and fast update rules for independent vector analysis based on auxiliary
      function technique", WASPAA 2011.
    """
    channels = len(w)
    identity = jnp.eye(channels, dtype=covariances.dtype)
    # At unit trace nothing under- or overflows, however faint a bin or a source is.
    level = _sum(covariances[i, i] for i in range(channels)).real
    heard = level > 0
    level = jnp.where(heard, level, 1.0)
    unit = covariances / level + 1e-7 * identity[:, :, None, None]
    for k in range(channels):
        mixed = _sum(w[:, j, None] * unit[j, :, k] for j in range(channels))
        column = _inverse_column(mixed, k)
        column = column / jnp.sqrt(_sum(power_of(part) for part in column))
        row = jnp.conj(column)
        norm = power_through(row[None], unit[:, :, k])[0]
        row = row * jax.lax.rsqrt(norm * level[k])
        w = w.at[k].set(jnp.where(heard[k], row, w[k]))
    return w


def project_back(w: jax.Array, back: jax.Array) -> jax.Array:
    """Scale the rows of ``(sources, channels, bins)`` to the sources' level in one channel.

    Args:
      w: unmixing of orthogonalized channels.
      back: ``(channels, bins)``: how that channel is made of the orthogonalized ones.
    """
    columns = [_inverse_column(w, k) for k in range(len(w))]
    level = jnp.stack([jnp.sum(back * column, axis=0) for column in columns])
    return level[:, None] * w


def _inverse_column(a, k):
    """Column k, ``(m, bins)``, of the inverse of each of ``(m, m, bins)``; written out up to 8 x 8."""
    size = _root(_sum(power_of(a[:, j]) for j in range(len(a))))
    size = jnp.where(size > 0, size, 1.0)
    return _solve_unit(a / size[:, None], k) / size[k]


def _solve_unit(a, k):
    """The same of matrices whose rows have unit norm."""
    m = len(a)
    if m > _WRITTEN_OUT:
        unit = jnp.zeros((a.shape[-1], m, 1), a.dtype).at[:, k].set(1.0)
        return jnp.linalg.solve(jnp.moveaxis(a, -1, 0), unit)[..., 0].T
    if m > 3:
        return _eliminate(a, k)
    if m == 1:
        return 1.0 / a[0]
    if m == 2:
        other = a[1 - k]
        column = jnp.stack([other[1], -other[0]])
    else:
        column = jnp.cross(a[(k + 1) % 3], a[(k + 2) % 3], axis=0)
    return column / _sum(a[k, j] * column[j] for j in range(m))


def _eliminate(a, k):
    """The same by Gaussian elimination with row pivots, over all bins at once.

    LAPACK takes small matrices one by one, and its calls on two simulated devices have waited for each other
    without end.
    """
    m = len(a)
    unit = jnp.zeros_like(a[:, :1]).at[k].set(1.0)
    work, pivots = jnp.concatenate([a, unit], axis=1), []
    for i in range(m):
        pick = jnp.argmax(power_of(work[:, i]), axis=0)
        row = jnp.take_along_axis(work, pick[None, None], axis=0)[0]
        left = jnp.where((jnp.arange(1, m - i)[:, None] == pick)[:, None], work[0], work[1:])
        work = left - left[:, i, None] / row[i] * row
        pivots.append(row)
    solved = pivots[-1][m:] / pivots[-1][m - 1]
    for i in reversed(range(m - 1)):
        known = jnp.sum(pivots[i][i + 1 : m] * solved, axis=0)
        solved = jnp.concatenate([((pivots[i][m] - known) / pivots[i][i])[None], solved])
    return solved


def _root(power):
    """Square root whose gradient at 0 is 0."""
    return jnp.where(power > 0, jnp.sqrt(jnp.where(power > 0, power, 1.0)), 0.0)


def _sum(terms):
    """Written out, so that XLA fuses the terms into one loop."""
    return reduce(jnp.add, terms)
