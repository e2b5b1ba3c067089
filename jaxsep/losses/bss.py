"""The SDR of BSS Eval as a loss."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jaxsep.parts import ranged, register

#: SDR of a silent estimate, and of a perfect one.
_SILENT_DB, _PERFECT_DB = -60.0, 150.0


@register("loss", "bss_eval")
@dataclass(frozen=True)
class BSSEvalSDR:
    """Minus the SDR of BSS Eval, mean over sources and channels: deaf to any short filter of a source.

    Dearer than the SNR by far; keep ``filter_length`` short. A silent reference counts nothing, a silent
    estimate of one that is not as -60 dB.

    Example:
      >>> s = jax.random.normal(jax.random.key(0), (1, 2, 1, 800))
      >>> bool(BSSEvalSDR(filter_length=4)(0.5 * s, s)[0] < -40)
      True

    References:
      E. Vincent, R. Gribonval, C. Fevotte, "Performance measurement in blind audio source separation",
      IEEE TASLP 14(4), 2006.
    """

    filter_length: int = ranged(32, least=1, most=512)
    """Taps of the filters."""

    reads = "waveforms"

    def __call__(self, estimate: jax.Array, reference: jax.Array) -> jax.Array:
        """``(batch, sources, channels, samples)`` -> ``(batch,)`` dB."""
        from jaxsep.metrics import bss_eval_sources

        by_channel = (jnp.swapaxes(x, 1, 2) for x in (reference, estimate))
        scores = bss_eval_sources(*by_channel, filter_length=self.filter_length, permute=False)
        active = jnp.any(jnp.swapaxes(reference, 1, 2) != 0, axis=-1)
        sdr = jnp.where(jnp.isneginf(scores.sdr), _SILENT_DB, scores.sdr)
        sdr = jnp.where(active, jnp.where(jnp.isposinf(sdr), _PERFECT_DB, sdr), 0.0)
        return -jnp.sum(sdr, axis=(1, 2)) / jnp.maximum(jnp.sum(active, axis=(1, 2)), 1)
