"""BSS Eval: how much of an estimate is target, interference and artifacts."""

from __future__ import annotations

import itertools
from functools import partial, reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsep._checks import as_float, at_least, at_least_ndim, samples_last, standard_promotion
from jaxsep._rows import each_problem
from jaxsep._sharding import keeps_sharding
from jaxsep.metrics.distortion import Energies, correlations, cut, fit_both, part_energies

#: More sources than this have too many orders to try them all.
_MOST_TO_PERMUTE = 8
#: Samples of numpy arrays above which one problem is scored piece by piece.
LONG = 1 << 21
#: Samples of a piece.
_PIECE = 1 << 20


class BSSEval(NamedTuple):
    """Scores of the references in their order; ``(..., sources)``, or ``(..., sources, frames)``."""

    sdr: jax.Array
    """dB: target (or image) over all distortion."""
    isr: jax.Array
    """dB: image over spatial distortion; NaN from :func:`bss_eval_sources`."""
    sir: jax.Array
    """dB: target over interference."""
    sar: jax.Array
    """dB: target and interference over artifacts."""
    permutation: jax.Array
    """``(..., sources)`` int32: the estimate that belongs to each reference."""
    condition: jax.Array
    """``(...,)``: estimate of the condition of the equations. Above 1e4 scores in float32 may be wrong
    by more than 1e-3 dB, above 1e5 by more than that: ask for float64."""


@keeps_sharding
@standard_promotion
def bss_eval_sources(
    reference, estimate, *, filter_length=512, permute=True, window=None, hop=None, dtype="float32"
) -> BSSEval:
    """Score estimates that may be filtered copies of their references (BSS Eval version 3).

    Each estimate is split into its projection on delayed copies of its reference (target), what the
    other references' delayed copies add to that (interference) and the rest (artifacts). Equal to
    ``mir_eval.separation.bss_eval_sources``, except that

    1. a silent reference scores NaN, and the others score as without it;
    2. a silent estimate scores ``-inf`` dB SDR and NaN for the other figures;
    3. a batch with NaN or infinity scores NaN;
    4. frames keep the filters of the whole signal, as in museval.

    Args:
      reference, estimate: ``(..., sources, samples)`` floating-point waveforms.
      filter_length: taps of the distortion that is allowed.
      permute: find the order of the estimates with the greatest mean SIR; for at most 8 sources.
      window, hop: samples of the frames to score one by one, and between their starts (``window``
        when None); None for one score. A frame where any reference or estimate is silent scores NaN.
      dtype: ``"float32"``, or ``"float64"`` for any condition; per call, in 64-bit mode or not.

    Returns:
      A :class:`BSSEval`; of numpy arrays where float64 was asked for outside 64-bit mode.

    Raises:
      ValueError: integers, empty arrays, different shapes, or more sources than ``permute`` takes.

    Example:
      >>> import jax
      >>> s = jax.random.normal(jax.random.key(0), (2, 8000))
      >>> e = s[::-1] + 0.1 * jax.random.normal(jax.random.key(1), (2, 8000))
      >>> score = bss_eval_sources(s, e, filter_length=32)
      >>> score.sdr.round().tolist(), score.permutation.tolist()
      ([20.0, 20.0], [1, 0])

    References:
      E. Vincent, R. Gribonval and C. Févotte, "Performance measurement in blind audio source
      separation", IEEE TASLP 14(4), 2006.
    """
    return _bss_eval(reference, estimate, 2, False, filter_length, permute, window, hop, dtype)


@keeps_sharding
@standard_promotion
def bss_eval_images(
    reference, estimate, *, filter_length=512, permute=True, window=None, hop=None, dtype="float32"
) -> BSSEval:
    """Score estimates of multi-channel images, which may not be filtered (BSS Eval versions 3 and 4).

    Equal to ``mir_eval.separation.bss_eval_images``, and with ``window`` and ``hop`` to
    ``museval.metrics.bss_eval``, which trackers of music separation report as "SDR".

    Args:
      reference, estimate: ``(..., sources, channels, samples)`` floating-point waveforms.
      filter_length, permute, window, hop, dtype: as for :func:`bss_eval_sources`.

    Returns:
      A :class:`BSSEval`; special values as for :func:`bss_eval_sources`.

    Raises:
      ValueError: as :func:`bss_eval_sources`.

    Example:
      >>> import jax
      >>> s = jax.random.normal(jax.random.key(0), (2, 1, 8000))
      >>> score = bss_eval_images(s, 0.5 * s, filter_length=32)
      >>> score.sdr.round().tolist(), score.isr.round().tolist()
      ([6.0, 6.0], [6.0, 6.0])

    References:
      E. Vincent et al., "First stereo audio source separation evaluation campaign", ICA 2007;
      F.-R. Stöter, A. Liutkus and N. Ito, "The 2018 signal separation evaluation campaign", 2018.
    """
    return _bss_eval(reference, estimate, 3, True, filter_length, permute, window, hop, dtype)


