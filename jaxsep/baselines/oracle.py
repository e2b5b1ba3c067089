"""Oracle masks: the best that masking the mixture can do when the sources are known."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from jaxsep import masks
from jaxsep._checks import as_float, at_least_ndim, standard_promotion
from jaxsep._sharding import keeps_sharding
from jaxsep.spectral import istft, stft

#: Name -> mask of ``(..., sources, bins, frames)`` complex spectra.
ORACLES: dict[str, Callable[[jax.Array], jax.Array]] = {
    "ibm": masks.binary_mask,
    "irm": partial(masks.wiener_mask, power=1.0),
    "wiener": masks.wiener_mask,
    "psm": masks.phase_sensitive_mask,
}


@keeps_sharding
@standard_promotion
def oracle(sources, mask: str = "wiener", *, n_fft: int = 1024, hop_length: int = 256) -> jax.Array:
    """Separate the sum of known sources by an ideal mask and the mixture's phase.

    Args:
      sources: ``(..., sources, samples)`` floating-point waveforms.
      mask: ``"ibm"`` binary, ``"irm"`` ratio of magnitudes, ``"wiener"`` ratio of powers, or ``"psm"``
        phase-sensitive.
      n_fft, hop_length: samples of the STFT's frames and between them.

    Returns:
      ``(..., sources, samples)`` float32. All but ``"psm"`` sum to the mixture.

    Raises:
      ValueError: integers, an empty array or an unknown mask.

    Example:
      >>> s = jax.random.normal(jax.random.key(0), (2, 4000))
      >>> bool(jnp.allclose(oracle(s, "irm").sum(0), s.sum(0), atol=1e-4))
      True

    References:
      D. Wang, "On ideal binary mask as the computational goal of auditory scene analysis", 2005;
      E. Vincent et al., "Oracle estimators for the benchmarking of source separation algorithms",
      Signal Processing 87(8), 2007; H. Erdogan et al., ICASSP 2015.
    """
    sources = as_float("sources", sources)
    at_least_ndim("sources", sources, 2, "(..., sources, samples)")
    if mask not in ORACLES:
        raise ValueError(f"mask={mask!r}: expected one of {', '.join(ORACLES)}")
    spectra = stft(sources, n_fft=n_fft, hop_length=hop_length)
    mixture = jnp.sum(spectra, axis=-3, keepdims=True)
    return istft(
        ORACLES[mask](spectra) * mixture, n_fft=n_fft, hop_length=hop_length, length=sources.shape[-1]
    )
