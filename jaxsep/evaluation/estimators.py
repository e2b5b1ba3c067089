"""Estimates made on the spot: by a model, or by a baseline that needs no training."""

from __future__ import annotations

from collections.abc import Callable

import jax
import numpy as np

from jaxsep.baselines import ORACLES, hpss, oracle, repet
from jaxsep.errors import UserError
from jaxsep.evaluation.lengths import pad
from jaxsep.separator import Separator

#: From the references ``{stem: (channels, samples)}`` and their Hz to estimates of that form.
Estimator = Callable[[dict[str, np.ndarray], int], dict[str, np.ndarray]]

#: Name -> what it is.
BASELINES = {
    "mixture": "the mixture itself: doing nothing",
    "ibm": "oracle: ideal binary mask",
    "irm": "oracle: ideal ratio mask of magnitudes",
    "wiener": "oracle: ideal ratio mask of powers",
    "psm": "oracle: phase-sensitive mask",
    "hpss": "harmonic-percussive medians: drums and one more stem",
    "repet": "repetition: vocals and one more stem",
}


_oracle = jax.jit(oracle, static_argnums=1)


def model_estimator(separator: Separator) -> Estimator:
    """Separate the sum of the references with a model."""

    def estimate(references, sample_rate):
        return separator(np.sum(list(references.values()), axis=0), sample_rate)

    return estimate


def baseline_estimator(name: str) -> Estimator:
    """Return the baseline of that name in :data:`BASELINES`.

    Raises:
      UserError: there is none; or later, the references lack the stems that it separates.
    """
    if name not in BASELINES:
        raise UserError(f"baseline={name!r}: expected one of {', '.join(BASELINES)}", "baseline")
    if name == "mixture":
        return lambda references, _: dict.fromkeys(references, np.sum(list(references.values()), axis=0))
    if name in ORACLES:
        return lambda references, _: _by_oracle(name, references)
    return {"hpss": _by_hpss, "repet": _by_repet}[name]


def _by_oracle(name, references):
    channels_first = np.stack(list(references.values()), axis=1)
    estimates = np.asarray(_oracle(*pad(channels_first), name))[..., : channels_first.shape[-1]]
    return {stem: estimates[:, i] for i, stem in enumerate(references)}


def _by_hpss(references, _):
    drums, rest = _two_stems("hpss", references, "drums")
    parts = hpss(np.sum(list(references.values()), axis=0))
    return {drums: np.asarray(parts.percussive), rest: np.asarray(parts.harmonic)}


def _by_repet(references, sample_rate):
    vocals, rest = _two_stems("repet", references, "vocals")
    hop = 256
    parts = repet(
        np.sum(list(references.values()), axis=0),
        min_period=round(0.8 * sample_rate / hop),
        max_period=round(8.0 * sample_rate / hop),
        hop_length=hop,
        highpass_bin=round(100 * 1024 / sample_rate),
    )
    return {vocals: np.asarray(parts.foreground), rest: np.asarray(parts.background)}


def _two_stems(baseline, references, first):
    others = [stem for stem in references if stem != first]
    if first not in references or len(others) != 1:
        raise UserError(
            f"baseline={baseline!r}: separates {first!r} and one more stem, the references hold "
            f"{', '.join(references)}"
        )
    return first, others[0]