def _bss_eval(reference, estimate, core, images, filter_length, permute, window, hop, dtype):
    axes = "(..., sources, channels, samples)" if core == 3 else "(..., sources, samples)"
    taps = at_least("filter_length", filter_length, 1)
    dtype = jnp.dtype(dtype)
    if dtype not in (jnp.float32, jnp.float64):
        raise ValueError(f"dtype={dtype}: expected 'float32' or 'float64'")
    if dtype == jnp.float64 and not jax.config.read("jax_enable_x64") and _traced(reference, estimate):
        raise ValueError(
            "dtype='float64': inside jit, vmap or grad 64-bit mode must be on around the outermost call: "
            "with jax.enable_x64(True): ...; or call this function outside them"
        )
    pieces = isinstance(reference, np.ndarray) and reference.ndim == core and reference.size > LONG
    with jax.enable_x64(dtype == jnp.float64):
        if pieces and isinstance(estimate, np.ndarray):
            as_float("reference", reference[..., :1])
            as_float("estimate", estimate[..., :1])
        else:
            reference = as_float("reference", reference, dtype)
            estimate = as_float("estimate", estimate, dtype)
        at_least_ndim("reference", reference, core, axes)
        samples_last("reference", reference.shape, "sources" if core == 2 else "channels")
        if reference.shape != estimate.shape:
            raise ValueError(f"estimate.shape={estimate.shape}: expected reference.shape={reference.shape}")
        if permute and reference.shape[-core] > _MOST_TO_PERMUTE:
            raise ValueError(
                f"permute=True: too many orders of {reference.shape[-core]} sources; "
                f"at most {_MOST_TO_PERMUTE}, or permute=False"
            )
        frames = _frames(reference.shape[-1], window, hop)
        if core == 2:
            reference, estimate = reference[..., None, :], estimate[..., None, :]
        evaluate = (
            _evaluate if isinstance(reference, jax.Array) else partial(_evaluate_in_pieces, dtype=dtype)
        )
        scores = evaluate(reference, estimate, taps, bool(permute), images, frames)
        if not images:
            scores = scores._replace(isr=_unknown_as(scores.sdr))
    wide = dtype == jnp.float64 and not jax.config.read("jax_enable_x64")
    return jax.tree.map(np.asarray, scores) if wide else scores


def _traced(*arrays):
    return any(isinstance(x, jax.core.Tracer) for x in arrays)


def _unknown_as(figure):
    """NaN of the same kind; outside jit not computed, which ``jax_debug_nans`` would take for a mistake."""
    if _traced(figure):
        return jnp.full_like(figure, jnp.nan)
    return jax.device_put(np.full(figure.shape, np.nan, figure.dtype), figure.sharding)


