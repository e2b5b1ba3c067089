"""Centering and whitening, and what every instantaneous separation shares around them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxsep._checks import as_float, at_least, at_least_ndim, samples_last
from jaxsep.bss.result import ICAResult

#: Samples looked at together: what stays in a CPU core's cache.
_BLOCK = 1 << 13

#: Smallest eigenvalue, as a share of the largest, that float32 tells from rounding.
_FLOOR = 16 * float(jnp.finfo(jnp.float32).eps)

#: Share of ``_FLOOR`` below which a direction is absent: a condition of 4.2e6.
_ABSENT = 1 / 8


class Whitening(NamedTuple):
    """Whitens in two steps, ``z = second @ (first @ (x - mean) - shift)``.

    The covariance of ``z`` is the identity within 1e-5 in its first ``rank`` rows, and zero below.
    """

    first: jax.Array
    """``(n, channels)``: what one float32 eigendecomposition whitens to."""
    shift: jax.Array
    """``(n,)``: what rounding left of the mean of ``first @ (x - mean)``."""
    second: jax.Array
    """``(n, n)``: whitens what the first step left."""
    matrix: jax.Array
    """``(n, channels)``: both steps in one, ``z = matrix @ (x - mean)`` within float32 rounding of it."""
    inverse: jax.Array
    """``(channels, n)``: the pseudo-inverse of ``matrix``."""
    mean: jax.Array
    """``(channels,)``; NaN where the input is not finite."""
    rank: jax.Array
    """int32, at most n."""


def whiten(x: jax.Array, n: int) -> Whitening:
    """Find the whitening of ``(channels, samples)``, keeping the ``n`` strongest directions.

    Each channel is first scaled to unit variance, so that a faint microphone counts as much as a
    loud one. Up to a condition number of 1e6 of the correlation matrix the rank is full and the
    covariance of the result is the identity within 1e-5; directions whose eigenvalue is below
    2.4e-7 of the largest are taken to be absent.

    A float32 eigendecomposition is off by 1e-7 to 1e-6 of the largest eigenvalue, which is all there
    is of the smallest at such conditions. So its result is whitened once more: by then every direction
    has a variance near 1, and float32 is enough.

    References:
      A. Hyvärinen and E. Oja, "Independent component analysis: algorithms and applications",
      Neural Networks 13, 2000, section 5.2.
    """
    mean, scale, correlation = _correlation(x)
    values, vectors = jnp.linalg.eigh(correlation)
    values, vectors = values[::-1][:n], vectors[:, ::-1][:, :n]
    root = jnp.sqrt(jnp.maximum(values, _FLOOR * values[0]))
    root = jnp.where(root > 0, root, 1.0)
    first = (vectors / root).T / scale
    shift, covariance = _moments(x, lambda part: first @ (part - mean[:, None]))
    variances, axes = jnp.linalg.eigh(covariance)
    variances, axes = variances[::-1], axes[:, ::-1]
    kept = variances > _ABSENT
    spread = jnp.sqrt(jnp.where(kept, variances, 1.0))
    # Rows are the principal axes where some are absent, so that those come last. Where all are there they
    # are turned back: the axes of a covariance near the identity are rounding's choice.
    turn = jnp.where(jnp.all(kept), axes, jnp.eye(n, dtype=x.dtype))
    second = turn @ jnp.where(kept, axes / spread, 0.0).T
    return Whitening(
        first=first,
        shift=shift,
        second=second,
        matrix=second @ first,
        inverse=scale[:, None] * (vectors * root) @ jnp.where(kept, axes * spread, 0.0) @ turn.T,
        mean=jnp.where(jnp.all(jnp.isfinite(covariance)), mean, jnp.nan),
        rank=jnp.sum(kept).astype(jnp.int32),
    )


def _correlation(x):
    """Mean, deviation (1 for a constant) and correlation matrix of ``(channels, samples)``."""
    pivot, spread = _rough(x)
    offset, covariance = _moments(x, lambda part: (part - pivot[:, None]) / spread[:, None])
    variance = jnp.diag(covariance)
    alive = variance > 0
    deviation = jnp.where(alive, jnp.sqrt(jnp.where(alive, variance, 1.0)), 1.0)
    return pivot + spread * offset, spread * deviation, covariance / jnp.outer(deviation, deviation)


def _moments(x, change):
    """Mean and covariance of ``change(x)`` over the samples."""

    def block(part):
        y = change(part)
        return jnp.sum(y, axis=1), y @ y.T

    total, products = jax.tree.map(lambda s: s / x.shape[1], sum_blocks(block, x))
    return total, products - jnp.outer(total, total)


def sum_blocks(function: Callable[[jax.Array], object], x: jax.Array):
    """Sum ``function`` over blocks of the samples of ``(channels, samples)``, in constant memory."""
    full, rest = divmod(x.shape[1], _BLOCK)
    if full == 0 or (full == 1 and not rest):
        return function(x)

    def add(k, carry):
        block = jax.lax.dynamic_slice_in_dim(x, k * _BLOCK, _BLOCK, axis=1)
        return _add(carry, function(block))

    total = function(x[:, :_BLOCK])
    carry = jax.lax.fori_loop(1, full, add, (total, jax.tree.map(jnp.zeros_like, total)))
    carry = _add(carry, function(x[:, full * _BLOCK :])) if rest else carry
    return carry[0]


def _map_blocks(function: Callable[[jax.Array], jax.Array], x: jax.Array, rows: int) -> jax.Array:
    """Apply ``function`` to blocks of the samples of ``(channels, samples)``, giving ``rows`` rows."""
    samples = x.shape[1]
    if samples <= _BLOCK:
        return function(x)

    def write(k, y):
        start = jnp.minimum(k * _BLOCK, samples - _BLOCK)  # the last block begins within the one before
        block = function(jax.lax.dynamic_slice_in_dim(x, start, _BLOCK, axis=1))
        return jax.lax.dynamic_update_slice_in_dim(y, block, start, axis=1)

    # Begun with values that exist only now: until then XLA uses the room for what else it needs.
    y = jnp.broadcast_to(function(x[:, :1]), (rows, samples))
    return jax.lax.fori_loop(0, -(-samples // _BLOCK), write, y)


def _add(carry, more):
    """Compensated addition of ``more`` to a total and what was rounded off it (Kahan, 1965)."""
    total, lost = carry
    more = jax.tree.map(jnp.subtract, more, lost)
    new = jax.tree.map(jnp.add, total, more)
    return new, jax.tree.map(lambda n, t, m: (n - t) - m, new, total, more)


def _rough(x):
    """Mean and spread of each channel from a few samples, to keep sums free of cancellation."""
    some = x[:, :: max(1, x.shape[1] // 4096)]
    pivot = jnp.mean(some, axis=1)
    spread = jnp.max(jnp.abs(some - pivot[:, None]), axis=1)
    return pivot, jnp.where(spread > 0, spread, 1.0)


def check_mixtures(x, n_components: int | None) -> tuple[jax.Array, int]:
    """Return the mixtures as float32 and the number of sources; refuse what cannot be."""
    x = as_float("x", x)
    at_least_ndim("x", x, 2, "(..., channels, samples)")
    samples_last("x", x.shape)
    channels, samples = x.shape[-2:]
    n = channels if n_components is None else at_least("n_components", n_components, 1)
    if n > channels:
        raise ValueError(f"n_components={n}: more than the {channels} channels of x.shape={x.shape}")
    if samples < 2:
        raise ValueError(f"x.shape={x.shape}: expected at least two samples")
    return x, n


def finish(x, white: Whitening, w, num_steps, converged) -> ICAResult:
    """Sources of unit variance from ``(n, n)`` rows that unmix the whitened mixtures."""
    n = w.shape[0]
    active = jnp.arange(n) < white.rank
    w = jnp.where(active[:, None] & active[None, :], w, jnp.eye(n, dtype=w.dtype))
    w = w / jnp.linalg.norm(w, axis=1, keepdims=True)
    unmixing = jnp.where(active[:, None], w @ white.matrix, 0.0)
    mixing = jnp.where(active[None, :], white.inverse @ jnp.linalg.inv(w), 0.0)
    finite = jnp.all(jnp.isfinite(unmixing)) & jnp.all(jnp.isfinite(white.mean))
    # Step by step: in one float32 matrix the weakest direction would lose what the second step gained.
    last = jnp.where(finite, jnp.where(active[:, None], w @ white.second, 0.0), jnp.nan)

    def separate(part):
        return last @ (white.first @ (part - white.mean[:, None]) - white.shift[:, None])

    return ICAResult(
        sources=_map_blocks(separate, x, n),
        unmixing=unmixing,
        mixing=mixing,
        mean=white.mean,
        num_steps=jnp.asarray(num_steps, jnp.int32),
        converged=jnp.asarray(converged) & finite,
        rank=white.rank,
    )
