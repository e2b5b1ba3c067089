"""What generated sounds are made of: harmonics, noise, a way through air and a room."""

from __future__ import annotations

import numpy as np

from jaxsep.augment import room_response

#: Seconds of the longest tail of a room, as a power of ten.
LONGEST_ROOM = 0.5


def harmonics(rng, pitch, sample_rate):
    """Harmonics that fall off and pass two resonances; none above the Nyquist frequency."""
    phase = 2 * np.pi * np.cumsum(pitch) / sample_rate
    turn = np.exp(1j * phase).astype(np.complex64)
    slope, odd = rng.uniform(0.3, 2.0), rng.random() < 0.4
    centers, widths = rng.uniform(600, 4000, 2), rng.uniform(0.15, 0.6, 2)
    audio, wave = np.zeros(len(pitch), np.float32), np.ones_like(turn)
    some = np.minimum(np.arange(0, len(pitch) + 64, 64), len(pitch) - 1)
    ramp = np.linspace(0, 1, 64, endpoint=False, dtype=np.float32)
    for k in range(1, 33):
        wave = wave * turn
        if odd and k % 2 == 0:
            continue
        frequency = k * pitch[some]
        octaves = np.log(frequency[:, None] / centers) / widths
        peaks = np.exp(-np.square(octaves) / 2).sum(axis=1)
        gains = (k**-slope * (0.15 + peaks) * (frequency < 0.48 * sample_rate)).astype(np.float32)
        if gains.max() < 1e-3:
            continue
        between = gains[:-1, None] + np.diff(gains)[:, None] * ramp
        audio += between.reshape(-1)[: len(audio)] * wave.real
    return audio


def colored_noise(rng, samples):
    """Noise between white and brown, about 1 in RMS."""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    spectrum *= np.arange(1, len(spectrum) + 1) ** -rng.uniform(0.0, 1.0)
    return level(np.fft.irfft(spectrum, samples))


def level(audio):
    """Bring to an RMS of 1."""
    return audio / np.sqrt(np.mean(np.square(audio)) + 1e-12)


def far(rng, audio, sample_rate):
    """Lose the high frequencies on a long way through air."""
    spectrum = np.fft.rfft(audio)
    frequency = np.fft.rfftfreq(len(audio), 1 / sample_rate)
    spectrum *= 1 / (1 + np.square(frequency / rng.uniform(800, 5000)))
    return np.fft.irfft(spectrum, len(audio))


def draw_room(rng, sample_rate):
    """Draw the impulse response of a room, ``(taps,)`` float32."""
    tail, amount, seed = room_figures(rng, sample_rate)
    return room_response(np.zeros(0), tail, tail, amount, seed)


def room_figures(rng, sample_rate):
    """Draw the samples, level and noise of a room's tail: what :func:`jaxsep.augment.room_response` takes."""
    tail = round(10 ** rng.uniform(-1.0, LONGEST_ROOM) * sample_rate)
    return tail, rng.uniform(0.02, 0.15), int(rng.integers(2**32))
