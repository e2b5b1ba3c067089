"""What passes through a codec: an encoded mixture, and sources in every domain."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

Level = Literal["none", "peak", "rms"]


class Encoded(NamedTuple):
    """A mixture on its way through a codec; what a codec does not have is None."""

    features: jax.Array
    """``(batch, channels * views, bins, frames)`` or ``(batch, channels, samples)`` float32: what the
    network sees."""
    level: jax.Array
    """``(batch,)`` float32: what the mixture was divided by."""
    spectrum: Any = None
    """``(batch, channels, n_fft // 2 + 1, frames)`` complex64, of the mixture divided by ``level``."""
    magnitude: Any = None
    """``(batch, channels, bins, frames)``: of the spectrum, in the transform's bins."""
    shift: Any = None
    """``(batch, channels, 1 or bins, 1)``: what the normalizer subtracts; None without one."""
    scale: Any = None
    """``(batch, channels, 1 or bins, 1)``: what the normalizer then divides by."""


class Estimates(NamedTuple):
    """Estimated or reference sources in each domain, relative to ``Encoded.level``."""

    outputs: jax.Array | None
    """``(batch, sources, channels, bins, frames)`` or ``(batch, sources, channels, samples)``: the
    network's outputs."""
    masks: jax.Array | None
    """``(batch, sources, channels, bins, frames)``, at or above 0."""
    magnitudes: jax.Array | None
    """``(batch, sources, channels, bins, frames)`` in the transform's bins."""
    waveforms: jax.Array
    """``(batch, sources, channels, samples)``."""
    features: jax.Array | None = None
    """As the codec's features, a view for each source and channel: scaled, and normalized with the
    mixture's parameters."""
    spectra: jax.Array | None = None
    """``(batch, sources, channels, bins, frames)`` of reference sources: complex, or magnitudes in mel
    bands."""


def mixture_level(level: Level, mixture: jax.Array) -> jax.Array:
    """``(batch, channels, samples)`` -> ``(batch,)``: what each mixture is divided by, 1 for silence."""
    if level == "none":
        return jnp.ones(mixture.shape[:1], mixture.dtype)
    peak = jnp.max(jnp.abs(mixture), axis=(1, 2))
    heard = peak > jnp.finfo(peak.dtype).tiny
    peak = jnp.where(heard, peak, 1.0)
    if level == "peak":
        return peak
    square = jnp.mean(jnp.square(mixture / peak[:, None, None]), axis=(1, 2))
    return peak * jnp.sqrt(jnp.where(heard, square, 1.0))
