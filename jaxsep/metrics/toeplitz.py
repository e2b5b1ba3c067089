"""Symmetric positive definite block Toeplitz systems: the normal equations of FIR filters."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import lu_factor, lu_solve

from jaxsep._rows import varying_as

#: The recursion's arrays grow in stages of at least this many taps, each compiled for its own length.
_STAGE = 128


def toeplitz_product(lags: jax.Array, filters: jax.Array) -> jax.Array:
    """Multiply a symmetric block Toeplitz matrix with vectors.

    ``y[p] = sum_q T[p - q] h[q]`` with ``T[k] = lags[k]`` and ``T[-k] = lags[k]`` transposed.

    Args:
      lags: ``(taps, rows, rows)``.
      filters: ``(taps, rows, columns)``.

    Returns:
      ``(taps, rows, columns)``.
    """
    taps = lags.shape[0]
    size = 2 * taps
    before = jnp.flip(jnp.swapaxes(lags[1:], 1, 2), 0)
    around = jnp.concatenate([lags, jnp.zeros_like(lags[:1]), before])
    spectra = jnp.fft.rfft(around, axis=0) @ jnp.fft.rfft(filters, size, axis=0)
    return jnp.fft.irfft(spectra, size, axis=0)[:taps]


def solve_toeplitz(lags: jax.Array, right: jax.Array) -> jax.Array:
    """Solve ``T h = right`` for a symmetric positive definite block Toeplitz matrix.

    Differentiable in both arguments, by one more solution. On CPU and NVIDIA GPU the recursion runs
    in float64 whatever the dtype: it is short, and in float32 it loses much where T is ill conditioned.

    Args:
      lags: ``(taps, rows, rows)``, as for :func:`toeplitz_product`.
      right: ``(taps, rows, columns)``.

    Returns:
      ``(taps, rows, columns)`` filters.

    Example:
      >>> lags = jnp.array([2.0, 1.0, 0.5])[:, None, None]
      >>> right = jnp.array([1.0, 0.0, 0.0])[:, None, None]
      >>> filters = solve_toeplitz(lags, right)
      >>> bool(jnp.allclose(toeplitz_product(lags, filters), right, atol=1e-6))
      True

    References:
      P. Whittle, "On the fitting of multivariate autoregressions", Biometrika 50, 1963;
      H. Akaike, "Block Toeplitz matrix inversion", SIAM J. Appl. Math. 24(2), 1973.
    """
    return jax.lax.custom_linear_solve(
        lambda filters: toeplitz_product(lags, filters),
        right,
        lambda _, right: _solve_batch(lags[None], right[None])[0],
        symmetric=True,
    )


@jax.custom_batching.custom_vmap
def _solve_batch(lags, right):
    """``(batch, taps, rows, rows)`` and ``(batch, taps, rows, columns)``: solve each system."""
    solve = jax.vmap(_levinson)

    def in_float64(lags, right):
        with jax.enable_x64(True):
            return solve(lags.astype(jnp.float64), right.astype(jnp.float64)).astype(right.dtype)

    return jax.lax.platform_dependent(lags, right, cpu=in_float64, cuda=in_float64, default=solve)


@_solve_batch.def_vmap
def _(size, batched, lags, right):
    # Batching what was traced in 64-bit mode, outside it, mixes dtypes: so batch the arguments.
    both = [
        x if mapped else jnp.broadcast_to(x, (size, *x.shape))
        for x, mapped in zip((lags, right), batched, strict=True)
    ]
    flat = _solve_batch(*(x.reshape(-1, *x.shape[2:]) for x in both))
    return flat.reshape(both[1].shape), True


class _Recursion(NamedTuple):
    """Solutions of the leading n blocks of the system."""

    solution: jax.Array
    """``(n, rows, columns)``."""
    predictors: jax.Array
    """``(n, rows, 2 rows)``: forward, then backward."""
    errors: jax.Array
    """``(2, rows, rows)``: covariances of the forward and the backward prediction error."""
    factors: tuple[jax.Array, jax.Array]
    """Of ``errors``, to solve with."""


def _levinson(lags, right):
    """Block Levinson recursion: one block of the solution more in every step."""
    taps, rows, _ = lags.shape
    eye = jnp.eye(rows, dtype=lags.dtype)
    first = jnp.stack([lags[0], lags[0]])
    factors = lu_factor(first)
    state = _Recursion(
        lu_solve(factors, jnp.stack([right[0], right[0]]))[:1],
        varying_as(jnp.concatenate([eye, eye], axis=1)[None], lags),
        first,
        factors,
    )
    backwards = jnp.swapaxes(jnp.flip(lags, 0), 0, 1).reshape(rows, taps * rows)
    backwards = jnp.pad(backwards, ((0, 0), (0, taps * rows)))

    def step(n, state):
        size = state.solution.shape[0]
        window = jax.lax.dynamic_slice(backwards, (0, (taps - 1 - n) * rows), (rows, size * rows))
        known = jnp.concatenate([state.predictors[..., :rows], state.solution], axis=-1)
        error = window @ known.reshape(size * rows, -1)
        ahead = error[:, :rows]
        to_forward, to_backward = lu_solve(state.factors, jnp.stack([ahead.T, ahead]))
        change = jnp.block([[eye, -to_forward], [-to_backward, eye]])
        delayed = jnp.pad(state.predictors[:-1, :, rows:], ((1, 0), (0, 0), (0, 0)))
        both = jnp.concatenate([state.predictors[..., :rows], delayed], axis=-1)
        predictors = (both.reshape(size * rows, -1) @ change).reshape(both.shape)
        errors = state.errors - jnp.stack([ahead.T @ to_backward, ahead @ to_forward])
        factors = lu_factor(errors)
        new = lu_solve(jax.tree.map(lambda x: x[1], factors), right[n] - error[:, rows:])
        added = predictors[..., rows:].reshape(size * rows, rows) @ new
        solution = state.solution + added.reshape(state.solution.shape)
        return _Recursion(solution, predictors, errors, factors)

    done = 1
    stages = max(1, taps // _STAGE)
    for stage in range(1, stages + 1):
        size = max(done, round(taps * stage / stages))
        room = ((0, size - done), (0, 0), (0, 0))
        state = state._replace(
            solution=jnp.pad(state.solution, room), predictors=jnp.pad(state.predictors, room)
        )
        state, done = jax.lax.fori_loop(done, size, step, state), size
    return state.solution
