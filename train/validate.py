"""Scores on validation recordings, whole, as a user would separate them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxsep.errors import UserError
from jaxsep.evaluation import mute_inaudible
from jaxsep.inference import separate_long
from jaxsep.metrics import si_sdr_improvement, weighted_mean
from jaxsep.system import System
from train.batches import Recordings


@dataclass(frozen=True)
class Validation:
    """What validation found."""

    score: float
    """dB: SI-SDR improvement, mean over sources, weighted by length over recordings."""
    mean: dict[str, float]
    """The same for each source."""
    examples: dict[str, dict[str, np.ndarray]]
    """Recording -> mixture and stems, ``(samples,)`` float32."""


@jax.jit
def _all_finite(variables):
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(variables)]))


@partial(jax.jit, static_argnums=0)
def _separate(system: System, variables, windows):
    return system.separate(variables, windows)


def validate(
    system: System, variables, recordings: Recordings, examples: int = 0, stop: object = False
) -> Validation | None:
    """Separate every recording and score it; None as soon as ``stop`` is true.

    Raises:
      UserError: a variable is not finite: masks may hide it, but such a model has no score.
    """
    if not _all_finite(variables):
        raise UserError("the model's parameters are not finite: no score, and nothing to publish")
    rows, kept = [], {}
    for i, name in enumerate(recordings.names):
        if stop:
            return None
        sources = recordings.track(i)
        mixture = sources.sum(axis=0)
        stems = separate_long(
            partial(_separate, system, variables),
            mixture[None],
            num_sources=len(sources),
            segment=system.segment,
            overlap=system.overlap,
        )[:, 0]
        rows.append(np.asarray(si_sdr_improvement(mute_inaudible(sources), stems, mixture)))
        if i < examples:
            kept[name] = {"mixture": mixture, **dict(zip(system.config.sources, stems, strict=True))}
    mean = np.nan_to_num(weighted_mean(np.array(rows).T, recordings.lengths.astype(float)))
    names = dict(zip(system.config.sources, (round(float(v), 3) for v in mean), strict=True))
    return Validation(float(mean.mean()), names, kept)
