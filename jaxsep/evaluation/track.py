"""Scores of one track, and of many in one figure."""

from __future__ import annotations

import warnings
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from jaxsep.evaluation.lengths import pad
from jaxsep.evaluation.voiced import score_voiced
from jaxsep.metrics import bss_eval_images, bss_eval_sources, median_of_frames, si_sdr, weighted_mean
from jaxsep.metrics.bss_eval import LONG

#: What is reported of each stem, dB. ``nsdr`` and ``si_sdri`` are improvements over the mixture.
FIGURES = ("sdr", "sir", "sar", "nsdr", "si_sdr", "si_sdri")
#: A reference this many dB below the mixture is silent: the rounding of a lossy format, or a tail that
#: nobody hears.
INAUDIBLE_DB = 60.0
#: What is reported of each stem where frames are scored one by one.
FRAME_FIGURES = ("sdr", "isr", "sir", "sar", "si_sdr", "si_sdri")


#: Whose BSS Eval.
Judge = Literal["jaxsep", "mir_eval"]


class Frames(NamedTuple):
    """Frames to score one by one, in samples."""

    window: int
    hop: int


def score_track(
    references: np.ndarray,
    estimates: Any,
    frames: Frames | None = None,
    judge: Judge = "jaxsep",
    voiced: np.ndarray | None = None,
) -> list[dict]:
    """Score the sources of one track in the order given.

    Args:
      references: ``(sources, channels, samples)`` floats; their sum is taken as the mixture.
        A channel more than :data:`INAUDIBLE_DB` below it counts as silent.
      estimates: a sequence with ``(channels, samples)`` floats for each source, or None where there
        is no estimate.
      frames: score the images of frames one by one and report their median, as museval does, instead
        of the whole's sources, as MIR-1K's results do.
      judge: whose BSS Eval scores the whole: ours, or mir_eval's, slow and independent. Frames are always
        scored by ours.
      voiced: ``(samples,)`` bool: also score these samples and the others apart.

    Returns:
      One dict per source: :data:`FIGURES` in dB, the mean over channels, or :data:`FRAME_FIGURES`, with
      :data:`~jaxsep.evaluation.voiced.VOICED_FIGURES` where ``voiced`` is given; and ``silent``:
      ``"reference"`` or ``"estimate"`` where that is silent (or missing) and every figure is None. A
      perfect estimate scores ``inf``.

    References:
      E. Vincent, R. Gribonval, C. Févotte, "Performance measurement in blind audio source
      separation", IEEE TASLP 14(4), 2006, with filters of 512 taps, in float64.
    """
    references = np.asarray(references, np.float32)
    mixture = references.sum(axis=0)
    references = mute_inaudible(references)
    everywhere = np.broadcast_to(mixture, references.shape)
    heard = np.array([e is not None and bool(np.any(e)) for e in estimates])
    # Each source is judged on its own: the mixture stands in for an estimate that is not there.
    given = [np.asarray(e, np.float32) if h else mixture for e, h in zip(estimates, heard, strict=True)]
    if frames:
        figures = _frames(references, np.stack(given), frames)
    else:
        figures = _whole(references, given, everywhere, judge)
    figures["si_sdr"], before = (_si_sdr(references, x) for x in (given, everywhere))
    with np.errstate(invalid="ignore"):  # perfect where there is nothing to improve
        figures["si_sdri"] = figures["si_sdr"] - before
    if "nsdr" in figures:  # nothing to improve where the mixture is the source
        figures["nsdr"] = np.where(np.isposinf(before), figures["si_sdri"], figures["nsdr"])
    if voiced is not None:
        figures |= score_voiced(references, np.stack(given), mixture, voiced)
    rows: list[dict] = []
    for i, reference in enumerate(references):
        row = {name: _mean_or_none(values[i]) if heard[i] else None for name, values in figures.items()}
        silent = "reference" if not np.any(reference) else None if heard[i] else "estimate"
        rows.append({**row, "silent": silent})
    return rows


def mute_inaudible(references: np.ndarray) -> np.ndarray:
    """Return references, those replaced by zeros that lie :data:`INAUDIBLE_DB` below the mixture.

    Args:
      references: ``(sources, samples)`` or ``(sources, channels, samples)`` floats, whose sum over
        sources is the mixture; each channel is compared with the mean of the mixture's.

    Example:
      >>> tone = np.sin(np.arange(1000.0))
      >>> np.abs(mute_inaudible(np.stack([tone, 1e-2 * tone, 1e-4 * tone]))).max(axis=1).round(2).tolist()
      [1.0, 0.01, 0.0]
    """

    def energy(x):  # a buffer at a time, not a copy in float64
        return np.einsum("...i,...i->...", x, x, dtype=np.float64)[..., None]

    mixture = np.mean(energy(np.sum(references, axis=0)))
    inaudible = energy(references) < 10 ** (-INAUDIBLE_DB / 10) * mixture
    if not inaudible.any():
        return references
    return np.where(inaudible, 0, references).astype(references.dtype, copy=False)


