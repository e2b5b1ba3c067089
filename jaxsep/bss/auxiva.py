"""AuxIVA: independent vector analysis by an auxiliary function and iterative projection."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp

from jaxsep._checks import as_complex, at_least, at_least_ndim, index_within, standard_promotion
from jaxsep._sharding import keeps_sharding
from jaxsep.bss.convolutive import each_mixture, separate_spectra
from jaxsep.bss.projection import hermitian, orthogonalize, power_of, products, project_back, unmixed, update


@keeps_sharding
@standard_promotion
def auxiva(
    x, *, n_iter: int = 30, n_fft: int = 4096, hop_length: int = 1024, reference: int = 0
) -> jax.Array:
    """Separate mixtures in rooms with echo, as many sources as microphones.

    Args:
      x: ``(..., channels, samples)`` floats; each leading index is a mixture of its own.
      n_iter: iterations.
      n_fft, hop_length: of the STFT; ``n_fft`` longer than the echo that matters.
      reference: the microphone at whose level the sources are returned.

    Returns:
      ``(..., channels, samples)`` float32 sources, in no particular order; they sum to the
      reference microphone.

    Raises:
      ValueError: one channel, integers, an empty array, or options out of range.

    Example:
      >>> x = jax.random.laplace(jax.random.key(0), (2, 16000))
      >>> y = auxiva(x, n_iter=2, n_fft=512, hop_length=256)
      >>> y.shape, bool(jnp.allclose(y.sum(0), x[0], atol=1e-2))
      ((2, 16000), True)

    References:
      N. Ono, "Stable and fast update rules for independent vector analysis based on auxiliary
      function technique", WASPAA 2011.
    """
    unmix = partial(auxiva_spectra, n_iter=n_iter, reference=reference)
    return separate_spectra(x, n_fft, hop_length, unmix)


@keeps_sharding
@standard_promotion
def auxiva_spectra(spectra, *, n_iter: int = 30, reference: int = 0) -> jax.Array:
    """:func:`auxiva` on ``(..., channels, bins, frames)`` complex spectra.

    Returns:
      Sources of the same shape, at the level of channel ``reference``.
    """
    spectra = as_complex("spectra", spectra)
    at_least_ndim("spectra", spectra, 3, "(..., channels, bins, frames)")
    reference = index_within("reference", reference, spectra.shape[-3], "channels")
    return _auxiva(spectra, at_least("n_iter", n_iter, 1), reference)


@partial(jax.jit, static_argnums=(1, 2))
def _auxiva(spectra, n_iter, reference):
    def solve(x):
        channels, bins, frames = x.shape
        z, back = orthogonalize(x)
        power = products(z).reshape(channels**2 * bins, frames)

        def step(_, w):
            square = jnp.sum(power_of(unmixed(w, z)), axis=1)
            floor = 1e-10 * jnp.mean(square, axis=1, keepdims=True) + 1e-20
            weights = 0.5 * jax.lax.rsqrt(jnp.maximum(square, floor))
            covariances = (power @ weights.T).reshape(channels**2, bins, channels) / frames
            return update(w, hermitian(jnp.swapaxes(covariances, 1, 2), channels))

        w = jax.lax.fori_loop(0, n_iter, step, back)
        return unmixed(project_back(w, back[reference]), z)

    return each_mixture(solve, spectra)
