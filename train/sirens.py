"""Generated sirens, for a class of which few recordings are free."""

from __future__ import annotations

import numpy as np

KINDS = ("wail", "yelp", "hi_lo", "air_raid", "beeps", "steady")


def siren(rng: np.random.Generator, samples: int, sample_rate: int) -> np.ndarray:
    """Generate a siren: a pitch contour, harmonics through a horn, noise, echoes of a street.

    Args:
      rng: where its kind and all its figures are drawn from.
      samples: length.
      sample_rate: Hz.

    Returns:
      ``(samples,)`` float32, about 1 in RMS.

    Example:
      >>> siren(np.random.default_rng(0), 8000, 8000).shape
      (8000,)
    """
    kind = KINDS[rng.integers(len(KINDS))]
    time = np.arange(samples) / sample_rate
    pitch, gate = _contour(rng, kind, time)
    audio = _harmonics(rng, pitch, sample_rate) * gate
    drift = 1 + 0.3 * np.sin(2 * np.pi * (rng.uniform(0.05, 0.4) * time + rng.random()))
    audio = audio * drift
    noise = rng.standard_normal(samples) * 10 ** rng.uniform(-3.0, -1.0)
    audio = audio / np.sqrt(np.mean(np.square(audio)) + 1e-12) + noise
    if rng.random() < 0.6:
        audio = _echoes(rng, audio, sample_rate)
    return (audio / np.sqrt(np.mean(np.square(audio)) + 1e-12)).astype(np.float32)


def _contour(rng, kind, time):
    """Pitch in Hz over time, and what its level is multiplied by."""
    low = rng.uniform(350, 900)
    span = rng.uniform(1.4, 2.6)
    gate = np.ones_like(time)
    if kind in ("wail", "yelp", "hi_lo"):
        period = rng.uniform(2.0, 7.0) if kind == "wail" else rng.uniform(0.15, 0.5)
        period = rng.uniform(0.7, 1.6) if kind == "hi_lo" else period
        place = (time / period + rng.random()) % 1.0
        rise = rng.uniform(0.3, 0.7)
        sweep = np.where(place < rise, place / rise, (1 - place) / (1 - rise))
        if kind == "hi_lo":
            span, sweep = rng.uniform(1.15, 1.5), (place < 0.5).astype(float)
        elif rng.random() < 0.5:
            sweep = 0.5 - 0.5 * np.cos(np.pi * sweep)
        pitch = low * span**sweep
    elif kind == "air_raid":
        place = (time / rng.uniform(6.0, 14.0) + rng.random()) % 1.0
        swell = np.clip(np.sin(np.pi * place) * rng.uniform(1.0, 2.0), 0.02, 1.0)
        pitch = rng.uniform(250, 650) * swell**0.5
        gate = 0.2 + 0.8 * swell
    else:
        pitch = np.full_like(time, low * rng.uniform(1.0, 3.0))
        if kind == "beeps":
            place = (time / rng.uniform(0.2, 1.2) + rng.random()) % 1.0
            gate = np.clip(np.minimum(place, 0.7 - place) * 100, 0.01, 1.0)
    vibrato = rng.uniform(0.0, 0.01) * np.sin(2 * np.pi * rng.uniform(4, 20) * time)
    return pitch * (1 + vibrato), gate


def _harmonics(rng, pitch, sample_rate):
    """Harmonics that fall off and pass two resonances; none above half the sample rate."""
    phase = 2 * np.pi * np.cumsum(pitch) / sample_rate
    turn = np.exp(1j * phase).astype(np.complex64)
    slope, odd = rng.uniform(0.3, 2.0), rng.random() < 0.4
    centres, widths = rng.uniform(600, 4000, 2), rng.uniform(0.15, 0.6, 2)
    audio, wave = np.zeros(len(pitch), np.float32), np.ones_like(turn)
    now, some = np.arange(len(pitch)), np.arange(0, len(pitch), 64)
    for k in range(1, 17):
        wave = wave * turn
        if odd and k % 2 == 0:
            continue
        frequency = k * pitch[some]
        octaves = np.log(frequency[:, None] / centres) / widths
        peaks = np.exp(-np.square(octaves) / 2).sum(axis=1)
        level = k**-slope * (0.15 + peaks) * (frequency < 0.48 * sample_rate)
        audio += np.interp(now, some, level).astype(np.float32) * wave.real
    return audio


def _echoes(rng, audio, sample_rate):
    """Convolve with a direct path and a decaying tail of noise."""
    tail = round(rng.uniform(0.1, 0.6) * sample_rate)
    decay = np.exp(-np.arange(tail) * 6.9 / tail) * rng.standard_normal(tail)
    response = decay * rng.uniform(0.02, 0.15)
    response[0] = 1.0
    size = 1 << (len(audio) + tail - 1).bit_length()
    product = np.fft.rfft(audio, size) * np.fft.rfft(response, size)
    return np.fft.irfft(product, size)[: len(audio)]
