"""Multi-resolution STFT loss of waveforms."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jaxsep.parts import ranged, register
from jaxsep.spectral import magnitude, stft


def multi_resolution_stft(
    estimate: jax.Array,
    reference: jax.Array,
    fft_sizes: tuple[int, ...] = (512, 1024, 2048),
    floor: float = 1e-4,
) -> jax.Array:
    """Spectral convergence and log-magnitude error, averaged over transforms of several lengths.

    Args:
      estimate, reference: ``(..., samples)`` waveforms.
      fft_sizes: lengths of the transforms; their hop is a quarter.
      floor: added to the magnitudes before the logarithm, in the unit of the waveforms.

    Returns:
      ``(...,)``: 0 for equal magnitudes; deaf to phase.

    Example:
      >>> x = jnp.sin(jnp.arange(4000) * 0.3)
      >>> float(multi_resolution_stft(x, x)), bool(multi_resolution_stft(0.5 * x, x) > 0.5)
      (0.0, True)

    References:
      R. Yamamoto, E. Song, J.-M. Kim, "Parallel WaveGAN", ICASSP 2020, eqs. 3 to 6.
    """
    total = jnp.zeros(estimate.shape[:-1], estimate.dtype)
    for n_fft in fft_sizes:
        found, true = (magnitude(stft(x, n_fft=n_fft)) for x in (estimate, reference))
        error, energy = (jnp.sum(jnp.square(x), axis=(-2, -1)) for x in (found - true, true))
        tiny = floor**2
        convergence = jnp.sqrt(error + tiny) - jnp.sqrt(tiny)
        logs = jnp.mean(jnp.abs(jnp.log(found + floor) - jnp.log(true + floor)), axis=(-2, -1))
        total = total + convergence / jnp.sqrt(energy + tiny) + logs
    return total / len(fft_sizes)


@register("loss", "multi_resolution_stft")
@dataclass(frozen=True)
class MultiResolutionSTFT:
    """:func:`multi_resolution_stft`, mean over sources and channels."""

    fft_sizes: tuple[int, ...] = ranged((512, 1024, 2048), least=16, most=1 << 16)
    """Lengths of the transforms."""
    floor: float = ranged(1e-4, above=0)
    """Added to the magnitudes before the logarithm."""

    reads = "waveforms"

    def __call__(self, estimate: jax.Array, reference: jax.Array) -> jax.Array:
        """``(batch, sources, channels, samples)`` -> ``(batch,)``."""
        each = multi_resolution_stft(estimate, reference, self.fft_sizes, self.floor)
        return jnp.mean(each, axis=(1, 2))
