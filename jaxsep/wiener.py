"""Multichannel Wiener filter: estimates of sources made consistent with the mixture and over its channels.

Each source is a Gaussian with a power for every bin and frame and a spatial covariance for every bin. Both
are estimated from what the sources are thought to be, and the mixture is filtered by them: expectation and
maximization in turn.

References:
  N. Duong, E. Vincent, R. Gribonval, "Under-determined reverberant audio source separation using a full-rank
  spatial covariance model", IEEE TASLP 18(7), 2010. A. Nugraha, A. Liutkus, E. Vincent, "Multichannel audio
  source separation with deep neural networks", IEEE/ACM TASLP 24(9), 2016. F.-R. Stöter, S. Uhlich,
  A. Liutkus, Y. Mitsufuji, "Open-Unmix: a reference implementation for music source separation", JOSS 4(41),
  2019.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxsep._checks import as_complex, as_float, at_least, at_least_ndim, place_within, standard_promotion
from jaxsep._sharding import keeps_sharding, on_each_device
from jaxsep.spectral import istft, stft

#: Magnitude that the loudest bin of an excerpt is scaled down to.
_LOUDEST = 10.0


@keeps_sharding
@standard_promotion
def wiener(
    estimates,
    mixture,
    *,
    iterations: int = 1,
    softmask: bool = False,
    residual: bool = False,
    eps: float = 1e-10,
    win_length: int | None = None,
) -> jax.Array:
    """Filter a mixture by what its sources are thought to be.

    Args:
      estimates: ``(..., sources, channels, bins, frames)``: complex spectra of the sources, or floats, their
        magnitudes, which get the phase of the mixture; of one channel for all where they have one.
      mixture: ``(..., channels, bins, frames)`` complex, the STFT of the mixture.
      iterations: of expectation and maximization; 0 returns what they would start from.
      softmask: start from the mixture times the magnitudes' shares, not from magnitudes with its phase:
        better where the magnitudes are poor, worse otherwise.
      residual: add a source: what the estimates leave of the mixture.
      eps: regularization, relative to excerpts whose loudest bin is at most 10. Its square root is the power
        of a white noise that is left out of all sources.
      win_length: frames of the excerpts that are filtered each on its own, for memory and for sources that
        move (Open-Unmix: 300); None for all at once.

    Returns:
      ``(..., sources, channels, bins, frames)`` complex64, with ``residual`` one source more. With at least
      one iteration they sum to the mixture, but for that noise. Finite at silence, as are the gradients.

    Raises:
      ValueError: other types or shapes; ``softmask`` of spectra; counts or an eps that are too small.

    Example:
      >>> mixture = jnp.array([[[2.0 + 0j, 1.0]], [[1.0, 3.0]]])  # 2 channels, 1 bin, 2 frames
      >>> sources = wiener(jnp.ones((2, 2, 1, 2)), mixture, softmask=True)
      >>> bool(jnp.allclose(sources.sum(0), mixture, atol=1e-3))
      True

    Equal to ``openunmix.filtering.wiener`` in float64, which takes one or two channels and has time first.
    Here no covariance is inverted: a Hermitian system is solved for each bin and frame, whose pivots are at
    least the regularization, so that float32 is enough and channels that are alike stay finite.
    """
    mixture = as_complex("mixture", mixture)
    spectra = jnp.issubdtype(jnp.asarray(estimates).dtype, jnp.complexfloating)
    estimates = (as_complex if spectra else as_float)("estimates", estimates)
    at_least_ndim("mixture", mixture, 3, "(..., channels, bins, frames)")
    at_least_ndim("estimates", estimates, 4, "(..., sources, channels, bins, frames)")
    shape = estimates.shape
    one = (*shape[:-4], mixture.shape[-3], *shape[-2:])
    if one != mixture.shape or shape[-3] not in (1 if not spectra else mixture.shape[-3], mixture.shape[-3]):
        raise ValueError(
            f"estimates.shape={shape}: expected (..., sources, channels, bins, frames) of a mixture of shape "
            f"{mixture.shape}"
        )
    if softmask and spectra:
        raise ValueError("softmask=True: takes magnitudes; estimates are complex spectra")
    if not eps > 0:
        raise ValueError(f"eps={eps}: expected a number above 0")
    frames = mixture.shape[-1]
    length = frames if win_length is None else min(at_least("win_length", win_length, 1), frames)
    options = (at_least("iterations", iterations, 0), bool(softmask), bool(residual), float(eps))
    return _in_excerpts(estimates, mixture, length, options)


@keeps_sharding
@standard_promotion
def wiener_stems(
    stems,
    mixture,
    *,
    iterations: int = 1,
    residual: int | None = None,
    n_fft: int = 4096,
    hop_length: int = 1024,
    window: str = "hann",
    win_length: int = 300,
) -> jax.Array:
    """Filter a mixture by stems that were separated from it, all of them waveforms.

    The spectra of the stems are what :func:`wiener` starts from, so it does not matter how they were found.

    Args:
      stems: ``(..., sources, channels, samples)`` floats.
      mixture: ``(..., channels, samples)`` floats.
      iterations: of expectation and maximization; 0 changes nothing.
      residual: index of the stem that takes what the filter leaves of the mixture; None for none.
      n_fft, hop_length, window: see :func:`jaxsep.stft`.
      win_length: most frames that are filtered together; all excerpts are about as long.

    Returns:
      ``(..., sources, channels, samples)`` float32. With a ``residual`` they sum to the mixture.

    Raises:
      ValueError: integers, an empty array, other shapes, fewer than two stems, a residual that is none.

    Example:
      >>> mixture = jax.random.normal(jax.random.key(0), (2, 4000))
      >>> stems = wiener_stems(jnp.stack([0.3 * mixture, 0.6 * mixture]), mixture, residual=1)
      >>> bool(jnp.allclose(stems.sum(0), mixture, atol=1e-5))
      True
    """
    stems, mixture = as_float("stems", stems), as_float("mixture", mixture)
    at_least_ndim("mixture", mixture, 2, "(..., channels, samples)")
    if stems.ndim != mixture.ndim + 1 or (*stems.shape[:-3], *stems.shape[-2:]) != mixture.shape:
        raise ValueError(
            f"stems.shape={stems.shape}: expected (..., sources, channels, samples) of a mixture of shape "
            f"{mixture.shape}"
        )
    if stems.shape[-3] < 2:
        raise ValueError(f"stems.shape={stems.shape}: expected at least two sources; one is the mixture")
    if not at_least("iterations", iterations, 0):
        return stems
    transform: dict[str, Any] = dict(n_fft=n_fft, hop_length=hop_length, window=window)

    def one(stems, mixture):
        peak, heard = jnp.max(jnp.abs(mixture)), stft(mixture, **transform)
        spectra, longest = stft(stems, **transform), at_least("win_length", win_length, 1)
        found = refine(spectra, heard, iterations=iterations, peak=peak, longest=longest)
        return istft(found, length=mixture.shape[-1], **transform)

    if residual is not None:
        residual = place_within("residual", residual, stems.shape[-3], "stems")
    found = _each(one, stems, mixture, core=2)
    return found if residual is None else close(found, mixture, residual)


@standard_promotion
def refine(spectra, mixture, *, iterations: int, peak, longest: int = 300) -> jax.Array:
    """Filter a window: :func:`wiener` of excerpts about as long as each other, the same at any level.

    Args:
      spectra: ``(..., sources, channels, bins, frames)`` complex.
      mixture: ``(..., channels, bins, frames)`` complex.
      iterations: of expectation and maximization.
      peak: ``(...)`` of the mixture's waveform, what its spectrum is taken relative to.
      longest: most frames of an excerpt.

    Returns:
      Array of the shape of ``spectra``.
    """
    frames = mixture.shape[-1]
    length = -(-frames // -(-frames // longest))
    level = jnp.where(peak > jnp.finfo(peak.dtype).tiny, peak, 1.0)[..., None, None, None]
    found = wiener(spectra / level[..., None], mixture / level, iterations=iterations, win_length=length)
    return found * level[..., None]


def close(stems: jax.Array, mixture: jax.Array, residual: int) -> jax.Array:
    """Stems of which one is what the others leave of the mixture, so that all sum to it.

    Args:
      stems: ``(..., sources, channels, samples)``.
      mixture: ``(..., channels, samples)``.
      residual: index of that stem.
    """
    others = stems.at[..., residual, :, :].set(0.0)
    return others.at[..., residual, :, :].set(mixture - jnp.sum(others, axis=-3))


def _each(function, stems, mixture, core):
    """A function of stems and a mixture, of ``core`` dimensions, for each in turn: memory is one's."""

    def part(stems, mixture):
        batch = mixture.shape[: mixture.ndim - core]
        if not batch:
            return function(stems, mixture)
        rows = (stems.reshape(-1, *stems.shape[-core - 1 :]), mixture.reshape(-1, *mixture.shape[-core:]))
        found = jax.lax.map(lambda row: function(*row), rows)
        return found.reshape(*batch, *found.shape[1:])

    return on_each_device(part, stems, mixture, core=(core + 1, core))


