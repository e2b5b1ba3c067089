"""Infomax: maximum likelihood by natural gradient, extended to sub-Gaussian sources."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp

from jaxsep._checks import at_least, standard_promotion
from jaxsep._rows import each_problem, varying_as
from jaxsep._sharding import keeps_sharding
from jaxsep.bss.result import ICAResult
from jaxsep.bss.whitening import check_mixtures, finish, sum_blocks, whiten


@keeps_sharding
@standard_promotion
def infomax(
    x,
    *,
    n_components: int | None = None,
    extended: bool = True,
    learning_rate: float = 0.3,
    max_iter: int = 1000,
    tol: float = 1e-4,
    key: jax.Array | None = None,
) -> ICAResult:
    """Separate instantaneous mixtures by the natural gradient of the likelihood.

    Iterates ``W <- W + rate * (I - k tanh(u) u' - u u') W`` with ``u = W z`` over whitened z,
    where ``k`` is 1 for super-Gaussian rows and -1 for sub-Gaussian ones, judged anew each step,
    until no entry of the bracket exceeds ``tol``. The rate is halved when a step
    overshoots: makes the bracket twice as large, and above 1.

    Args:
      x: ``(..., channels, samples)`` floats; each leading index is a problem of its own.
      n_components: sources to look for, n; as many as channels when None.
      extended: judge each row's kind; False takes all to be super-Gaussian.
      learning_rate: the first rate.
      max_iter: most iterations, each over all samples.
      tol: tolerance of convergence.
      key: a JAX random key for the start; None for a fixed start.

    Returns:
      An :class:`ICAResult`; see :func:`jaxsep.fastica` for what is data and not an error.

    Raises:
      ValueError: as :func:`jaxsep.fastica`.

    Example:
      >>> s = jnp.stack([jax.random.laplace(jax.random.key(0), (4000,)), jnp.sin(jnp.arange(4000.0))])
      >>> r = infomax(jnp.array([[1.0, 0.5], [0.3, 1.0]]) @ s)
      >>> match = jnp.abs(jnp.corrcoef(jnp.concatenate([s, r.sources])))[:2, 2:]
      >>> bool(jnp.all(jnp.max(match, axis=1) > 0.98))
      True

    References:
      T.-W. Lee, M. Girolami, T. Sejnowski, "Independent component analysis using an extended
      infomax algorithm for mixed subgaussian and supergaussian sources", Neural Computation 11,
      1999, eqs. 2.30 and 2.32.
    """
    x, n = check_mixtures(x, n_components)
    if not learning_rate > 0 or not tol > 0:
        raise ValueError(f"learning_rate={learning_rate}, tol={tol}: expected positive numbers")
    unit = jnp.eye(n, dtype=jnp.float32)
    start = unit if key is None else jnp.linalg.qr(jax.random.normal(key, (n, n), jnp.float32))[0]
    options = (n, extended, at_least("max_iter", max_iter, 1))
    return _infomax(x, start, jnp.float32(learning_rate), jnp.float32(tol), *options)


@partial(jax.jit, static_argnums=(4, 5, 6))
def _infomax(x, start, learning_rate, tol, n, extended, max_iter):
    solve = partial(_solve, n=n, extended=extended, max_iter=max_iter)
    return each_problem(solve, x, core=2, shared=(start, learning_rate, tol))


def _solve(x, start, learning_rate, tol, n, extended, max_iter):
    white = whiten(x, n)
    active = jnp.arange(n) < white.rank
    both = active[:, None] & active[None, :]

    def bracket(w):
        b = w @ white.matrix
        shift = b @ white.mean

        def block(part):
            u = b @ part - shift[:, None]
            t = jnp.tanh(u)
            return t @ u.T, jnp.sum(t * t, axis=1)

        products, squares = jax.tree.map(lambda s: s / x.shape[1], sum_blocks(block, x))
        covariance = w @ w.T
        if extended:
            kind = (1 - squares) * jnp.diag(covariance) - jnp.diag(products)
            products = jnp.where(kind < 0, -1.0, 1.0)[:, None] * products
        return jnp.where(both, jnp.eye(n, dtype=x.dtype) - products - covariance, 0.0)

    def proceed(state):
        _, _, step, size, _ = state
        return (step < max_iter) & (size >= tol)

    def step(state):
        w, gradient, step, size, rate = state
        new = w + rate * gradient @ w
        new_gradient = bracket(new)
        new_size = jnp.max(jnp.abs(new_gradient))
        rate = jnp.where(new_size > jnp.maximum(2.0 * size, 1.0), 0.5 * rate, rate)
        return new, new_gradient, step + 1, new_size, rate

    begin = varying_as(jnp.where(both, start, jnp.eye(n, dtype=x.dtype)), white.matrix)
    gradient = bracket(begin)
    rate = varying_as(jnp.asarray(learning_rate, x.dtype), gradient)
    state = (begin, gradient, jnp.int32(0), jnp.max(jnp.abs(gradient)), rate)
    w, _, steps, size, _ = jax.lax.while_loop(proceed, step, state)
    return finish(x, white, w, steps, size < tol)
