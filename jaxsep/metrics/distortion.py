"""Allowed distortions: an estimate projected on delayed copies of the references.

Signals go through it in blocks, each with the samples before it that a filter reaches, so that
short transforms serve for the correlations and for the projections.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxsep.metrics.toeplitz import largest_eigenvalue, solve_toeplitz, toeplitz_product

#: Rows (sources times channels) up to which the filters of sources alone are solved as one system.
_ROWS_AT_ONCE = 2


class Blocks(NamedTuple):
    """Rows of signals cut for filters of ``taps`` taps."""

    signal: jax.Array
    """``(rows, frames, blocks, length)``: the signals, zero-padded by the filter's tail."""
    spectra: jax.Array
    """``(rows, frames, blocks, bins)``: of each block behind the ``taps - 1`` samples before it."""


class Energies(NamedTuple):
    """Energies of the parts of estimates, each ``(sources, frames)``."""

    image: jax.Array
    """The reference itself."""
    estimate: jax.Array
    """The estimate itself."""
    target: jax.Array
    """The estimate projected on its own reference."""
    explained: jax.Array
    """The estimate projected on all references."""
    error: jax.Array
    """Estimate minus reference."""
    distortion: jax.Array
    """Estimate minus target."""
    spatial: jax.Array
    """Target minus reference."""
    interference: jax.Array
    """Explained minus target."""
    artifacts: jax.Array
    """Estimate minus explained."""


