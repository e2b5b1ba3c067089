"""Generated sirens, for a class of which few recordings are free."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jaxsep.augment import in_room
from jaxsep.parts import register
from train.data.generators.synthesis import colored_noise, draw_room, far, harmonics, level

#: What a siren does, and how often.
KINDS = {"wail": 3, "yelp": 2, "hi_lo": 2, "air_raid": 5, "horn": 2, "beeps": 1}


def siren(rng: np.random.Generator, samples: int, sample_rate: int) -> np.ndarray:
    """Generate a siren: tones that follow a contour, noise, overdrive, echoes of a street.

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
    time = np.arange(samples) / sample_rate
    audio = _tones(rng, time, sample_rate)
    if rng.random() < 0.15:  # another one not far away
        audio = audio + rng.uniform(0.3, 1.0) * _tones(rng, time, sample_rate)
    if rng.random() < 0.4:  # louder than what plays or records it can take
        audio = np.tanh(10 ** rng.uniform(-0.3, 0.7) * audio)
    drift = 1 + 0.3 * np.sin(2 * np.pi * (rng.uniform(0.05, 0.4) * time + rng.random()))
    audio = audio * drift + 10 ** rng.uniform(-3.0, -1.0) * colored_noise(rng, samples)
    if rng.random() < 0.7:
        audio = in_room(audio, draw_room(rng, sample_rate))
    if rng.random() < 0.5:
        audio = far(rng, audio, sample_rate)
    return level(audio).astype(np.float32)


@register("generator", "siren")
@dataclass(frozen=True)
class Siren:
    """:func:`siren`."""

    def __call__(self, rng: np.random.Generator, samples: int, sample_rate: int) -> np.ndarray:
        """``(samples,)`` float32."""
        return siren(rng, samples, sample_rate)


def _tones(rng, time, sample_rate):
    """A siren as it leaves its horn: one tone, or up to three that move together, and their noise."""
    chance = np.array(list(KINDS.values())) / sum(KINDS.values())
    kind = list(KINDS)[rng.choice(len(KINDS), p=chance)]
    pitch, gate = _contour(rng, kind, time)
    audio = level(harmonics(rng, pitch, sample_rate))
    for _ in range(rng.choice(3, p=[0.3, 0.4, 0.3] if kind == "air_raid" else [0.7, 0.2, 0.1])):
        ratio = rng.choice([1.0, 5 / 6, 4 / 5, 2 / 3, 5 / 8, 1 / 2]) * rng.uniform(0.995, 1.005)
        audio = audio + rng.uniform(0.3, 1.0) * level(harmonics(rng, ratio * pitch, sample_rate))
    return gate * (level(audio) + 10 ** rng.uniform(-2.5, -0.2) * colored_noise(rng, len(time)))


def _contour(rng, kind, time):
    """Pitch in Hz over time, and what its level is multiplied by."""
    low = rng.uniform(350, 900)
    span = rng.uniform(1.4, 2.6)
    gate = np.ones_like(time)
    if kind in ("wail", "yelp", "hi_lo"):
        period = rng.uniform(2.0, 7.0) if kind == "wail" else rng.uniform(0.15, 0.5)
        period = rng.uniform(0.7, 1.6) if kind == "hi_lo" else period
        place = (time / period + rng.random()) % 1.0
        rise = rng.uniform(0.15, 0.7)
        sweep = np.where(place < rise, place / rise, (1 - place) / (1 - rise))
        if kind == "hi_lo":
            span, sweep = rng.uniform(1.15, 1.5), (place < 0.5).astype(float)
        elif rng.random() < 0.5:
            sweep = 0.5 - 0.5 * np.cos(np.pi * sweep)
        pitch = low * span**sweep
    elif kind == "air_raid":  # a motor runs up, holds, and runs down
        place = (time / rng.uniform(6.0, 20.0) + rng.random()) % 1.0
        up, down = rng.uniform(0.1, 0.4), rng.uniform(0.1, 0.5)
        swell = np.clip(np.minimum(1 - np.exp(-3 * place / up), (1 - place) / down), 0.05, 1.0)
        pitch = rng.uniform(220, 650) * swell ** rng.uniform(0.3, 1.0)
        gate = swell
    elif kind == "horn":  # bursts that swell, fade and ring
        period = rng.uniform(0.8, 3.0)
        place = (time / period + rng.random()) % 1.0
        bend = 1 - rng.uniform(0.0, 0.3) * np.exp(-place / rng.uniform(0.02, 0.2))
        pitch = rng.uniform(180, 900) * bend
        gate = np.clip(place / rng.uniform(0.01, 0.3), 0, 1) * np.exp(-place * rng.uniform(0.0, 4.0))
    else:
        pitch = np.full_like(time, low * rng.uniform(1.0, 3.0))
        place = (time / rng.uniform(0.2, 1.2) + rng.random()) % 1.0
        gate = np.clip(np.minimum(place, 0.7 - place) * 100, 0.01, 1.0)
    vibrato = rng.uniform(0.0, 0.01) * np.sin(2 * np.pi * rng.uniform(4, 20) * time)
    return pitch * (1 + vibrato), gate