@partial(jax.jit, static_argnums=(2, 3))
def _in_excerpts(estimates, mixture, length, options):
    """Excerpts of ``length`` frames, and a last one of those that are left, one after another."""

    def one(estimates, mixture):
        whole = mixture.shape[-1] // length
        cut = whole * length
        parts = (_split(estimates[..., :cut], whole), _split(mixture[..., :cut], whole))
        found = jax.lax.map(lambda part: _excerpt(part[0], part[1], options), parts)
        found = jnp.moveaxis(found, 0, -2).reshape(*found.shape[1:-1], cut)
        if cut == mixture.shape[-1]:
            return found
        rest = _excerpt(estimates[..., cut:], mixture[..., cut:], options)
        return jnp.concatenate([found, rest], axis=-1)

    return _each(one, estimates, mixture, core=3)


def _split(x, count):
    """``(..., count * length)`` -> ``(count, ..., length)``."""
    return jnp.moveaxis(x.reshape(*x.shape[:-1], count, -1), -2, 0)


def _excerpt(estimates, mixture, options):
    """The filter for one excerpt of one mixture."""
    iterations, softmask, residual, eps = options
    start = _start(estimates, mixture, softmask, eps)
    if residual:
        start = jnp.concatenate([start, mixture[None] - jnp.sum(start, axis=0, keepdims=True)])
    if not iterations:
        return start
    scale = jnp.sqrt(jnp.maximum(1.0, jnp.max(_power(mixture)) / _LOUDEST**2))
    mixture = mixture / scale
    step = lambda _, sources: _filtered(sources, mixture, eps)  # noqa: E731
    return jax.lax.fori_loop(0, iterations, step, start / scale) * scale


