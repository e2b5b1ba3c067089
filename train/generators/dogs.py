"""Generated dogs, for a class of which few recordings are free."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from train.generators.synthesis import coloured_noise, echoes, far, harmonics, level

#: What a dog does, and how often.
KINDS = {"bark": 6, "growl": 3, "whine": 3, "pant": 2, "howl": 1}


class _Cry(NamedTuple):
    """Smallest and largest figures of one kind of cry."""

    pitch: tuple[float, float]
    """Hz."""
    lasts: tuple[float, float]
    """Seconds."""
    pause: tuple[float, float]
    """Seconds between two."""
    breath: tuple[float, float]
    """Noise beside the voice, both about 1 in RMS."""


_CRIES = {
    "bark": _Cry((160, 1100), (0.06, 0.3), (0.05, 0.9), (0.1, 1.2)),
    "growl": _Cry((50, 160), (0.4, 2.5), (0.05, 0.8), (0.3, 2.0)),
    "whine": _Cry((500, 2200), (0.15, 1.2), (0.05, 0.8), (0.02, 0.4)),
    "pant": _Cry((160, 1100), (0.08, 0.2), (0.02, 0.15), (1.0, 1.0)),
    "howl": _Cry((250, 800), (1.0, 4.0), (0.2, 1.0), (0.02, 0.3)),
}


def dog(rng: np.random.Generator, samples: int, sample_rate: int) -> np.ndarray:
    """Generate a dog: cries of a voice and of breath, one after the other, noise, echoes.

    Args:
      rng: where its kind and all its figures are drawn from.
      samples: length.
      sample_rate: Hz.

    Returns:
      ``(samples,)`` float32, about 1 in RMS.

    Example:
      >>> dog(np.random.default_rng(0), 8000, 8000).shape
      (8000,)
    """
    chance = np.array(list(KINDS.values())) / sum(KINDS.values())
    audio = np.zeros(samples)
    for _ in range(rng.choice([1, 1, 2])):  # another thing it does, or another dog
        kind = list(KINDS)[rng.choice(len(KINDS), p=chance)]
        pitch, gate, breath = _cries(rng, kind, samples, sample_rate)
        voice = level(gate * harmonics(rng, pitch, sample_rate)) * (kind != "pant")
        noise = level(gate * _throat(rng, samples, sample_rate))
        audio = audio + 10 ** rng.uniform(-0.5, 0) * level(voice + breath * noise)
    audio = audio + 10 ** rng.uniform(-3.5, -1.2) * coloured_noise(rng, samples)
    if rng.random() < 0.6:
        audio = echoes(rng, audio, sample_rate)
    if rng.random() < 0.2:
        audio = far(rng, audio, sample_rate)
    return level(audio).astype(np.float32)


def _cries(rng, kind, samples, sample_rate):
    """Pitch in Hz and level over time, and how much noise there is beside the voice."""
    time = np.arange(samples) / sample_rate
    cry = _CRIES[kind]
    base = np.exp(rng.uniform(*np.log(cry.pitch)))
    usual, gap, bend = rng.uniform(*cry.lasts), rng.uniform(*cry.pause), rng.uniform(-0.1, 0.9)
    pitch, gate = np.full(samples, base), np.zeros(samples)
    now = -rng.uniform(0, usual + gap)
    while now < time[-1]:
        length = usual * rng.uniform(0.7, 1.4)
        first, last = np.searchsorted(time, [now, now + length])
        place = (time[first:last] - now) / length
        peak, attack = rng.uniform(0.1, 0.6), rng.uniform(0.02, 0.25)
        rise = np.where(place < peak, place / peak, (1 - place) / (1 - peak))
        pitch[first:last] *= rng.uniform(0.85, 1.15) * 2 ** (bend * np.sin(rise * np.pi / 2) - bend / 2)
        fall = np.exp(-rng.uniform(0.5, 5.0) * np.maximum(0, place - attack))
        gate[first:last] = rng.uniform(0.4, 1.0) * np.minimum(place / attack, 1) * fall * np.sqrt(1 - place)
        silence = gap * rng.uniform(0.4, 1.6) * (4.0 if kind == "bark" and rng.random() < 0.15 else 1.0)
        now += length + silence
    trembling = rng.uniform(0.0, 0.03) * _slow_noise(rng, samples, sample_rate, rng.uniform(10, 60))
    if kind == "growl" or rng.random() < 0.3:
        rough = np.sin(2 * np.pi * rng.uniform(18, 70) * time * (1 + trembling))
        gate = gate * (1 + rng.uniform(0.3, 0.9) * rough)
    return pitch * np.exp(trembling), gate, rng.uniform(*cry.breath)


def _throat(rng, samples, sample_rate):
    """Noise through two resonances of a throat."""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    frequency = np.maximum(np.fft.rfftfreq(samples, 1 / sample_rate), 1.0)
    centres, widths = np.exp(rng.uniform(*np.log([400, 5000]), 2)), rng.uniform(0.15, 0.7, 2)
    octaves = np.log(frequency[:, None] / centres) / widths
    return np.fft.irfft(spectrum * (0.05 + np.exp(-np.square(octaves) / 2).sum(axis=1)), samples)


def _slow_noise(rng, samples, sample_rate, cutoff):
    """Noise below ``cutoff`` Hz, about 1 in RMS."""
    points = max(2, round(samples / sample_rate * 2 * cutoff))
    return np.interp(np.arange(samples), np.linspace(0, samples, points), rng.standard_normal(points))