def _frames(samples, window, hop):
    """``(window, hop, count)`` of the frames, or None for one score."""
    if window is None:
        if hop is not None:
            raise ValueError(f"hop={hop}: expected None where window is None")
        return None
    window = at_least("window", window, 1)
    hop = window if hop is None else at_least("hop", hop, 1)
    return min(window, samples), hop, max(1, (samples - window + hop) // hop)


class _Moments(NamedTuple):
    """Sums over all samples of a problem."""

    lags: jax.Array
    """``(taps, rows, rows)``: correlations of the references."""
    right: jax.Array
    """``(taps, rows, rows)``: correlations of references with estimates."""
    image: jax.Array
    """``(sources, 1)``: energies of the references."""
    estimate: jax.Array
    """``(sources, 1)``: energies of the estimates, in the order given."""


class _Fit(NamedTuple):
    """What is known of a problem once its filters are."""

    order: jax.Array
    """``(sources,)``: the estimate that belongs to each reference."""
    own: jax.Array
    """``(sources, taps, channels, channels)``: filters from a reference to its estimate."""
    every: jax.Array
    """``(taps, rows, rows)``: filters from all references to the estimates, in their order."""
    condition: jax.Array


def _evaluate(reference, estimate, taps, permute, images, frames):
    """Scores of ``(..., sources, channels, samples)``.

    One problem outside jit and on one device takes a program for each of its parts: that of the filters,
    which takes longest to compile, is then the same for every length.
    """
    options = dict(taps=taps, permute=permute, images=images, frames=frames)
    if reference.ndim > 3 or _traced(reference, estimate):
        return _evaluate_each(reference, estimate, **options)
    together = len(reference.sharding.device_set | estimate.sharding.device_set) == 1
    return (_evaluate_one if together else _evaluate_each)(reference, estimate, **options)


@partial(jax.jit, static_argnames=("taps", "permute", "images", "frames"))
def _evaluate_each(reference, estimate, **options):
    return each_problem(partial(_evaluate_one, **options), reference, estimate, core=3)


def _evaluate_one(reference, estimate, taps, permute, images, frames):
    reference, estimate, moments = _scaled_moments(reference, estimate, taps)
    fit = _jitted_fit(moments, reference.shape[1], permute)
    return _scores_of(reference, estimate, moments, fit, images, frames)


@partial(jax.jit, static_argnames="taps")
def _scaled_moments(reference, estimate, taps):
    scale = _scale(jnp.max(jnp.abs(reference)))
    reference, estimate = reference * scale, estimate * scale
    return reference, estimate, _moments(reference, estimate, taps)


@partial(jax.jit, static_argnames=("images", "frames"))
def _scores_of(reference, estimate, moments, fit, images, frames):
    if frames:
        window, hop, count = frames
        at = jnp.arange(count)[:, None] * hop + jnp.arange(window)
    else:
        at = jnp.arange(reference.shape[-1])[None]
    parts = _energies(reference[..., at], estimate[fit.order][..., at], fit)
    return _scores(parts, moments, fit, images, bool(frames))


def _evaluate_in_pieces(reference, estimate, taps, permute, images, frames, dtype):
    """As ``_evaluate`` for one problem in numpy arrays, of which a piece at a time is moved."""
    sources, channels, samples = reference.shape
    scale = _scale(jnp.asarray(max(np.max(reference), -np.min(reference)), dtype))
    length = max(4 * taps, _PIECE // (2 * sources * channels))
    starts = range(0, samples, length)

    def move(signal, start, count):
        """``count`` samples from ``start``, zeros outside the signal."""
        inside = signal[..., max(start, 0) : start + count]
        before = max(-start, 0)
        room = ((0, 0), (0, 0), (before, count - before - inside.shape[-1]))
        return jnp.asarray(np.pad(inside, room), dtype) * scale

    def whole(start):
        """Both signals from ``start``, behind the samples before it that filters reach."""
        return (move(x, start - taps + 1, length + taps - 1) for x in (reference, estimate))

    moments = reduce(_add, (_piece_moments(*whole(start), taps) for start in starts))
    fit = _jitted_fit(moments, channels, permute)
    order = np.asarray(fit.order)

    def energies(start):
        a, b = (x[:, :, None] for x in whole(start))
        last = None if start + length >= samples else taps - 1 + length
        return _piece_energies(a, b[order], fit, taps - 1, last)

    if not frames:
        parts = reduce(_add, map(energies, starts))
    else:
        window, hop, count = frames
        at_once = max(1, length // window)
        groups = []
        for k in range(0, count, at_once):
            at = [[move(x, (k + i) * hop, window) for i in range(at_once)] for x in (reference, estimate)]
            a, b = (jnp.stack(pieces, axis=2) for pieces in at)
            groups.append(_piece_energies(a, b[order], fit, 0, None))
        parts = jax.tree.map(lambda *x: jnp.concatenate(x, axis=1)[:, :count], *groups)
    return _scores(parts, moments, fit, images, bool(frames))


def _add(a, b):
    return jax.tree.map(jnp.add, a, b)


def _scale(peak):
    """What brings the greatest reference sample to 1, so that squares neither vanish nor overflow."""
    return jnp.where(peak > 0, 1 / jnp.where(peak > 0, peak, 1.0), 1.0)


def _blocks(signal, taps):
    """``(sources, channels, frames, samples)`` -> blocks of its rows."""
    return cut(signal.reshape(-1, *signal.shape[2:]), taps)


def _moments(reference, estimate, taps, first=0):
    """Second moments of ``(sources, channels, samples)`` signals, from sample ``first`` on."""
    counted = [jnp.where(jnp.arange(x.shape[-1]) >= first, x, 0.0) for x in (reference, estimate)]
    behind, here, there = (_blocks(x[:, :, None], taps) for x in (reference, *counted))
    image, given = (jnp.sum(jnp.square(x), axis=(1, 2))[:, None] for x in counted)
    return _Moments(correlations(behind, here), correlations(behind, there), image, given)


def _fit(moments, channels, permute):
    """Find the filters and the order of the estimates."""
    lags, right = moments.lags, moments.right
    sources = lags.shape[1] // channels
    at = jnp.arange(lags.shape[1]).reshape(sources, channels)
    every, own = fit_both(lags, right, at, permute)
    order = jnp.arange(sources)
    if permute and sources > 1:
        target = own.energy.reshape(sources, channels, sources, channels).sum((1, 3))
        order = _best_order(target, every.energy.reshape(-1, sources, channels).sum((0, 2)))
    taps = jax.vmap(lambda rows, columns: own.taps[:, rows[:, None], columns])(at, at[order])
    return _Fit(order, taps, every.taps[..., at[order].ravel()], every.condition)


def _best_order(target, explained):
    """``(references, estimates)`` and ``(estimates,)`` energies -> the order with the best mean SIR."""
    tiny = jnp.finfo(target.dtype).tiny
    sir = jnp.log(jnp.maximum(target, tiny)) - jnp.log(jnp.maximum(explained - target, tiny))
    sir = jnp.where((target > 0) & (explained > 0), sir, 0.0)
    orders = jnp.array(list(itertools.permutations(range(len(explained)))))
    mean = jnp.sum(sir[jnp.arange(len(explained)), orders], axis=1)
    return orders[jnp.argmax(mean)]


def _energies(reference, estimate, fit, first=0, last=None):
    """Energies of the parts of ``(sources, channels, frames, samples)`` signals, estimates in order."""
    taps = fit.own.shape[1]
    return part_energies(_blocks(reference, taps), _blocks(estimate, taps), fit.own, fit.every, first, last)


@partial(jax.jit, static_argnames=("images", "framewise"))
def _scores(parts: Energies, moments, fit, images, framewise):
    """Scores of each frame of ``parts``, and the special values."""
    given = moments.estimate[fit.order]
    if images:
        sdr, isr = _db(parts.image, parts.error), _db(parts.image, parts.spatial)
    else:
        sdr = jnp.where(given == 0, -jnp.inf, _db(parts.target, parts.distortion))
        isr = jnp.zeros_like(sdr)
    sir = _db(parts.target, parts.interference)
    alone = jnp.sum(moments.image > 0) == 1
    sir = jnp.where(alone & (parts.target > 0), jnp.inf, sir)
    sar = _db(parts.explained, parts.artifacts)
    silent = moments.image == 0
    if framewise:
        # As in museval; a source that is silent everywhere silences no frame of the others.
        quiet = (parts.image == 0) & ~silent | (parts.estimate == 0) & (given > 0)
        silent = silent | jnp.any(quiet, axis=0)
    unknown = silent | ~jnp.all(jnp.isfinite(moments.image + moments.estimate))

    def shown(figure):
        figure = jnp.where(unknown, jnp.nan, figure)
        return figure if framewise else figure[:, 0]

    order = fit.order.astype(jnp.int32)
    return BSSEval(shown(sdr), shown(isr), shown(sir), shown(sar), order, fit.condition)


def _db(energy, rest):
    """Ratio in dB: infinite where ``rest`` is 0, NaN where both are, with finite gradients."""
    ratio = 10 * (jnp.log10(jnp.where(energy > 0, energy, 1.0)) - jnp.log10(jnp.where(rest > 0, rest, 1.0)))
    ratio = jnp.where(rest > 0, ratio, jnp.where(energy > 0, jnp.inf, jnp.nan))
    return jnp.where((energy > 0) | (rest == 0), ratio, -jnp.inf)


_piece_moments = jax.jit(
    lambda reference, estimate, taps: _moments(reference, estimate, taps, taps - 1), static_argnums=2
)
_jitted_fit = jax.jit(_fit, static_argnames=("channels", "permute"))
_piece_energies = jax.jit(_energies)
