"""Iterative projection: the update that AuxIVA and ILRMA share, in real float32 products.

Covariances see the mixture only through the products ``x_i conj(x_j)`` of each bin and frame. Kept
as real numbers ``(pairs, bins, frames)``, the weighted covariances of all sources are one real product
with the weights.
"""

from __future__ import annotations

from functools import reduce

import jax
import jax.numpy as jnp


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
    """``(channels ** 2, ...)`` real, in the order of :func:`products` -> ``(..., channels, channels)``."""
    rows: list = [[None] * channels for _ in range(channels)]
    for i in range(channels):
        rows[i][i] = parts[i].astype(jnp.complex64)
    for k, (i, j) in enumerate(pairs(channels)):
        value = jax.lax.complex(parts[channels + 2 * k], parts[channels + 2 * k + 1])
        rows[i][j], rows[j][i] = value, jnp.conj(value)
    return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)


def orthogonalise(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Gram-Schmidt over the channels of each bin, so that float32 is enough for what follows.

    Microphones close together hear low frequencies alike, and the covariances of what they hear
    are nearly singular; those of the result are not.

    Args:
      x: ``(channels, bins, frames)`` complex.

    Returns:
      z: ``(channels, bins, frames)`` of unit power and uncorrelated over frames.
      back: ``(bins, channels, channels)`` lower triangular, ``x = back @ z``.
    """
    z: list = []
    rows = []
    for i in range(len(x)):
        rest, row = x[i], [jnp.zeros(x.shape[1], x.dtype)] * len(x)
        for j in [*range(i), *range(i)]:  # twice, for what rounding left the first time
            shared = jnp.mean(rest * jnp.conj(z[j]), axis=-1)
            rest = rest - shared[:, None] * z[j]
            row[j] = row[j] + shared
        level = jnp.sqrt(jnp.mean(power_of(rest), axis=-1))
        level = jnp.where(level > 0, level, 1.0)
        row[i] = level.astype(x.dtype)
        z.append(rest / level[:, None])
        rows.append(jnp.stack(row, axis=-1))
    return jnp.stack(z), jnp.stack(rows, axis=-2)


def power_of(x: jax.Array) -> jax.Array:
    """``|x|^2`` of a complex array."""
    return jnp.square(x.real) + jnp.square(x.imag)


def unmixed(w: jax.Array, x: jax.Array) -> jax.Array:
    """``(bins, sources, channels)`` and ``(channels, bins, frames)`` -> ``(sources, bins, frames)``."""
    terms = [jnp.swapaxes(w[:, :, i], 0, 1)[..., None] * x[i] for i in range(len(x))]
    return reduce(jnp.add, terms)


def update(w: jax.Array, covariances: jax.Array) -> jax.Array:
    """One sweep of iterative projection over all sources.

    Args:
      w: ``(bins, sources, channels)`` complex unmixing matrices, square.
      covariances: ``(sources, bins, channels, channels)`` weighted covariances.

    Returns:
      The new ``(bins, sources, channels)``.

    References:
      N. Ono, "Stable and fast update rules for independent vector analysis based on auxiliary
      function technique", WASPAA 2011.
    """
    channels = w.shape[-1]
    identity = jnp.eye(channels, dtype=covariances.dtype)
    # At unit trace nothing under- or overflows, however faint a bin or a source is.
    level = jnp.trace(covariances, axis1=-2, axis2=-1).real
    heard = level > 0
    level = jnp.where(heard, level, 1.0)
    unit = covariances / level[..., None, None] + 1e-7 * identity
    for k in range(channels):
        column = _inverse_column(w @ unit[k], k)
        column = column / jnp.linalg.norm(column, axis=-1, keepdims=True)
        norm = jnp.einsum("fi,fij,fj->f", jnp.conj(column), unit[k], column).real
        row = jnp.conj(column) * jax.lax.rsqrt(norm * level[k])[:, None]
        w = w.at[:, k].set(jnp.where(heard[k][:, None], row, w[:, k]))
    return w


def project_back(w: jax.Array, back: jax.Array) -> jax.Array:
    """Scale the rows of ``(bins, sources, channels)`` to the sources' level in one channel.

    Args:
      w: unmixing of orthogonalised channels.
      back: ``(bins, channels)``: how that channel is made of the orthogonalised ones.
    """
    columns = [_inverse_column(w, k) for k in range(w.shape[-1])]
    level = jnp.stack([jnp.sum(back * column, axis=-1) for column in columns], axis=-1)
    return level[..., None] * w


def _inverse_column(a, k):
    """Column k of the inverse of each ``(bins, m, m)``; in closed form up to 3 x 3."""
    m = a.shape[-1]
    size = jnp.linalg.norm(a, axis=-1, keepdims=True)
    size = jnp.where(size > 0, size, 1.0)
    return _solve_unit(a / size, k, m) / size[:, k]


def _solve_unit(a, k, m):
    """The same of matrices whose rows have unit norm."""
    if m > 3:
        unit = jnp.zeros((*a.shape[:-1], 1), a.dtype).at[:, k].set(1.0)
        return jnp.linalg.solve(a, unit)[..., 0]
    if m == 1:
        return 1.0 / a[:, 0]
    if m == 2:
        other = a[:, 1 - k]
        column = jnp.stack([other[:, 1], -other[:, 0]], axis=-1)
    else:
        column = jnp.cross(a[:, (k + 1) % 3], a[:, (k + 2) % 3])
    return column / jnp.sum(a[:, k] * column, axis=-1, keepdims=True)
