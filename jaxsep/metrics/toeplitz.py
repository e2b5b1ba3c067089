"""Symmetric positive definite block Toeplitz systems: the normal equations of FIR filters."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxsep._rows import varying_as

#: The recursion's arrays grow in stages, each compiled for its own length: one for so many taps times rows
#: (what a stage saves grows with both, what it costs to compile does not), up to so many stages.
_STAGE, _STAGES = 600, 4
#: Added to the diagonal for the recursion alone, in units of the largest eigenvalue's rounding.
_LOADING = 1.0
#: How often at most more loading is tried, ten times as much each time.
_ATTEMPTS = 6
#: How often at most the rest that the inverse leaves is solved again.
_REFINEMENTS = 8
#: Where conjugate gradients stop: at this error, beside the solution's energy, or after so many steps.
_TOLERANCE, _STEPS = 1e-9, 128


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


def largest_eigenvalue(lags: jax.Array) -> jax.Array:
    """Upper bound of the eigenvalues of a symmetric positive definite block Toeplitz matrix.

    Args:
      lags: ``(taps, rows, rows)``, as for :func:`toeplitz_product`.
    """
    spectra = jnp.fft.rfft(jnp.diagonal(lags, axis1=1, axis2=2), axis=1)
    return 2 * jnp.max(jnp.sum(jnp.abs(spectra), axis=0))


def solve_toeplitz(lags: jax.Array, right: jax.Array) -> jax.Array:
    """Solve ``T h = right`` for a symmetric positive definite block Toeplitz matrix.

    Differentiable in both arguments, by one more solution. CPUs solve it by a recursion over the taps;
    accelerators, on which many small steps cost more than a few large ones, by conjugate gradients. Where
    128 steps of these leave more than 1e-8 of a solution (or ten times the dtype's rounding), as where
    recordings have no high frequencies, the recursion solves that system. On CPU and NVIDIA GPU either runs
    in float64 whatever the dtype: in float32 both lose much where T is ill conditioned. Where rounding of
    the dtype has left T indefinite, the recursion loads its diagonal until it is not.

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
      H. Akaike, "Block Toeplitz matrix inversion", SIAM J. Appl. Math. 24(2), 1973;
      I. Gohberg and G. Heinig, "Inversion of finite Toeplitz matrices", 1974;
      T. Chan, "An optimal circulant preconditioner for Toeplitz systems", SIAM J. Sci. Stat. Comput. 9,
      1988.
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
    eps = float(jnp.finfo(right.dtype).eps)

    def in_float64(solve):
        def solved(lags, right):
            with jax.enable_x64(True):
                found = solve(lags.astype(jnp.float64), right.astype(jnp.float64), eps)
                return found.astype(right.dtype)

        return solved

    return jax.lax.platform_dependent(
        lags,
        right,
        cpu=in_float64(_solve_by_recursion),
        cuda=in_float64(_solve_by_gradients),
        default=partial(_solve_by_gradients, eps=eps),
    )


@partial(jax.jit, static_argnames="eps")
def _solve_by_recursion(lags, right, eps):
    """Jitted, so that platforms and programs share one trace for each shape and dtype."""
    return jax.vmap(partial(_gohberg_semencul, eps=eps))(lags, right)


@partial(jax.jit, static_argnames="eps")
def _solve_by_gradients(lags, right, eps):
    """Conjugate gradients, and the recursion for the systems that they leave unsolved."""
    found, solved = jax.vmap(partial(_conjugate_gradients, eps=eps))(lags, right)

    def otherwise(lags, right, found):
        return jnp.where(solved[:, None, None, None], found, _solve_by_recursion(lags, right, eps))

    return jax.lax.cond(jnp.all(solved), lambda lags, right, found: found, otherwise, lags, right, found)


@_solve_batch.def_vmap
def _(size, batched, lags, right):
    # Batching what was traced in 64-bit mode, outside it, mixes dtypes: so batch the arguments.
    both = [
        x if mapped else jnp.broadcast_to(x, (size, *x.shape))
        for x, mapped in zip((lags, right), batched, strict=True)
    ]
    flat = _solve_batch(*(x.reshape(-1, *x.shape[2:]) for x in both))
    return flat.reshape(both[1].shape), True


class _Factors(NamedTuple):
    """``inv(a) = lower' @ diag(1 / pivots) @ lower`` of symmetric or Hermitian matrices."""

    lower: jax.Array
    """``(..., rows, rows)``: unit lower triangular."""
    pivots: jax.Array
    """``(..., rows, 1)``."""


def _factor(a):
    """Eliminate below the diagonal, unrolled: a call of LAPACK costs more than so small a matrix."""
    rows = a.shape[-1]
    eye = jnp.broadcast_to(jnp.eye(rows, dtype=a.dtype), a.shape)

    def eliminate(k, work):
        pivot = work[..., k, None, :]
        share = jnp.where(jnp.arange(rows)[:, None] > k, work[..., k, None] / pivot[..., k, None], 0.0)
        return work - share * pivot

    work = jax.lax.fori_loop(0, rows - 1, eliminate, jnp.concatenate([a, eye], axis=-1), unroll=rows <= 16)
    return _Factors(work[..., rows:], jnp.diagonal(work, axis1=-2, axis2=-1)[..., None])


def _solve(factors, b):
    lower, pivots = factors
    return jnp.conj(jnp.swapaxes(lower, -1, -2)) @ ((lower @ b) / pivots)


def _conjugate_gradients(lags, right, eps):
    """Solve by conjugate gradients, all columns at once; return the filters, and whether they are good.

    The preconditioner is the block circulant matrix nearest to T, whose inverse is a product for each bin of
    a transform. By its measure the error is judged, in the end on what is left of the right side.
    """
    inverse, definite = _circulant_inverse(lags)
    tolerance = max(_TOLERANCE, eps, 8 * float(jnp.finfo(lags.dtype).eps)) ** 2

    def energy(a, b):
        return jnp.sum(a * b, axis=(0, 1))

    def share(a, b):
        return jnp.where(b > 0, a / jnp.where(b > 0, b, 1.0), 0.0)

    def step(state):
        solution, rest, direction, size, count = state
        ahead = toeplitz_product(lags, direction)
        length = share(size, energy(direction, ahead))
        solution, rest = solution + length * direction, rest - length * ahead
        turned = inverse(rest)
        new = energy(rest, turned)
        return solution, rest, turned + share(new, size) * direction, new, count + 1

    def proceed(state):
        return (state[-1] < _STEPS) & jnp.any(state[3] > tolerance * whole)

    first = inverse(right)
    whole = energy(right, first)
    begin = (jnp.zeros_like(right), right, first, whole, varying_as(jnp.int32(0), right))
    solution = jax.lax.while_loop(proceed, step, begin)[0]
    rest = right - toeplitz_product(lags, solution)
    # Where rounding left the lags indefinite these measures mean nothing, so the plain one must agree.
    good = jnp.abs(energy(rest, inverse(rest))) <= 100 * tolerance * whole
    good &= energy(rest, rest) <= 1e6 * tolerance * energy(right, right)
    return solution, definite & jnp.all(good)


def _circulant_inverse(lags):
    """A product with the inverse of the block circulant matrix nearest to T, and whether that is definite."""
    taps, rows, _ = lags.shape
    after = jnp.arange(taps, dtype=lags.dtype)[:, None, None] / taps
    around = jnp.concatenate([jnp.zeros_like(lags[:1]), jnp.flip(jnp.swapaxes(lags[1:], 1, 2), 0)])
    spectra = jnp.fft.rfft((1 - after) * lags + after * around, axis=0)
    least = jnp.finfo(lags.dtype).eps * jnp.max(jnp.abs(spectra))
    factors = _factor(spectra + least * jnp.eye(rows, dtype=lags.dtype))
    inverse = _solve(factors, jnp.broadcast_to(jnp.eye(rows, dtype=spectra.dtype), spectra.shape))
    definite = jnp.all(factors.pivots.real > 0)
    return lambda x: jnp.fft.irfft(inverse @ jnp.fft.rfft(x, axis=0), taps, axis=0), definite


class _Recursion(NamedTuple):
    """Prediction over the leading n blocks of the system."""

    predictors: jax.Array
    """``(n, rows, 2 rows)``: forward, whose first block is the identity, then backward, whose last is."""
    errors: jax.Array
    """``(2, rows, rows)``: covariances of the forward and the backward prediction error."""
    factors: _Factors
    """Of ``errors``."""
    least: jax.Array
    """Smallest pivot so far: above 0 where the matrix is positive definite."""


def _gohberg_semencul(lags, right, eps):
    """Solve by ``inv(T) = F inv(f) F' - B inv(b) B'``, block triangular Toeplitz matrices of the predictors.

    The products go through transforms. What their rounding, and the loading that keeps the recursion
    stable, leave of the right side is solved again as long as that halves it.
    """
    taps, rows, _ = lags.shape
    lags, (predictors, _, (lower, pivots), _) = _predict_definite(lags, eps)
    delayed = jnp.pad(predictors[:-1, :, rows:], ((1, 0), (0, 0), (0, 0)))
    spectra = [jnp.fft.rfft(x, 2 * taps, axis=0) for x in (predictors[..., :rows], delayed)]

    def inverse(right):
        given, parts = jnp.fft.rfft(right, 2 * taps, axis=0), []
        for k, spectrum in enumerate(spectra):
            ahead = jnp.conj(jnp.swapaxes(spectrum, 1, 2)) @ given
            ahead = jnp.fft.irfft(ahead, 2 * taps, axis=0)[:taps]
            solved = _solve(_Factors(lower[k], pivots[k]), ahead)
            parts.append(spectrum @ jnp.fft.rfft(solved, 2 * taps, axis=0))
        return jnp.fft.irfft(parts[0] - parts[1], 2 * taps, axis=0)[:taps]

    def refine(state):
        solution, rest, _, count = state
        new = solution + inverse(rest)
        left = right - toeplitz_product(lags, new)
        better = jnp.sum(jnp.square(left)) < 0.25 * jnp.sum(jnp.square(rest))
        return jnp.where(better, new, solution), jnp.where(better, left, rest), better, count + 1

    def proceed(state):
        _, _, better, count = state
        return better & (count < _REFINEMENTS)

    first = inverse(right)
    rest = right - toeplitz_product(lags, first)
    begin = (first, rest, varying_as(jnp.array(True), right), jnp.int32(0))
    return jax.lax.while_loop(proceed, refine, begin)[0]


def _predict_definite(lags, eps):
    """Load lags that rounding (by ``eps``) left without definiteness; return them and their recursion."""
    largest = largest_eigenvalue(lags)
    taps, rows, _ = lags.shape
    eye = jnp.eye(rows, dtype=lags.dtype)
    stabilizing = _LOADING * jnp.finfo(lags.dtype).eps * largest

    def attempt(state):
        count, _, _ = state
        extra = jnp.where(count == 0, 0.0, 0.3 * 10.0 ** (count - 1) * eps) * largest
        return count + 1, extra, _predict(lags.at[0].add((extra + stabilizing) * eye))

    def proceed(state):
        count, _, recursion = state
        return (count == 0) | ((count < _ATTEMPTS) & ~(recursion.least > 0))

    zeros = partial(jnp.zeros, dtype=lags.dtype)
    empty = _Factors(zeros((2, rows, rows)), zeros((2, rows, 1)))
    recursion = _Recursion(zeros((taps, rows, 2 * rows)), zeros((2, rows, rows)), empty, zeros(()))
    begin = jax.tree.map(lambda x: varying_as(x, lags), (jnp.int32(0), zeros(()), recursion))
    _, extra, recursion = jax.lax.while_loop(proceed, attempt, begin)
    return lags.at[0].add(extra * eye), recursion


def _predict(lags):
    """Block Levinson recursion: one block of the predictors more in every step."""
    taps, rows, _ = lags.shape
    eye = jnp.eye(rows, dtype=lags.dtype)
    first = jnp.stack([lags[0], lags[0]])
    identities = jnp.concatenate([eye, eye], axis=1)[None]
    factors = _factor(first)
    state = _Recursion(varying_as(identities, lags), first, factors, jnp.min(factors.pivots))
    backwards = jnp.swapaxes(jnp.flip(lags, 0), 0, 1).reshape(rows, taps * rows)
    backwards = jnp.pad(backwards, ((0, 0), (0, taps * rows)))

    def step(n, state):
        size = state.predictors.shape[0]
        window = jax.lax.dynamic_slice(backwards, (0, (taps - 1 - n) * rows), (rows, size * rows))
        forward = state.predictors[..., :rows]
        ahead = window @ forward.reshape(size * rows, rows)
        to_forward, to_backward = _solve(state.factors, jnp.stack([ahead.T, ahead]))
        change = jnp.block([[eye, -to_forward], [-to_backward, eye]])
        delayed = jnp.pad(state.predictors[:-1, :, rows:], ((1, 0), (0, 0), (0, 0)))
        both = jnp.concatenate([forward, delayed], axis=-1)
        predictors = (both.reshape(size * rows, -1) @ change).reshape(both.shape)
        errors = state.errors - jnp.stack([ahead.T @ to_backward, ahead @ to_forward])
        factors = _factor(errors)
        return _Recursion(predictors, errors, factors, jnp.minimum(state.least, jnp.min(factors.pivots)))

    done = 1
    stages = min(_STAGES, max(1, taps * rows // _STAGE))
    for stage in range(1, stages + 1):
        size = max(done, round(taps * stage / stages))
        room = ((0, size - done), (0, 0), (0, 0))
        state = state._replace(predictors=jnp.pad(state.predictors, room))
        state, done = jax.lax.fori_loop(done, size, step, state), size
    return state
