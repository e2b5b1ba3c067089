"""What a representation loses by itself: encode and decode, without a model."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxsep._checks import as_float, at_least_ndim
from jaxsep.metrics import si_sdr
from jaxsep.spectral import magnitude, stft


class RoundTripLoss(NamedTuple):
    """How near a waveform comes back to itself, in dB: higher is better."""

    snr: jax.Array
    """``(...,)`` dB: signal-to-noise ratio; of no use where the phase is made up."""
    si_sdr: jax.Array
    """``(...,)`` dB: the same at the best level."""
    spectral: jax.Array
    """``(...,)`` dB: spectral convergence of the magnitudes of the STFT (1024 / 256), as
    ``-20 log10(|| |X| - |Y| || / || |X| ||)``: blind to phase."""


def round_trip_loss(codec, x) -> RoundTripLoss:
    """Encode a waveform, decode it as its own only source, and compare.

    Args:
      codec: any codec.
      x: ``(..., samples)`` floats; for a mel codec at its sample rate.

    Returns:
      Three ratios in dB, each ``(...,)``.

    Raises:
      ValueError: integers or an empty array.

    Example:
      >>> from jaxsep.codecs import Codec
      >>> x = jnp.sin(jnp.arange(8000) * 0.3)
      >>> bool(round_trip_loss(Codec(), x).snr > 100)
      True
    """
    x = as_float("x", x)
    at_least_ndim("x", x, 1, "(..., samples)")
    flat = x.reshape(-1, 1, x.shape[-1])
    encoded = codec.encode(flat)
    estimates = codec.decode(encoded, codec.perfect_outputs(encoded), flat.shape[-1])
    y = (estimates.waveforms[:, 0, 0] * encoded.level[:, None]).reshape(x.shape)
    sizes = [magnitude(stft(a, n_fft=1024, hop_length=256)) for a in (x, y)]
    spectra = [s.reshape(*x.shape[:-1], -1) for s in sizes]
    return RoundTripLoss(_ratio_db(x, y), si_sdr(x, y), _ratio_db(*spectra))


def _ratio_db(x, y):
    tiny = jnp.finfo(x.dtype).tiny
    noise = jnp.sum(jnp.square(x - y), axis=-1) + tiny
    return 10.0 * (jnp.log10(jnp.sum(jnp.square(x), axis=-1) + tiny) - jnp.log10(noise))
