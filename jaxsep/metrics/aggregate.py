"""Scores of many frames and tracks in one figure; what is not a finite number is left out."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxsep._checks import as_float
from jaxsep._sharding import keeps_sharding
from jaxsep.metrics.bss_eval import bss_eval_sources
from jaxsep.metrics.ratios import si_sdr


def weighted_mean(scores, lengths) -> jax.Array:
    """Mean over tracks weighted by their lengths, so that SDR gives GSDR and NSDR gives GNSDR.

    Args:
      scores: ``(..., tracks)`` floats, dB; NaN and infinite ones are left out, with their lengths.
      lengths: ``(tracks,)`` floats, in any unit, or of a shape that broadcasts.

    Returns:
      ``(...,)`` float32, dB; NaN where no score is finite.

    Example:
      >>> weighted_mean(jnp.array([10.0, 4.0, jnp.nan]), jnp.array([1.0, 2.0, 9.0])).item()
      6.0

    References:
      P.-S. Huang et al., "Singing-voice separation from monaural recordings using deep recurrent
      neural networks", ISMIR 2014, eq. 10.
    """
    scores, lengths = as_float("scores", scores), as_float("lengths", lengths)
    finite = jnp.isfinite(scores)
    weights = jnp.where(finite, lengths, 0.0)
    total = jnp.sum(weights, axis=-1)
    mean = jnp.sum(weights * jnp.where(finite, scores, 0.0), axis=-1) / jnp.where(total > 0, total, 1.0)
    return jnp.where(total > 0, mean, jnp.nan)


def median_of_frames(scores) -> jax.Array:
    """Median over frames, and of those over tracks, as museval reports.

    Args:
      scores: ``(..., tracks, frames)`` floats, dB; NaN frames are left out. Pad tracks of different
        lengths with NaN.

    Returns:
      ``(...,)`` float32, dB; NaN where there is no frame.

    Example:
      >>> median_of_frames(jnp.array([[1.0, 9.0, 2.0], [4.0, jnp.nan, jnp.nan]])).item()
      3.0

    References:
      F.-R. Stöter, A. Liutkus and N. Ito, "The 2018 signal separation evaluation campaign", 2018.
    """
    return jnp.nanmedian(jnp.nanmedian(as_float("scores", scores), axis=-1), axis=-1)


@keeps_sharding
def nsdr(reference, estimate, mixture, **options) -> jax.Array:
    """Normalized SDR: by how much BSS Eval's SDR of the estimate exceeds that of the mixture.

    Args:
      reference, estimate: ``(..., sources, samples)`` floating-point waveforms, in one order.
      mixture: ``(..., samples)`` floating-point waveform.
      **options: ``filter_length`` and ``dtype`` of :func:`bss_eval_sources`.

    Returns:
      ``(..., sources)``, dB.

    Example:
      >>> s = jax.random.normal(jax.random.key(0), (2, 4000))
      >>> nsdr(s, s.sum(0) + 0 * s, s.sum(0), filter_length=16).tolist()
      [0.0, 0.0]

    References:
      A. Ozerov et al., "Adaptation of Bayesian models for single-channel source separation", 2007.
    """
    scores = bss_eval_sources(reference, estimate, permute=False, **options)
    base = bss_eval_sources(reference, _everywhere(mixture, reference), permute=False, **options)
    return scores.sdr - base.sdr


def si_sdr_improvement(reference, estimate, mixture) -> jax.Array:
    """By how much the SI-SDR of the estimate exceeds that of the mixture.

    Args:
      reference, estimate: ``(..., sources, samples)`` floating-point waveforms, in one order.
      mixture: ``(..., samples)`` floating-point waveform.

    Returns:
      ``(..., sources)`` float32, dB.

    Example:
      >>> s = jnp.array([[1.0, 0.0, -1.0, 0.0], [0.0, 1.0, 0.0, -1.0]])
      >>> si_sdr_improvement(s, s + 0.1 * s[::-1], s.sum(0)).round(3).tolist()
      [20.0, 20.0]
    """
    return si_sdr(reference, estimate) - si_sdr(reference, _everywhere(mixture, reference))


def _everywhere(mixture, reference):
    """The mixture as the estimate of every source."""
    mixture, shape = jnp.asarray(mixture), jnp.shape(reference)
    if mixture.shape != (*shape[:-2], shape[-1]):
        raise ValueError(f"mixture.shape={mixture.shape}: expected {(*shape[:-2], shape[-1])}")
    return jnp.broadcast_to(mixture[..., None, :], shape)
