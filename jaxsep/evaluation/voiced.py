"""Scores apart where a stem is voiced and where it is not: by its pitch, as librosa tracks it."""

from __future__ import annotations

import numpy as np

from jaxsep.metrics import si_sdr

#: What is reported of each stem beside the rest: the SI-SDR gained where the stem that decides has a
#: pitch, and where it has none.
VOICED_FIGURES = ("si_sdri_voiced", "si_sdri_unvoiced")
#: Pitches of voices, C2 to C6, Hz.
PITCHES = (65.4, 1046.5)


def voiced_samples(signal: np.ndarray, sample_rate: int) -> np.ndarray:
    """Find where a signal has a pitch, by the probabilistic YIN of :func:`librosa.pyin`.

    Args:
      signal: ``(samples,)`` floats, one voice.
      sample_rate: Hz.

    Returns:
      ``(samples,)`` bool, decided every 32 ms.

    Example:
      >>> tone = np.sin(2 * np.pi * 220 * np.arange(8000) / 8000).astype(np.float32)
      >>> found = voiced_samples(np.concatenate([tone, np.zeros(8000, np.float32)]), 8000)
      >>> bool(found[2000:6000].all()), bool(found[10000:].any())
      (True, False)

    References:
      M. Mauch, S. Dixon, "pYIN: a fundamental frequency estimator using probabilistic threshold
      distributions", ICASSP 2014.
    """
    from librosa import pyin

    hop = max(1, round(0.032 * sample_rate))
    low, high = PITCHES
    _, voiced, _ = pyin(
        signal,
        fmin=low,
        fmax=min(high, sample_rate / 4),
        sr=sample_rate,
        frame_length=4 * hop,
        hop_length=hop,
    )
    # Frames are centered at multiples of the hop.
    nearest = (np.arange(signal.shape[-1]) + hop // 2) // hop
    return voiced[np.minimum(nearest, len(voiced) - 1)]


def score_voiced(
    references: np.ndarray, estimates: np.ndarray, mixture: np.ndarray, voiced: np.ndarray
) -> dict[str, np.ndarray]:
    """SI-SDR gained over the mixture in voiced samples alone, and in the others alone.

    Args:
      references, estimates: ``(sources, channels, samples)`` floats.
      mixture: ``(channels, samples)``.
      voiced: ``(samples,)`` bool.

    Returns:
      :data:`VOICED_FIGURES`, each ``(sources, channels)`` dB; NaN where there are no such samples.

    Example:
      >>> s = np.random.default_rng(0).standard_normal((2, 1, 100)).astype(np.float32)
      >>> figures = score_voiced(s, np.broadcast_to(s.sum(0), s.shape), s.sum(0), np.arange(100) < 50)
      >>> {name: values.tolist() for name, values in figures.items()}
      {'si_sdri_voiced': [[0.0], [0.0]], 'si_sdri_unvoiced': [[0.0], [0.0]]}
    """
    everywhere = np.broadcast_to(mixture, references.shape)

    def gained(where):
        if not where.any():
            return np.full(references.shape[:2], np.nan)
        # Zeros elsewhere: SI-SDR removes no mean, so they do not count, and one length is one program.
        s, e, m = (np.where(where, x, np.float32(0)) for x in (references, estimates, everywhere))
        return np.asarray(si_sdr(s, e)) - np.asarray(si_sdr(s, m))

    return dict(zip(VOICED_FIGURES, (gained(voiced), gained(~voiced)), strict=True))
