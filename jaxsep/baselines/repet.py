"""REPET: what repeats is the accompaniment, what does not is the voice."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxsep._checks import as_float, at_least, at_least_ndim, standard_promotion
from jaxsep._rows import each_problem
from jaxsep._sharding import keeps_sharding
from jaxsep.spectral import istft, magnitude, stft


class Repet(NamedTuple):
    """The repeating background and the rest; they sum to the input."""

    foreground: jax.Array
    """``(..., samples)`` float32."""
    background: jax.Array
    """``(..., samples)`` float32."""
    period: jax.Array
    """``(...,)`` int32: frames after which the background repeats."""


@keeps_sharding
@standard_promotion
def repet(
    x,
    *,
    min_period: int,
    max_period: int,
    n_fft: int = 1024,
    hop_length: int = 256,
    highpass_bin: int = 0,
) -> Repet:
    """Separate a repeating background from a foreground that varies.

    The period is where the beat spectrum (the autocorrelation of the power spectrogram over time)
    is highest; the background is the median over periods, never more than the mixture, and a soft mask.

    Args:
      x: ``(..., samples)`` floating-point waveform; each row has a period of its own.
      min_period, max_period: frames between which the period lies; ``max_period`` is cut to a third
        of the frames, so that a median has three values.
      n_fft, hop_length: samples of the STFT's frames and between them.
      highpass_bin: bins below this go to the background altogether; a voice has little below 100 Hz.

    Returns:
      A :class:`Repet`.

    Raises:
      ValueError: integers, an empty array, or fewer than ``3 * min_period`` frames.

    Example:
      >>> x = jnp.tile(jax.random.normal(jax.random.key(0), (2048,)), 8)
      >>> parts = repet(x, min_period=4, max_period=20)
      >>> int(parts.period), bool(jnp.allclose(parts.foreground + parts.background, x, atol=1e-4))
      (8, True)

    References:
      Z. Rafii and B. Pardo, "REpeating Pattern Extraction Technique (REPET)", IEEE TASLP 21(1), 2013.
    """
    x = as_float("x", x)
    at_least_ndim("x", x, 1, "(..., samples)")
    at_least("min_period", min_period, 1)
    spectrum = stft(x, n_fft=n_fft, hop_length=hop_length)
    frames = spectrum.shape[-1]
    longest = min(at_least("max_period", max_period, min_period), frames // 3)
    if longest < min_period:
        raise ValueError(f"x.shape={x.shape}: {frames} frames; expected at least 3 * min_period={min_period}")

    def one(spectrum):
        size = magnitude(spectrum)
        period = _period(size, min_period, longest)
        share = _repeating(size, period, min_period, longest)
        return jnp.where(jnp.arange(len(size))[:, None] < highpass_bin, 1.0, share), period

    share, period = each_problem(one, spectrum, core=2)
    masked = share * spectrum
    background = istft(masked, n_fft=n_fft, hop_length=hop_length, length=x.shape[-1])
    return Repet(x - background, background, period)


def _period(size, shortest, longest):
    """The lag at which the beat spectrum is highest."""
    frames = size.shape[-1]
    power = jnp.fft.rfft(jnp.square(size), 2 * frames, axis=-1)
    correlation = jnp.fft.irfft(jnp.square(magnitude(power)), 2 * frames, axis=-1)[:, : longest + 1]
    beat = jnp.mean(correlation, axis=0) / (frames - jnp.arange(longest + 1))
    return shortest + jnp.argmax(beat[shortest:]).astype(jnp.int32)


def _repeating(size, period, shortest, longest):
    """Share in ``(bins, frames)`` of what repeats: the median over periods, at most all."""
    frames = size.shape[-1]
    at = jnp.arange(longest)[None] + period * jnp.arange(-(-frames // shortest))[:, None]
    there = (at < frames) & (jnp.arange(longest) < period)

    def row(values):
        segments = jnp.where(there, values[jnp.minimum(at, frames - 1)], jnp.nan)
        model = jnp.nanmedian(segments, axis=0)[jnp.arange(frames) % period]
        model = jnp.minimum(model, values)
        return jnp.where(values > 0, model / jnp.where(values > 0, values, 1.0), 1.0)

    return jax.lax.map(row, size, batch_size=32)
