"""ILRMA: independent low-rank matrix analysis, non-negative matrix factors as source model."""

from __future__ import annotations

from functools import partial, reduce

import jax
import jax.numpy as jnp

from jaxsep._checks import as_complex, at_least, at_least_ndim, index_within, standard_promotion
from jaxsep._rows import varying_as
from jaxsep._sharding import keeps_sharding
from jaxsep.bss.convolutive import each_mixture, separate_spectra
from jaxsep.bss.projection import (
    hermitian,
    orthogonalize,
    power_of,
    power_through,
    products,
    project_back,
    unmixed,
    update,
)

#: The least of a source's model, as a share of its mean, by which frames are weighted.
_LEAST = 1e-7


@keeps_sharding
@standard_promotion
def ilrma(
    x,
    *,
    n_iter: int = 50,
    n_components: int = 2,
    n_fft: int = 4096,
    hop_length: int = 1024,
    reference: int = 0,
    key: jax.Array | None = None,
) -> jax.Array:
    """Separate mixtures in rooms with echo; best where sources repeat their spectra, as music does.

    Args:
      x: ``(..., channels, samples)`` floats; each leading index is a mixture of its own.
      n_iter: iterations.
      n_components: spectra in each source's model.
      n_fft, hop_length, reference: see :func:`auxiva`.
      key: a JAX random key for the start of the models; None for a fixed one.

    Returns:
      ``(..., channels, samples)`` float32 sources; they sum to the reference microphone. There is no
      gradient where a microphone is silent.

    Raises:
      ValueError: as :func:`auxiva`.

    Example:
      >>> x = jax.random.laplace(jax.random.key(0), (2, 16000))
      >>> ilrma(x, n_iter=2, n_fft=512, hop_length=256).shape
      (2, 16000)

    References:
      D. Kitamura et al., "Determined blind source separation unifying independent vector analysis
      and nonnegative matrix factorization", IEEE/ACM TASLP 24(9), 2016.
    """
    unmix = partial(ilrma_spectra, n_iter=n_iter, n_components=n_components, reference=reference, key=key)
    return separate_spectra(x, n_fft, hop_length, unmix)


@keeps_sharding
@standard_promotion
def ilrma_spectra(spectra, *, n_iter=50, n_components=2, reference=0, key=None) -> jax.Array:
    """:func:`ilrma` on ``(..., channels, bins, frames)`` complex spectra.

    Returns:
      Sources of the same shape, at the level of channel ``reference``.
    """
    spectra = as_complex("spectra", spectra)
    at_least_ndim("spectra", spectra, 3, "(..., channels, bins, frames)")
    channels, bins, frames = spectra.shape[-3:]
    reference = index_within("reference", reference, channels, "channels")
    k = at_least("n_components", n_components, 1)
    bases, gains = jax.random.split(jax.random.key(0) if key is None else key)
    start = (
        jax.random.uniform(bases, (channels, bins, k), jnp.float32, minval=0.1),
        jax.random.uniform(gains, (channels, k, frames), jnp.float32, minval=0.1),
    )
    return _ilrma(spectra, start, at_least("n_iter", n_iter, 1), reference)


@partial(jax.jit, static_argnums=(2, 3))
def _ilrma(spectra, start, n_iter, reference):
    def solve(x, *start):
        channels = len(x)
        z, back = orthogonalize(x)
        power = products(z)
        covariance = hermitian(jnp.mean(power, axis=-1), channels)

        def step(_, state):
            w, bases, gains = state
            source = power_of(unmixed(w, z))
            source = jnp.maximum(source, 1e-12 * jnp.mean(source, axis=(1, 2), keepdims=True) + 1e-30)
            bases, gains, model = _factorize(source, bases, gains)
            # Far below its mean a model is of single frames, whose covariances have no inverse in float32.
            model = jnp.maximum(model, _LEAST * jnp.mean(model, axis=(1, 2), keepdims=True))
            w = update(w, hermitian(_weighted(power, model), channels))
            level = jnp.mean(power_through(w, covariance), axis=1)
            level = jnp.where(level > 0, level, 1.0)
            return w / jnp.sqrt(level)[:, None, None], bases / level[:, None, None], gains

        w, _, _ = jax.lax.fori_loop(0, n_iter, step, (back, *(varying_as(part, x) for part in start)))
        return unmixed(project_back(w, back[reference]), z)

    return each_mixture(solve, spectra, shared=start)


def _factorize(source, bases, gains):
    """One multiplicative update of the Itakura-Saito factors; return them and their model."""
    model = _model(bases, gains)
    ratio, inverse = source / jnp.square(model), 1.0 / model
    gains_t = jnp.swapaxes(gains, 1, 2)
    bases = bases * jnp.sqrt((ratio @ gains_t) / jnp.maximum(inverse @ gains_t, 1e-30))
    bases = jnp.maximum(bases, 1e-15)
    model = _model(bases, gains)
    ratio, inverse = source / jnp.square(model), 1.0 / model
    bases_t = jnp.swapaxes(bases, 1, 2)
    gains = gains * jnp.sqrt((bases_t @ ratio) / jnp.maximum(bases_t @ inverse, 1e-30))
    gains = jnp.maximum(gains, 1e-15)
    return bases, gains, _model(bases, gains)


def _weighted(power, model):
    """Mean over frames of ``(parts, bins, frames) / (sources, bins, frames)``: (parts, sources, bins)."""
    mean = jnp.full(model.shape[-1], 1.0 / model.shape[-1], model.dtype)
    # One product each: XLA's CPU reduction of all of them at once takes three times as long.
    return jnp.stack([jnp.stack([(part / m) @ mean for m in model]) for part in power])


def _model(bases, gains):
    """``bases @ gains``, at least 1e-30; few components are summed in the loop that uses the model."""
    if bases.shape[-1] > 8:
        return jnp.maximum(bases @ gains, 1e-30)
    terms = (bases[..., k : k + 1] * gains[:, k : k + 1] for k in range(bases.shape[-1]))
    return jnp.maximum(reduce(jnp.add, terms), 1e-30)
