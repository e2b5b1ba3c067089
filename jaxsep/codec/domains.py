"""What passes through a codec: an encoded mixture, and estimates in every domain."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

Level = Literal["none", "peak", "rms"]
Domain = Literal["masks", "magnitudes", "features", "waveforms"]


class Encoded(NamedTuple):
    """A mixture on its way through a codec; what a codec does not have is None."""

    features: jax.Array
    """``(batch, channels, bins, frames)`` or ``(batch, channels, samples)`` float32: what the
    network sees."""
    level: jax.Array
    """``(batch,)`` float32: what the mixture was divided by."""
    spectrum: Any = None
    """``(batch, bins, frames)`` complex64, of the mixture divided by ``level``."""
    magnitude: Any = None
    """``(batch, 1, bins, frames)``: of the spectrum, in the codec's bins."""
    shift: Any = None
    """``(batch, 1, 1 or bins, 1)``: what the normaliser subtracts; None without one."""
    gain: Any = None
    """``(batch, 1, 1 or bins, 1)``: what the normaliser then divides by."""


class Estimates(NamedTuple):
    """What a system says of a mixture, or what is true of it; relative to ``Encoded.level``."""

    outputs: jax.Array | None
    """``(batch, sources, bins, frames)`` or ``(batch, sources, samples)``: the network's outputs."""
    masks: jax.Array | None
    """``(batch, sources, bins, frames)`` in [0, 1]."""
    magnitudes: jax.Array | None
    """``(batch, sources, bins, frames)`` in the codec's bins."""
    waveforms: jax.Array
    """``(batch, sources, samples)``."""
    features: jax.Array | None = None
    """As the codec's features, one channel a source: scaled, and normalised with the mixture's
    parameters."""
    spectra: jax.Array | None = None
    """``(batch, sources, bins, frames)`` of true sources: complex, or magnitudes in mel bands."""


def mixture_level(level: Level, mixture: jax.Array) -> jax.Array:
    """``(batch, samples)`` -> ``(batch,)``: what each mixture is divided by, 1 for silence."""
    if level == "none":
        return jnp.ones(mixture.shape[:-1], mixture.dtype)
    if level == "peak":
        found = jnp.max(jnp.abs(mixture), axis=-1)
    else:
        found = jnp.sqrt(jnp.mean(jnp.square(mixture), axis=-1))
    return jnp.where(found > jnp.finfo(found.dtype).tiny, found, 1.0)
