"""Centring and whitening, and what every instantaneous separation shares around them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxsep._checks import as_float, at_least, at_least_ndim
from jaxsep.bss.result import ICAResult

#: Samples looked at together: what stays in a CPU core's cache.
_BLOCK = 1 << 13


class Whitening(NamedTuple):
    """``z = matrix @ (x - mean)`` has unit covariance in its first ``rank`` rows and zeros below."""

    matrix: jax.Array
    """``(n, channels)``."""
    inverse: jax.Array
    """``(channels, n)``: the pseudo-inverse of ``matrix``."""
    mean: jax.Array
    """``(channels,)``; NaN where the input is not finite."""
    rank: jax.Array
    """int32, at most n."""


def whiten(x: jax.Array, n: int) -> Whitening:
    """Find the whitening of ``(channels, samples)``, keeping the ``n`` strongest directions.

    Each channel is first scaled to unit variance, so that a faint microphone counts as much as a
    loud one; directions below float rounding of the strongest are taken to be absent.

    References:
      A. Hyvärinen and E. Oja, "Independent component analysis: algorithms and applications",
      Neural Networks 13, 2000, section 5.2.
    """
    channels, samples = x.shape
    pivot, spread = _rough(x)

    def moments(block):
        centred = (block - pivot[:, None]) / spread[:, None]
        return jnp.sum(centred, axis=1), centred @ centred.T

    total, products = sum_blocks(moments, x)
    offset = total / samples
    covariance = products / samples - jnp.outer(offset, offset)
    variance = jnp.diag(covariance)
    alive = variance > 0
    deviation = jnp.where(alive, jnp.sqrt(jnp.where(alive, variance, 1.0)), 1.0)
    correlation = covariance / jnp.outer(deviation, deviation)
    values, vectors = jnp.linalg.eigh(correlation)
    values, vectors = values[::-1][:n], vectors[:, ::-1][:, :n]
    kept = values > channels * jnp.finfo(x.dtype).eps * values[0]
    root = jnp.sqrt(jnp.where(kept, values, 1.0))
    scale = spread * deviation
    mean = pivot + spread * offset
    return Whitening(
        matrix=jnp.where(kept, vectors / root, 0.0).T / scale,
        inverse=jnp.where(kept, vectors * root, 0.0) * scale[:, None],
        mean=jnp.where(jnp.all(jnp.isfinite(covariance)), mean, jnp.nan),
        rank=jnp.sum(kept).astype(jnp.int32),
    )


def sum_blocks(function: Callable[[jax.Array], object], x: jax.Array):
    """Sum ``function`` over blocks of the samples of ``(channels, samples)``, in constant memory."""
    full, rest = divmod(x.shape[1], _BLOCK)
    if full == 0 or (full == 1 and not rest):
        return function(x)

    def add(k, total):
        block = jax.lax.dynamic_slice_in_dim(x, k * _BLOCK, _BLOCK, axis=1)
        return jax.tree.map(jnp.add, total, function(block))

    total = jax.lax.fori_loop(1, full, add, function(x[:, :_BLOCK]))
    return jax.tree.map(jnp.add, total, function(x[:, full * _BLOCK :])) if rest else total


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
    sources = unmixing @ x - (unmixing @ white.mean)[:, None]
    finite = jnp.all(jnp.isfinite(unmixing)) & jnp.all(jnp.isfinite(white.mean))
    return ICAResult(
        sources=jnp.where(finite, sources, jnp.nan),
        unmixing=unmixing,
        mixing=mixing,
        mean=white.mean,
        num_steps=jnp.asarray(num_steps, jnp.int32),
        converged=jnp.asarray(converged) & finite,
        rank=white.rank,
    )