def summarize(tracks: dict, figures: tuple[str, ...] = FIGURES) -> dict[str, dict]:
    """One figure of many tracks, for each stem.

    Args:
      tracks: ``{track: {stem: row}}`` of :func:`score_track`'s rows with ``seconds``.
      figures: :data:`FIGURES`, whose mean is weighted by the tracks' lengths (so ``nsdr`` becomes
        GNSDR), or :data:`FRAME_FIGURES`, whose median over tracks is reported. Infinite figures, as of
        perfect estimates, are counted (``perfect``) and left out of means.
    """
    summary = {}
    for stem in sorted({s for stems in tracks.values() for s in stems}):
        rows = [stems[stem] for stems in tracks.values() if stem in stems]
        summary[stem] = {name: _over_tracks(rows, name, "isr" not in figures) for name in figures}
        summary[stem]["tracks"] = len(rows)
        for which in ("reference", "estimate"):
            summary[stem][f"silent {which}s"] = sum(row["silent"] == which for row in rows)
        summary[stem]["perfect"] = sum(row["si_sdr"] == np.inf for row in rows)
    return summary


def _whole(references, given, everywhere, judge):
    """Figures ``(sources, channels)`` of the whole track, each channel on its own: no other is copied."""
    score = {"jaxsep": _sources, "mir_eval": _sources_by_mir_eval}[judge]
    figures = {name: np.full(references.shape[:2], np.nan) for name in FIGURES[:4]}
    for c in range(references.shape[1]):
        (sdr, sir, sar), (base, *_) = (
            score(references[:, c], estimates)
            for estimates in (np.stack([e[c] for e in given]), everywhere[:, c])
        )
        figures["sdr"][:, c], figures["sir"][:, c], figures["sar"][:, c] = sdr, sir, sar
        figures["nsdr"][:, c] = sdr - base
    return figures


def _si_sdr(references, estimates):
    """SI-SDR ``(sources, channels)``, a signal at a time: a long track is not held once more."""
    figures = np.empty(references.shape[:2], np.float32)
    for i, c in np.ndindex(figures.shape):
        figures[i, c] = _fused_si_sdr(*pad(references[i, c], estimates[i][c]))
    return figures


_fused_si_sdr = jax.jit(si_sdr)


def _sources(references, estimates):
    """Padded with zeros, which change no score, for few compilations; long ones go in equal pieces anyhow."""
    if references.size <= LONG:
        references, estimates = pad(references, estimates)
    scores = bss_eval_sources(references, estimates, permute=False, dtype="float64")
    return scores.sdr, scores.sir, scores.sar


def _sources_by_mir_eval(references, estimates):
    """The same by mir_eval, which refuses silent references: NaN there, the others as without them."""
    from mir_eval.separation import bss_eval_sources as judge

    figures = np.full((3, len(references)), np.nan)
    active = np.any(references, axis=1)
    if active.any():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of the version after, which is excluded
            scores = judge(references[active], estimates[active], compute_permutation=False)
        figures[:, active] = scores[:3]
    return figures


def _frames(references, given, frames):
    scores = bss_eval_images(
        references, given, permute=False, window=frames.window, hop=frames.hop, dtype="float64"
    )
    named = {"sdr": scores.sdr, "isr": scores.isr, "sir": scores.sir, "sar": scores.sar}
    return {name: np.array([[_median(row)] for row in values]) for name, values in named.items()}


def _median(frames):
    frames = frames[~np.isnan(frames)]
    return np.median(frames) if frames.size else np.nan


def _over_tracks(rows, name, weighted):
    values = np.array([np.nan if row[name] is None else row[name] for row in rows], np.float32)
    if not np.isfinite(values).any():
        return _mean_or_none(values)
    if weighted:
        value = weighted_mean(values, np.array([row["seconds"] for row in rows], np.float32))
    else:
        value = median_of_frames(values[:, None])
    return round(float(value), 4)


def _mean_or_none(values):
    """The mean of what is known: infinite where a part is, None where nothing is."""
    values = values[~np.isnan(values)]
    if not values.size or np.isin([np.inf, -np.inf], values).all():
        return None
    return round(float(values.mean()), 4)
