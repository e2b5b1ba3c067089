"""A song made of numbers: a singing-like voice over instruments, for demonstrations and tests."""

from __future__ import annotations

import numpy as np

# Formants of sung vowels: center Hz, level dB, width Hz (after the tables of the Csound manual).
_VOWELS = {
    "a": ((800, 0, 80), (1150, -6, 90), (2900, -24, 120), (3900, -22, 130)),
    "e": ((400, 0, 60), (1650, -16, 90), (2750, -22, 120), (3500, -28, 150)),
    "i": ((350, 0, 60), (1800, -18, 90), (2700, -20, 120), (3600, -28, 150)),
    "o": ((450, 0, 70), (800, -9, 80), (2830, -18, 100), (3700, -24, 130)),
    "u": ((340, 0, 60), (720, -14, 70), (2700, -26, 110), (3500, -32, 150)),
}
_MELODY = (62, 65, 67, 69, 67, 65, 64, 62, 60, 62, 65, 69, 70, 69, 67, 65)
_CHORDS = ((50, 57, 62, 65), (46, 53, 58, 62), (48, 55, 60, 64), (45, 52, 57, 61))


def song(seconds: float = 12.0, sample_rate: int = 16000, seed: int = 0) -> dict[str, np.ndarray]:
    """Make a song.

    Args:
      seconds: its length.
      sample_rate: Hz.
      seed: of the melody, the vowels and the noise.

    Returns:
      ``vocals`` and ``accompaniment``, ``(samples,)`` float32 of equal energy, whose sum peaks at
      0.9.

    Example:
      >>> {name: part.shape for name, part in song(1.0, 8000).items()}
      {'vocals': (8000,), 'accompaniment': (8000,)}
    """
    rng = np.random.default_rng(seed)
    samples = round(seconds * sample_rate)
    parts = {
        "vocals": _voice(samples, sample_rate, rng),
        "accompaniment": _band(samples, sample_rate, rng),
    }
    parts = {name: part / np.sqrt(np.mean(part**2)) for name, part in parts.items()}
    peak = np.max(np.abs(sum(parts.values())))
    return {name: (0.9 / peak * part).astype(np.float32) for name, part in parts.items()}


def _voice(samples, rate, rng):
    """Harmonics of a gliding, trembling pitch, shaped by vowels, with breath and consonants."""
    step, note = 100, 0.42
    frames = samples * step // rate + 2
    time = np.arange(frames) / step
    index = (time / note).astype(int)
    notes = int(index[-1]) + 1
    pitch = np.array([_MELODY[(i + int(rng.integers(3))) % len(_MELODY)] for i in range(notes)])
    sung = rng.random(notes) > 0.15
    vowels = rng.choice(list(_VOWELS), notes)
    glide = np.ones(9) / 9
    midi = np.convolve(np.pad(pitch[index], 4, mode="edge"), glide, "valid")
    within = time - index * note
    midi = midi + 0.35 * np.sin(2 * np.pi * 5.5 * time) * np.clip(within / 0.2, 0, 1)
    midi = midi + 0.06 * np.convolve(rng.standard_normal(frames), glide, "same")
    hz = 440.0 * 2 ** ((midi - 69) / 12)
    loud = np.convolve(sung[index] * (0.6 + 0.4 * np.sin(np.pi * within / note)), np.ones(5) / 5, "same")
    formants = np.array([[_VOWELS[v][k] for v in vowels] for k in range(4)], float)
    formants = np.apply_along_axis(
        lambda x: np.convolve(np.pad(x[index], 4, "edge"), glide, "valid"), 1, formants
    )

    at = np.arange(samples) * step / rate
    grid = np.arange(frames)
    phase = 2 * np.pi * np.cumsum(np.interp(at, grid, hz)) / rate
    voice = np.zeros(samples)
    for k in range(1, int(0.48 * rate / hz.min())):
        level = loud * _envelope(k * hz, formants) * k**-0.6 * (k * hz < 0.48 * rate)
        voice += np.interp(at, grid, level) * np.sin(k * phase)
    onset = sung[index] * np.exp(-within / 0.03) * (rng.random(notes) > 0.4)[index]
    hiss = np.diff(rng.standard_normal(samples + 1))
    return voice + 0.08 * np.interp(at, grid, onset + 0.03 * loud) * hiss


def _envelope(hz, formants):
    """Amplitude that the vocal tract gives each frequency, for each frame."""
    center, level, width = formants[:, :, 0], formants[:, :, 1], formants[:, :, 2]
    return np.sum(10 ** (level / 20) / (1 + ((hz - center) / width) ** 2), axis=0) + 0.003


def _band(samples, rate, rng):
    """Plucked chords, a bass and drums."""
    beat = 0.42
    out = np.zeros(samples + rate)
    drums = np.zeros(samples + rate)
    for b in range(int(samples / rate / beat) + 1):
        chord = _CHORDS[(b // 4) % len(_CHORDS)]
        start = int(b * beat * rate)
        _add(out, start, 1.2 * _pluck(chord[0] - 12, 1.2, rate, rng))
        for half in range(2):
            place = start + int(half * beat / 2 * rate)
            _add(out, place, 0.8 * _pluck(chord[1 + (2 * b + half) % 3], 1.0, rate, rng))
            _add(out, place, 0.5 * _pluck(chord[1 + (2 * b + half + 1) % 3] + 12, 0.8, rate, rng))
            _add(drums, place, 0.12 * _noise(0.03, rate, rng))
        _add(drums, start, _kick(rate) if b % 2 == 0 else 0.5 * _noise(0.12, rate, rng))
    return (out / np.std(out) + 0.35 * drums / np.std(drums))[:samples]


def _pluck(midi, seconds, rate, rng):
    """A string: decaying harmonics, the high ones faster, slightly out of tune."""
    hz = 440.0 * 2 ** ((midi - 69) / 12)
    time = np.arange(int(seconds * rate)) / rate
    note = np.zeros(len(time))
    for k in range(1, int(min(20, 0.45 * rate / hz)) + 1):
        f = k * hz * np.sqrt(1 + 3e-4 * k * k)
        note += k**-1.1 * np.exp(-time * (2.0 + 0.9 * k)) * np.sin(2 * np.pi * f * time + rng.uniform(0, 6.3))
    return note * np.clip(time / 0.003, 0, 1)


def _kick(rate):
    time = np.arange(int(0.2 * rate)) / rate
    return np.exp(-time * 22) * np.sin(2 * np.pi * (50 * time + 5 * (1 - np.exp(-time * 30))))


def _noise(seconds, rate, rng):
    time = np.arange(int(4 * seconds * rate)) / rate
    return np.diff(rng.standard_normal(len(time) + 1)) * np.exp(-time / seconds)


def _add(out, start, sound):
    stop = min(len(out), start + len(sound))
    out[start:stop] += sound[: stop - start]