def _start(estimates, mixture, softmask, eps):
    """Spectra from magnitudes; spectra as they are."""
    if jnp.iscomplexobj(estimates):
        return estimates
    if softmask:
        return mixture * (estimates / (eps + jnp.sum(estimates, axis=0, keepdims=True)))
    power = _power(mixture)
    heard = power > 0
    size = jnp.sqrt(jnp.where(heard, power, 1.0))
    return estimates * jnp.where(heard, mixture / size, 1.0)


def _filtered(sources, mixture, eps):
    """One iteration: powers and covariances of ``(sources, channels, bins, frames)``, and the filter."""
    power = jnp.mean(_power(sources), axis=1)  # (sources, bins, frames)
    outer = jnp.sum(sources[:, :, None] * sources[:, None].conj(), axis=-1)
    spatial = outer / (eps + jnp.sum(power, axis=-1))[:, None, None]  # (sources, channels, channels, bins)
    channels, floor = range(len(mixture)), eps**0.5
    covariance = [
        [jnp.sum(power * spatial[:, i, k, :, None], axis=0) for k in range(i + 1)] for i in channels
    ]
    for i in channels:
        covariance[i][i] = covariance[i][i].real + floor
    whitened = _solve(covariance, list(mixture), floor)
    gained = [sum(spatial[:, i, k, :, None] * whitened[k] for k in channels) for i in channels]
    return power[:, None] * jnp.stack(gained, axis=1)


def _solve(matrix, values, floor):
    """Solve Hermitian systems, elementwise over bins and frames, by elimination.

    Args:
      matrix: rows up to the diagonal, all eigenvalues at least ``floor``; then no pivot is less.
      values: the right-hand side, an array for each row.
    """
    rows, values, order = [list(row) for row in matrix], list(values), range(len(values))
    for k in order:
        rows[k][k] = jnp.maximum(rows[k][k].real, floor)
        for i in order[k + 1 :]:
            factor = rows[i][k] / rows[k][k]
            values[i] = values[i] - factor * values[k]
            for j in range(k + 1, i + 1):
                rows[i][j] = rows[i][j] - factor * rows[j][k].conj()
    for k in reversed(order):
        known = sum((rows[i][k].conj() * values[i] for i in order[k + 1 :]), jnp.zeros_like(values[k]))
        values[k] = (values[k] - known) / rows[k][k]
    return values


def _power(x):
    return jnp.square(x.real) + jnp.square(x.imag)
