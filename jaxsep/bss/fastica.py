"""FastICA: batched fixed-point iterations.

References:
  A. Hyvärinen, "Fast and robust fixed-point algorithms for independent component analysis",
  IEEE Trans. Neural Networks 10(3), 1999.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxsep._checks import at_least, standard_promotion
from jaxsep._rows import each_problem, varying_as
from jaxsep._sharding import keeps_sharding
from jaxsep.bss.contrast import CONTRASTS, Contrast, get_contrast
from jaxsep.bss.result import ICAResult
from jaxsep.bss.whitening import check_mixtures, finish, sum_blocks, whiten

#: Fixed points are first found on about this many samples, then on more, at most this many, then on all.
_FEW, _MANY = 1 << 12, 1 << 21
#: Sources up to which fourth moments cost less than iterations over the samples.
_FOURTH = 4


@keeps_sharding
@standard_promotion
def fastica(
    x,
    *,
    n_components: int | None = None,
    algorithm: Literal["parallel", "deflation"] = "parallel",
    fun: str | Contrast = "logcosh",
    max_iter: int = 200,
    tol: float = 1e-4,
    key: jax.Array | None = None,
) -> ICAResult:
    """Separate instantaneous mixtures into independent, non-Gaussian sources.

    Centers and whitens x, then iterates ``W <- E[g(Wz) z'] - diag(E[g'(Wz)]) W`` with symmetric
    decorrelation (parallel) or one row after another (deflation), until the rows turn by less
    than ``tol``: ``max_i |1 - |<w_i, w_i before>|| < tol``. The fixed point is first approached
    on every k-th sample, then on more, and at last on all, each to the same tolerance. Of up to four
    sources ``"cube"`` needs only their fourth moments: one pass over the samples for all iterations.
    Memory beyond x and the result is the same for an hour as for ten minutes; a numpy x is
    copied to the device first.

    Args:
      x: ``(..., channels, samples)`` floats; each leading index is a problem of its own.
      n_components: sources to look for, n; as many as channels when None.
      algorithm: ``"parallel"`` or ``"deflation"``.
      fun: ``"logcosh"``, ``"exp"``, ``"cube"``, ``"logistic"``, or a pair ``(g, g_prime)``.
      max_iter: most iterations over all samples (or their moments), and over each smaller set before.
      tol: tolerance of convergence.
      key: a JAX random key for the start; None for a fixed start.

    Returns:
      An :class:`ICAResult`. Not converging is data: ``converged`` is False and the sources are
      those of the last iteration. NaN or infinity in a problem gives NaN and ``converged=False``
      for it alone. Fewer independent channels than n: rows of zeros, counted by ``rank``. The
      sources' covariance is the identity within 1e-5 up to a condition number of 1e6 of the
      channels' correlation matrix; see :func:`jaxsep.bss.whitening.whiten`.

    Raises:
      ValueError: integers, empty input, fewer than two samples, or options out of range.

    Example:
      >>> s = jax.random.laplace(jax.random.key(0), (2, 4000))
      >>> r = fastica(jnp.array([[1.0, 0.5], [0.3, 1.0]]) @ s)
      >>> bool(r.converged), int(r.rank), r.sources.shape
      (True, 2, (2, 4000))
      >>> match = jnp.abs(jnp.corrcoef(jnp.concatenate([s, r.sources])))[:2, 2:]
      >>> bool(jnp.all(jnp.max(match, axis=1) > 0.99))
      True
    """
    x, n = check_mixtures(x, n_components)
    if algorithm not in ("parallel", "deflation"):
        raise ValueError(f"algorithm={algorithm!r}: expected 'parallel' or 'deflation'")
    if not tol > 0:
        raise ValueError(f"tol={tol}: expected a positive number")
    contrast = get_contrast(fun)
    start = _fixed_start(n) if key is None else jax.random.normal(key, (n, n), jnp.float32)
    return _fastica(x, start, np.float32(tol), n, algorithm, contrast, at_least("max_iter", max_iter, 1))


@lru_cache(maxsize=64)
def _fixed_start(n):
    """Where the search begins without a key: drawn on the host, which is sooner than by a program of JAX.

    Not the identity: the principal axes can be a fixed point that is not a solution.
    """
    return np.random.default_rng(0).standard_normal((n, n), np.float32)


@partial(jax.jit, static_argnums=(3, 4, 5, 6))
def _fastica(x, start, tol, n, algorithm, contrast, max_iter):
    solve = partial(_solve, n=n, algorithm=algorithm, contrast=contrast, max_iter=max_iter)
    return each_problem(solve, x, core=2, shared=(start, tol))


def _solve(x, start, tol, n, algorithm, contrast, max_iter):
    """One problem: whiten, approach on ever more samples, refine on all; or iterate on fourth moments."""
    white = whiten(x, n)
    active = jnp.arange(n) < white.rank
    begin = _decorrelate(jnp.where(jnp.outer(active, active), start, 0.0), active)
    rotate = _parallel if algorithm == "parallel" else _deflation

    def moments_few(z, w):
        u = w @ z
        g, g_prime = contrast[0](u), contrast[1](u)
        return g @ z.T / z.shape[1], jnp.mean(g_prime, axis=1)

    def moments_all(w):
        b = w @ white.matrix
        shift = b @ white.mean

        def block(part):
            u = b @ part - shift[:, None]
            g, g_prime = contrast[0](u), contrast[1](u)
            return g @ part.T, jnp.sum(g, axis=1), jnp.sum(g_prime, axis=1)

        products, total, slope = sum_blocks(block, x)
        centered = products - jnp.outer(total, white.mean)
        return centered @ white.matrix.T / x.shape[1], slope / x.shape[1]

    if contrast == CONTRASTS["cube"] and n <= _FOURTH:
        w, steps, change = rotate(moments_of_cube(x, white), begin, active, tol, max_iter)
        return finish(x, white, w, steps, change < tol)
    steps, w = jnp.int32(0), begin
    for stride in _strides(x.shape[1]):
        few = white.matrix @ (x[:, ::stride] - white.mean[:, None])
        w, more, _ = rotate(partial(moments_few, few), w, active, tol, max_iter)
        steps = steps + more
    w, more, change = rotate(moments_all, w, active, tol, max_iter)
    return finish(x, white, w, steps + more, change < tol)


def moments_of_cube(x, white):
    """Return what an iteration asks of g(u) = u^3, as a function of W.

    It is all in the fourth moments of ``z``, which take one pass over the samples.
    """
    n = white.matrix.shape[0]
    first, second = np.triu_indices(n)
    place = np.zeros((n, n), int)  # of z_i z_j among the products of pairs
    place[first, second] = place[second, first] = np.arange(len(first))

    def block(part):
        z = white.matrix @ (part - white.mean[:, None])
        pairs = z[first] * z[second]
        return pairs @ pairs.T, jnp.sum(pairs, axis=1)

    fourth, covariance = (total / x.shape[1] for total in sum_blocks(block, x))
    fourth, covariance = fourth[place[:, :, None, None], place], covariance[place]

    def moments(w):
        products = jnp.einsum("ri,rj,rk,ijkl->rl", w, w, w, fourth)
        return products, 3.0 * jnp.sum(w @ covariance * w, axis=1)

    return moments


def _strides(samples):
    """Every k-th sample to look at before all of them: ever smaller k, from about ``_FEW`` samples on."""
    stride, strides = samples // _FEW, []
    while stride >= 2 and samples // stride <= _MANY:
        strides.append(stride)
        stride //= 16
    return strides


def _parallel(moments, w, active, tol, max_iter):
    """All rows together; return the rows, the steps and the last change."""

    def proceed(state):
        _, step, change = state
        return (step < max_iter) & (change >= tol)

    def step(state):
        w, step, _ = state
        products, slope = moments(w)
        new = _decorrelate(products - slope[:, None] * w, active)
        turned = jnp.abs(jnp.abs(jnp.sum(new * w, axis=1)) - 1.0)
        return new, step + 1, jnp.max(jnp.where(active, turned, 0.0))

    return jax.lax.while_loop(proceed, step, (w, jnp.int32(0), varying_as(jnp.asarray(jnp.inf, w.dtype), w)))


def _deflation(moments, w, active, tol, max_iter):
    """One row after another, each orthogonal to those before."""
    rows = jnp.arange(w.shape[0])

    def find(i, state):
        w, steps, worst = state
        before = jnp.where((rows < i)[:, None], w, 0.0)

        def proceed(inner):
            _, step, change = inner
            return (step < max_iter) & (change >= tol)

        def step(inner):
            row, step, _ = inner
            products, slope = moments(row[None])
            new = products[0] - slope[0] * row
            new = new - before.T @ (before @ new)
            new = new / jnp.linalg.norm(new)
            return new, step + 1, jnp.abs(jnp.abs(new @ row) - 1.0)

        first = w[i] - before.T @ (before @ w[i])
        first = first / jnp.linalg.norm(first)
        begin = (first, jnp.int32(0), jnp.where(active[i], jnp.inf, 0.0).astype(w.dtype))
        row, taken, change = jax.lax.while_loop(proceed, step, begin)
        return w.at[i].set(row), steps + taken, jnp.maximum(worst, change)

    return jax.lax.fori_loop(0, w.shape[0], find, (w, jnp.int32(0), varying_as(jnp.zeros((), w.dtype), w)))


def _decorrelate(w, active):
    """``(W W')^(-1/2) W``; rows that are not active become those of the identity.

    The polar factor by singular values: rows of W are small where a source is nearly normal, and
    ``W W'`` squares their range, which in float32 leaves too few digits to converge by.
    """
    w = jnp.where(active[:, None] & active[None, :], w, jnp.eye(w.shape[0], dtype=w.dtype))
    left, _, right = jnp.linalg.svd(w)
    return left @ right
