"""Signal-to-noise ratios of waveforms, in dB: plain, scale-invariant."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp

from jaxsep._checks import wide
from jaxsep.losses.part import over_channels
from jaxsep.parts import ranged, register


def negative_si_sdr(estimate: jax.Array, reference: jax.Array, eps: float = 1e-8) -> jax.Array:
    """Minus the scale-invariant SDR, averaged over the sources, finite at silence.

    Args:
      estimate, reference: ``(..., sources, samples)`` waveforms.
      eps: added to both energies, relative to one sample of amplitude 1.

    Returns:
      ``(...,)`` dB, lower is better.

    Example:
      >>> s = jnp.array([[1.0, 0.0, -1.0, 0.0]])
      >>> round(float(negative_si_sdr(2 * s + 0.2 * jnp.array([0, 1.0, 0, 1.0]), s)), 2)
      -20.0

    References:
      J. Le Roux et al., "SDR - half-baked or well done?", ICASSP 2019.
    """
    estimate, reference = wide(estimate, reference)
    energy = jnp.sum(jnp.square(reference), axis=-1, keepdims=True)
    scale = jnp.sum(estimate * reference, axis=-1, keepdims=True) / (energy + eps)
    return _negative_ratio_db(scale * reference, scale * reference - estimate, eps, eps)


def negative_snr(
    estimate: jax.Array, reference: jax.Array, eps: float = 1e-8, floor_db: float | None = None
) -> jax.Array:
    """Minus the signal-to-noise ratio, averaged over the sources, finite at silence.

    Args:
      estimate, reference: ``(..., sources, samples)`` waveforms.
      eps: added to both energies, relative to one sample of amplitude 1.
      floor_db: a soft threshold: the energy of the mixture, the sum of the references, this many dB
        lower is added to that of each error. Without it the gradient of a silent source grows as
        its error vanishes.

    Returns:
      ``(...,)`` dB, lower is better; unlike with :func:`negative_si_sdr`, a wrong level costs.

    Example:
      >>> s = jnp.array([[1.0, 0.0, -1.0, 0.0]])
      >>> round(float(negative_snr(0.9 * s, s)), 2)
      -20.0
      >>> round(float(negative_snr(0.9 * s, s, floor_db=20)), 2)
      -16.99

    References:
      S. Wisdom et al., "What's all the fuss about free universal sound separation data?", ICASSP
      2021, whose threshold is relative to the mixture for silent sources alone.
    """
    estimate, reference = wide(estimate, reference)
    if floor_db is None:
        return _negative_ratio_db(reference, reference - estimate, eps, eps)
    mixture = jnp.sum(jnp.square(jnp.sum(reference, axis=-2)), axis=-1, keepdims=True)
    floor = eps + 10 ** (-floor_db / 10) * mixture
    return _negative_ratio_db(reference, reference - estimate, eps, floor)


def _negative_ratio_db(target, distortion, eps, floor):
    signal = jnp.sum(jnp.square(target), axis=-1) + eps
    noise = jnp.sum(jnp.square(distortion), axis=-1) + floor
    return -jnp.mean(10.0 * (jnp.log10(signal) - jnp.log10(noise)), axis=-1)


@register("loss", "snr")
@dataclass(frozen=True)
class SNR:
    """:func:`negative_snr`."""

    floor_db: float | None = ranged(None, above=0)
    """For sources that fall silent: errors this far below the mixture hardly count; None for no floor."""

    reads = "waveforms"

    def __call__(self, estimate: jax.Array, reference: jax.Array) -> jax.Array:
        """``(batch, sources, channels, samples)`` -> ``(batch,)`` dB."""
        return over_channels(partial(negative_snr, floor_db=self.floor_db), estimate, reference)


@register("loss", "si_sdr")
@dataclass(frozen=True)
class SISDR:
    """:func:`negative_si_sdr`."""

    reads = "waveforms"

    def __call__(self, estimate: jax.Array, reference: jax.Array) -> jax.Array:
        """``(batch, sources, channels, samples)`` -> ``(batch,)`` dB."""
        return over_channels(negative_si_sdr, estimate, reference)