def cut(signal: jax.Array, taps: int) -> Blocks:
    """Cut ``(rows, frames, samples)`` for filters of ``taps``; zeros lie around each frame."""
    size = _transform_size(taps, signal.shape[-1])
    length = size - taps + 1
    count = -(-(signal.shape[-1] + taps - 1) // length)
    room = count * length - signal.shape[-1]
    padded = jnp.pad(signal, ((0, 0), (0, 0), (0, room)))
    blocks = padded.reshape(*signal.shape[:2], count, length)
    before = jnp.pad(blocks, ((0, 0), (0, 0), (1, 0), (0, 0)))[:, :, :-1, length - taps + 1 :]
    return Blocks(blocks, jnp.fft.rfft(jnp.concatenate([before, blocks], axis=-1), size))


def correlations(a: Blocks, b: Blocks) -> jax.Array:
    """``c[k, i, j] = sum_n a_i[n] b_j[n + k]`` over every frame: ``(taps, rows of a, rows of b)``."""
    size = 2 * (a.spectra.shape[-1] - 1)
    taps = size - a.signal.shape[-1] + 1
    alone = jnp.fft.rfft(jnp.pad(b.signal, ((0, 0), (0, 0), (0, 0), (taps - 1, 0))), size)
    cross = jnp.einsum("ifmw,jfmw->ijw", jnp.conj(a.spectra), alone)
    return jnp.moveaxis(jnp.fft.irfft(cross, size)[..., :taps], -1, 0)


class Filters(NamedTuple):
    """Distortion filters that bring references nearest to estimates."""

    taps: jax.Array
    """``(taps, rows, columns)``, zero for silent references."""
    energy: jax.Array
    """``(rows, columns)``: what each row gives to the energies of the projections of the estimates."""
    condition: jax.Array
    """``()``: estimate of the condition of the equations, with rows of unit energy."""


def fit_filters(lags: jax.Array, right: jax.Array) -> Filters:
    """Solve the normal equations of the projection.

    Args:
      lags: ``(taps, rows, rows)`` correlations of the references; zero for silent rows.
      right: ``(taps, rows, columns)`` correlations of references with estimates.
    """
    energy = jnp.diagonal(lags[0])
    silent = energy == 0
    scale = jnp.where(silent, 0.0, jax.lax.rsqrt(jnp.where(silent, 1.0, energy)))
    lags = lags * scale[:, None] * scale
    right = right * scale[:, None]
    largest = jax.lax.stop_gradient(largest_eigenvalue(lags))
    lags = lags.at[0].add(jnp.diag(silent.astype(lags.dtype)))
    probe = jnp.where(jax.random.bernoulli(jax.random.key(0), shape=right.shape[:2]), 1.0, -1.0)
    probe = jnp.where(silent, 0.0, probe).astype(lags.dtype)
    solved = solve_toeplitz(lags, jnp.concatenate([right, probe[..., None]], axis=-1))
    filters, answer = solved[..., :-1], solved[..., -1]
    # Rayleigh's quotient of the probe's answer, in which the smallest eigenvalues weigh most.
    smallest = jnp.sum(probe * answer) / jnp.sum(jnp.square(answer))
    condition = jnp.where(smallest > 0, largest / jnp.where(smallest > 0, smallest, 1.0), jnp.inf)
    # Its error is the square of the filters'.
    energy = jnp.sum(filters * (2 * right - toeplitz_product(lags, filters)), axis=0)
    return Filters(filters * scale[:, None], energy, jax.lax.stop_gradient(condition))


def fit_both(lags: jax.Array, right: jax.Array, at: jax.Array, every: bool) -> tuple[Filters, Filters]:
    """Filters from all references together to every estimate, and from each source's alone.

    Sources alone are one system, too, of a block diagonal matrix. Few rows are solved so, as a second problem
    of the same shape, which is compiled once for both; more rows are quicker source by source.

    Args:
      lags, right: as for :func:`fit_filters`.
      at: ``(sources, channels)``: the rows of each source.
      every: whether sources alone need filters to every estimate; the others may be zero if not.
    """
    if len(at) == 1:
        fit = fit_filters(lags, right)
        return fit, fit
    if lags.shape[1] <= _ROWS_AT_ONCE:
        same = at.ravel() // at.shape[1]
        alone = jnp.where(same[:, None] == same, lags, 0.0)
        both = jax.vmap(fit_filters, in_axes=(0, None))(jnp.stack([lags, alone]), right)
        return jax.tree.map(lambda x: x[0], both), jax.tree.map(lambda x: x[1], both)
    wanted = jnp.broadcast_to(jnp.arange(lags.shape[1]), (len(at), lags.shape[1])) if every else at

    def fit_alone(rows, columns):
        fit = fit_filters(lags[:, rows[:, None], rows], right[:, rows[:, None], columns])
        taps = jnp.zeros_like(right[:, : len(rows)]).at[..., columns].set(fit.taps)
        return taps, jnp.zeros_like(right[0, : len(rows)]).at[:, columns].set(fit.energy), fit.condition

    taps, energy, condition = jax.vmap(fit_alone)(at, wanted)
    taps = jnp.moveaxis(taps, 0, 1).reshape(right.shape)
    own = Filters(taps, energy.reshape(right.shape[1:]), jnp.max(condition))
    return fit_filters(lags, right), own


def part_energies(
    references: Blocks, estimates: Blocks, own: jax.Array, every: jax.Array, first=0, last=None
) -> Energies:
    """Split estimates into their parts.

    Args:
      references, estimates: ``(sources * channels, frames, samples)`` signals, cut alike.
      own: ``(sources, taps, channels, channels)``: filters from a reference to its estimate.
      every: ``(taps, sources * channels, sources * channels)``: from all references to estimates.
      first, last: samples of each frame to count; all, and the filters' tail, when None.
    """
    sources, taps, channels, _ = own.shape
    size = 2 * (references.spectra.shape[-1] - 1)

    def by_source(x):
        return x.reshape(sources, channels, *x.shape[1:])

    spectra = by_source(references.spectra)
    own_spectra = jnp.einsum("sifmw,swio->sofmw", spectra, jnp.fft.rfft(own, size, axis=1))
    all_spectra = jnp.einsum("ifmw,wio->ofmw", references.spectra, jnp.fft.rfft(every, size, axis=0))
    target = jnp.fft.irfft(own_spectra, size)[..., taps - 1 :]
    explained = by_source(jnp.fft.irfft(all_spectra, size)[..., taps - 1 :])
    reference, estimate = by_source(references.signal), by_source(estimates.signal)
    at = jnp.arange(reference[0, 0, 0].size).reshape(reference.shape[3:])
    counted = (at >= first) & (at < (at.size if last is None else last))

    def energy(x):
        return jnp.sum(jnp.where(counted, jnp.square(x), 0.0), axis=(1, 3, 4))

    return Energies(
        image=energy(reference),
        estimate=energy(estimate),
        target=energy(target),
        explained=energy(explained),
        error=energy(estimate - reference),
        distortion=energy(estimate - target),
        spatial=energy(target - reference),
        interference=energy(explained - target),
        artifacts=energy(estimate - explained),
    )


def _transform_size(taps, samples):
    """Long against the filter, but no longer than the signal needs; a power of two."""
    enough = max(2 * taps, min(8 * taps, samples + 2 * taps))
    return 1 << (enough - 1).bit_length()
