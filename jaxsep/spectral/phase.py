"""Waveforms from magnitudes: the Griffin-Lim algorithm."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp

from jaxsep._checks import as_float, at_least, at_least_ndim, standard_promotion
from jaxsep._rows import map_rows
from jaxsep._sharding import keeps_sharding
from jaxsep.spectral.fourier import analysis_window, analyze, frame_bytes, num_frames, synthesize


@keeps_sharding
@standard_promotion
def griffin_lim(
    magnitude,
    *,
    n_iter: int = 32,
    hop_length: int | None = None,
    win_length: int | None = None,
    n_fft: int | None = None,
    window="hann",
    center: bool = True,
    pad_mode: str = "constant",
    momentum: float = 0.99,
    length: int | None = None,
    key: jax.Array | None = None,
) -> jax.Array:
    """A waveform whose STFT has (nearly) the given magnitude: the fast Griffin-Lim algorithm.

    Alternates between the spectra of that magnitude and the spectra that a waveform has,
    extrapolating each step by ``momentum / (1 + momentum)``.

    Args:
      magnitude: ``(..., n_fft // 2 + 1, frames)`` non-negative floats.
      n_iter: number of iterations.
      momentum: 0 for the original algorithm; up to 1 for the fast one.
      length: samples to return; its frames must be those of ``magnitude``.
      key: a JAX random key for the initial phase; None starts from zero phase.
      hop_length, win_length, n_fft, window, center, pad_mode: see :func:`stft`.

    Returns:
      ``(..., length)`` float32 waveform.

    Raises:
      ValueError: as :func:`istft`; a negative momentum; a length with other frames.

    Example:
      >>> from jaxsep import stft
      >>> x = jnp.sin(jnp.arange(8192.0) * 0.3)
      >>> griffin_lim(jnp.abs(stft(x, n_fft=512)), length=8192).shape
      (8192,)

    Equal to ``librosa.griffinlim`` (same initial phase) after one iteration; later iterations
    differ by accumulated rounding.

    References:
      N. Perraudin, P. Balazs, P. Søndergaard, "A fast Griffin-Lim algorithm", WASPAA 2013.
    """
    magnitude = as_float("magnitude", magnitude)
    at_least_ndim("magnitude", magnitude, 2, "(..., n_fft // 2 + 1, frames)")
    if momentum < 0:
        raise ValueError(f"momentum={momentum}: expected a number that is not negative")
    n_fft = 2 * (magnitude.shape[-2] - 1) if n_fft is None else n_fft
    n_fft, hop_length, padded_window = analysis_window(n_fft, hop_length, win_length, window)
    if magnitude.shape[-2] != n_fft // 2 + 1:
        raise ValueError(f"magnitude.shape={magnitude.shape}: n_fft={n_fft} has {n_fft // 2 + 1} bins")
    frames = magnitude.shape[-1]
    natural = hop_length * (frames - 1) + n_fft - (2 * (n_fft // 2) if center else 0)
    length = natural if length is None else at_least("length", length, 1)
    if num_frames(length, n_fft, hop_length, center) != frames:
        raise ValueError(f"length={length}: does not have the {frames} frames of magnitude")
    return _griffin_lim(
        magnitude,
        jnp.asarray(padded_window, jnp.float32),
        key,
        at_least("n_iter", n_iter, 0),
        hop_length,
        center,
        pad_mode,
        momentum / (1 + momentum),
        length,
    )


@partial(jax.jit, static_argnums=(3, 4, 5, 6, 7, 8))
def _griffin_lim(magnitude, window, key, n_iter, hop_length, center, pad_mode, extrapolation, length):
    target = jnp.swapaxes(magnitude, -1, -2)
    if key is None:
        start = target.astype(jnp.complex64)
    else:
        turns = jax.random.uniform(key, target.shape, jnp.float32)
        start = target * jnp.exp(jnp.complex64(2j * jnp.pi) * turns)

    def rows(target, start, window):
        def step(_, carry):
            spectrum, previous = carry
            x = synthesize(spectrum, window, hop_length, center, length)
            rebuilt = analyze(x, window, hop_length, center, pad_mode)
            ahead = rebuilt - extrapolation * previous
            power = jnp.square(ahead.real) + jnp.square(ahead.imag)
            heard = power > 0  # elsewhere neither a phase nor the gradient of a square root
            norm = jnp.sqrt(jnp.where(heard, power, 1.0))
            return jnp.where(heard, ahead * (target / norm), 0.0), rebuilt

        spectrum, _ = jax.lax.fori_loop(0, n_iter, step, (start, jnp.zeros_like(start)))
        return synthesize(spectrum, window, hop_length, center, length)

    row_bytes = frame_bytes(length, window, hop_length)
    return map_rows(rows, target, start, core=2, row_bytes=row_bytes, shared=(window,))
