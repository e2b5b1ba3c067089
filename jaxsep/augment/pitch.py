"""Pitch and tempo, each without the other: a phase vocoder, and resampling after it."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from jaxsep._checks import as_float, at_least, at_least_ndim, standard_promotion
from jaxsep.augment.speed import resample_at
from jaxsep.spectral.fourier import analysis_window, analyze, magnitude, synthesize

_N_FFT, _HOP, _TAPS = 2048, 512, 32


@standard_promotion
def time_stretch(x, rate, length: int | None = None) -> jax.Array:
    """Play a waveform faster or slower at the same pitch.

    Args:
      x: ``(..., samples)`` floats.
      rate: above 1 is faster; may be traced when ``length`` is given.
      length: samples to return, zeros beyond the end; ``round(samples / rate)`` when None.

    Returns:
      ``(..., length)`` float32.

    Raises:
      ValueError: integers, an empty array, or a rate that is not positive.

    Example:
      >>> time_stretch(jnp.ones(24000), 1.2).shape
      (20000,)

    Equal to ``librosa.effects.time_stretch``, the last window aside: x is followed by silence here, and
    simply ends there. What rounding does to the phase of a weak bin stays in the frames behind it, up to a
    hundredth of the largest value in noise.
    """
    x, rate = _checked(x, "rate", rate)
    length = round(x.shape[-1] / rate) if length is None else at_least("length", length, 1)
    return change_pitch_and_tempo(x, 1.0, rate, length, 1.0)


@standard_promotion
def pitch_shift(x, semitones, *, most: float = 12.0) -> jax.Array:
    """Shift the pitch of a waveform at the same tempo and length.

    Args:
      x: ``(..., samples)`` floats.
      semitones: may be traced; fractions are allowed.
      most: largest ``semitones`` that may come; it sizes intermediate arrays when traced.

    Returns:
      Array of the same shape.

    Raises:
      ValueError: integers, an empty array, or more semitones than ``most``.

    Example:
      >>> pitch_shift(jnp.ones(24000), 4).shape
      (24000,)

    As ``librosa.effects.pitch_shift``, which resamples with another filter. What a shift upwards
    would carry beyond the Nyquist frequency is taken away before.
    """
    x, semitones = _checked(x, "semitones", semitones, -most, most)
    most = semitones if isinstance(semitones, float) else most
    return change_pitch_and_tempo(x, 2.0 ** (semitones / 12.0), 1.0, x.shape[-1], 2.0 ** (most / 12.0))


@standard_promotion
def random_pitch_and_tempo(
    key: jax.Array,
    sources: jax.Array,
    semitones: tuple[float, ...],
    rates: tuple[float, ...],
    length: int,
) -> jax.Array:
    """Shift and stretch each source by one of the given steps and rates, drawn evenly.

    One vocoder does both whatever is drawn, so that nothing is computed and thrown away under
    ``vmap``, as the branches of a ``switch`` would be.

    Args:
      key: a JAX random key.
      sources: ``(sources, samples)`` waveforms, at least ``length * max(rates)`` samples, so that
        the fastest does not run out (what is missing is zero).
      semitones: steps of pitch; none for no shift.
      rates: rates of tempo; none for no stretch.
      length: samples to return.

    Returns:
      ``(sources, length)``.

    Example:
      >>> x = jnp.ones((2, 12000))
      >>> random_pitch_and_tempo(jax.random.key(0), x, (-2, 0, 2), (1.0, 1.2), 10000).shape
      (2, 10000)
    """
    pitch, tempo = jax.random.split(key)

    def drawn(key, values):
        values = jnp.asarray(values, jnp.float32)
        return values[jax.random.randint(key, sources.shape[:1], 0, len(values), jnp.int32)]

    ratios = 2.0 ** (drawn(pitch, semitones or (0.0,)) / 12.0)
    speeds = drawn(tempo, rates or (1.0,))
    most = 2.0 ** (max(semitones, default=0.0) / 12.0)

    def change(x, ratio, rate):
        return change_pitch_and_tempo(x, ratio if semitones else 1.0, rate, length, most)

    return jax.vmap(change)(sources, ratios, speeds)


def change_pitch_and_tempo(x: jax.Array, ratio, rate, length: int, most: float) -> jax.Array:
    """Raise the pitch by a ratio of frequencies and play ``rate`` times as fast.

    Stretches by ``ratio / rate`` with a phase vocoder, then resamples by ``ratio``.

    Args:
      x: ``(..., samples)`` waveform.
      ratio: of frequencies; may be traced. The number 1 leaves resampling out.
      rate: of tempo; may be traced.
      length: samples to return.
      most: largest ratio that may come, a number.

    Returns:
      ``(..., length)``.
    """
    shifted = not (isinstance(ratio, float) and ratio == 1.0)
    stretched = math.ceil(length * max(1.0, most)) + _TAPS if shifted else length
    _, _, window = analysis_window(_N_FFT, _HOP, None, "hann")
    window = jnp.asarray(window, x.dtype)
    # Every frame that touches the end, else the sum of windows is short there.
    x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, _N_FFT // 2)])
    spectrum = analyze(x, window, _HOP, True, "constant")
    steps = jnp.arange(-(-(stretched + _N_FFT) // _HOP)) * jnp.asarray(rate / ratio, jnp.float32)
    spectrum = phase_vocoder(spectrum, steps)
    if shifted:
        bins = jnp.arange(spectrum.shape[-1])
        spectrum = jnp.where(bins * ratio < bins[-1], spectrum, 0.0)
    y = synthesize(spectrum, window, _HOP, True, stretched)
    if not shifted:
        return y
    rows = y.reshape(math.prod(x.shape[:-1]), stretched)
    rows = jax.vmap(lambda row: resample_at(row, ratio, length, taps=_TAPS))(rows)
    return rows.reshape(*x.shape[:-1], length)


def phase_vocoder(spectrum: jax.Array, steps: jax.Array) -> jax.Array:
    """Frames of a spectrum at other times, each turned on by what its bins turn in one hop.

    Magnitudes are interpolated; the phase is that of the first frame times the turns from one
    frame to the next at all steps before. As unit phasors no phase has to be unwrapped.

    Args:
      spectrum: ``(..., frames, bins)`` complex.
      steps: ``(n,)`` times in frames, not negative; beyond the end is silence.

    Returns:
      ``(..., n, bins)`` complex.

    References:
      J. Laroche and M. Dolson, "Improved phase vocoder time-scale modification of audio", IEEE
      Trans. Speech and Audio Processing 7(3), 1999.
    """
    last = spectrum.shape[-2]
    frames = jnp.moveaxis(jnp.pad(spectrum, [(0, 0)] * (spectrum.ndim - 2) + [(0, 2), (0, 0)]), -2, 0)
    base = jnp.floor(steps + 1e-4)  # a whole step that rounding left just below stays whole
    fraction = jnp.maximum(steps - base, 0.0)

    def step(phase, at):
        base, fraction = at
        size, unit = _polar(jax.lax.dynamic_slice_in_dim(frames, base, 2))
        frame = ((1.0 - fraction) * size[0] + fraction * size[1]) * phase
        return phase * unit[1] * jnp.conj(unit[0]), frame

    _, first = _polar(frames[0])
    base = jnp.minimum(base, last).astype(jnp.int32)
    return jnp.moveaxis(jax.lax.scan(step, first, (base, fraction))[1], 0, -2)


def _polar(z):
    """Magnitude and unit phasor, 1 where there is nothing."""
    size = magnitude(z)
    return size, jnp.where(size > 0, z / jnp.where(size > 0, size, 1.0), 1.0)


def _checked(x, name, value, least=None, most=None):
    """The waveform as float32 and the value, as a float where it is known."""
    x = as_float("x", x)
    at_least_ndim("x", x, 1, "(..., samples)")
    if isinstance(value, jax.core.Tracer):
        return x, value
    value = float(value)
    if least is None and not value > 0:
        raise ValueError(f"{name}={value}: expected a positive number")
    if least is not None and not least <= value <= most:
        raise ValueError(f"{name}={value}: expected {least} to {most}")
    return x, value
