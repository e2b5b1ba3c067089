"""What mixing does to sources, as numbers: less independent, more normal, more complex.

References:
  A. Hyvärinen and E. Oja, "Independent component analysis: algorithms and applications", Neural
  Networks 13, 2000. J. V. Stone, "Independent component analysis: a tutorial introduction", 2004.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxsep._checks import as_float, at_least, at_least_ndim, standard_promotion
from jaxsep._sharding import on_each_device
from jaxsep.spectral import stft

# E[log cosh v] of a standard normal v.
_NORMAL_LOGCOSH = 0.37456721


def excess_kurtosis(x) -> jax.Array:
    """``E[u^4] - 3`` of the standardized signal: 0 for a normal one, 3 for a Laplacian.

    Args:
      x: ``(..., samples)`` floats.

    Returns:
      ``(...)`` float32; NaN for a constant signal.

    Example:
      >>> round(float(excess_kurtosis(jnp.sin(jnp.arange(1000.0)))), 1)
      -1.5
    """
    return jnp.mean(_standard(x) ** 4, axis=-1) - 3.0


def negentropy(x) -> jax.Array:
    """Distance from normality, ``(E[log cosh u] - E[log cosh v])^2`` with v standard normal.

    Args:
      x: ``(..., samples)`` floats.

    Returns:
      ``(...)`` float32, 0 for a normal signal, without a unit.

    Example:
      >>> bool(negentropy(jax.random.normal(jax.random.key(0), (20000,))) < 1e-4)
      True
    """
    u = jnp.abs(_standard(x))
    logcosh = u + jnp.log1p(jnp.exp(-2.0 * u)) - jnp.log(2.0)
    return jnp.square(jnp.mean(logcosh, axis=-1) - _NORMAL_LOGCOSH)


def nonlinear_correlation(x) -> jax.Array:
    """Correlation of ``tanh(u_i)`` with ``u_j``: zero for independent signals.

    Args:
      x: ``(..., channels, samples)`` floats.

    Returns:
      ``(..., channels, channels)`` in [-1, 1].

    Example:
      >>> x = jax.random.laplace(jax.random.key(0), (2, 20000))
      >>> bool(jnp.abs(nonlinear_correlation(x)[0, 1]) < 0.03)
      True
    """
    u = _standard(x)
    t = _standard(jnp.tanh(u))
    return jnp.einsum("...it,...jt->...ij", t, u) / u.shape[-1]


def mutual_information(x, *, bins: int = 32) -> jax.Array:
    """Pairwise mutual information of a histogram of equally filled bins.

    Args:
      x: ``(..., channels, samples)`` floats.
      bins: bins of each signal.

    Returns:
      ``(..., channels, channels)`` nats, corrected for the bias of the histogram; the diagonal is
      about ``log(bins)``. Equal values share a bin.

    Example:
      >>> x = jax.random.laplace(jax.random.key(0), (2, 20000))
      >>> bool(jnp.abs(mutual_information(x)[0, 1]) < 0.01)
      True
    """
    x = as_float("x", x)
    at_least_ndim("x", x, 2, "(..., channels, samples)")
    bins, samples = at_least("bins", bins, 2), x.shape[-1]
    member = jax.nn.one_hot(_ranks(x) * bins // samples, bins, dtype=x.dtype)
    joint = jnp.einsum("...ita,...jtb->...ijab", member, member) / samples
    single = jnp.einsum("...ita->...ia", member) / samples
    expected = single[..., :, None, :, None] * single[..., None, :, None, :]
    log_ratio = jnp.log(jnp.where(joint > 0, joint, 1.0)) - jnp.log(jnp.where(joint > 0, expected, 1.0))
    free = jnp.sum((single > 0).astype(x.dtype), axis=-1) - 1.0
    bias = free[..., :, None] * free[..., None, :] / (2 * samples)
    return jnp.sum(joint * log_ratio, axis=(-2, -1)) - bias


def _ranks(x):
    """Ranks along the last axis; equal values have the middle one of theirs, not one by their time.

    As ``jax.scipy.stats.rankdata`` less 1, which fails inside ``shard_map``.
    """
    order = jnp.argsort(x, axis=-1)
    values, place = jnp.take_along_axis(x, order, axis=-1), jnp.arange(x.shape[-1])
    differ = values[..., 1:] != values[..., :-1]
    edge = jnp.ones_like(values[..., :1], bool)
    first = jnp.where(jnp.concatenate([edge, differ], axis=-1), place, 0)
    last = jnp.where(jnp.concatenate([differ, edge], axis=-1), place, place[-1])
    axis = x.ndim - 1
    middle = (jax.lax.cummax(first, axis) + jax.lax.cummin(last, axis, reverse=True)) // 2
    return jnp.take_along_axis(middle, jnp.argsort(order, axis=-1), axis=-1)


@standard_promotion
def complexity(x, *, n_fft: int = 512) -> jax.Array:
    """How little of a signal its past foretells: the flatness of its spectrum, in [0, 1].

    The geometric over the arithmetic mean of the power spectrum is the share of the power that
    the best linear predictor misses: 1 for white noise, near 0 for a tone.

    Args:
      x: ``(..., samples)`` floats.
      n_fft: length of the transform in samples.

    Returns:
      ``(...)`` float32.

    Example:
      >>> bool(complexity(jax.random.normal(jax.random.key(0), (20000,))) > 0.9)
      True

    References:
      A. Kolmogorov and G. Szegő's theorem, in: P. Brockwell and R. Davis, "Time Series", 5.8.
    """
    spectrum = stft(x, n_fft=n_fft)
    power = jnp.mean(jnp.square(spectrum.real) + jnp.square(spectrum.imag), axis=-1)
    power = power + 1e-12 * jnp.max(power, axis=-1, keepdims=True) + 1e-30
    flatness = jnp.exp(jnp.mean(jnp.log(power), axis=-1)) / jnp.mean(power, axis=-1)
    return jnp.minimum(flatness, 1.0)


def rms(x) -> jax.Array:
    """Root mean square of ``(..., samples)``, in its unit.

    Example:
      >>> float(rms(jnp.array([3.0, -3.0])))
      3.0
    """
    return jnp.sqrt(jnp.mean(jnp.square(as_float("x", x)), axis=-1))


def zero_crossing_rate(x) -> jax.Array:
    """Share of neighboring samples of ``(..., samples)`` with different signs.

    Example:
      >>> float(zero_crossing_rate(jnp.array([1.0, -1.0, -1.0])))
      0.5
    """
    negative = as_float("x", x) < 0
    return jnp.mean((negative[..., 1:] != negative[..., :-1]).astype(jnp.float32), axis=-1)


@standard_promotion
def envelope(x) -> jax.Array:
    """Magnitude of the analytic signal of ``(..., samples)``, in its unit.

    Example:
      >>> e = envelope(jnp.sin(2 * jnp.pi * jnp.arange(1000.0) / 50))
      >>> bool(jnp.allclose(e, 1.0, atol=1e-3))
      True
    """
    x = as_float("x", x)
    samples = x.shape[-1]
    weight = jnp.zeros(samples, x.dtype).at[0].set(1.0).at[1 : (samples + 1) // 2].set(2.0)
    weight = weight.at[samples // 2].set(1.0) if samples % 2 == 0 else weight

    def part(x, weight):
        return jnp.abs(jnp.fft.ifft(jnp.fft.fft(x) * weight))

    return on_each_device(part, x, core=1, shared=(weight,))


def diagnose(x) -> dict[str, list[float]]:
    """Return every diagnostic of ``(channels, samples)``, for a table: name -> one value a channel.

    Independence is given as the largest value over the other channels, constant ones left out.

    Example:
      >>> sorted(diagnose(jax.random.laplace(jax.random.key(0), (2, 2000))))[:3]
      ['complexity', 'envelope mean', 'excess kurtosis']
    """
    x = as_float("x", x)

    def over_others(pairs):
        pairs = jnp.where(jnp.eye(len(pairs), dtype=bool), jnp.nan, pairs)
        return jnp.maximum(jnp.nanmax(pairs, axis=1), 0.0) if len(pairs) > 1 else jnp.zeros(1)

    values = {
        "mutual information": over_others(mutual_information(x)),
        "nonlinear correlation": over_others(jnp.abs(nonlinear_correlation(x))),
        "excess kurtosis": excess_kurtosis(x),
        "negentropy": negentropy(x),
        "complexity": complexity(x),
        "rms": rms(x),
        "envelope mean": jnp.mean(envelope(x), axis=-1),
        "zero crossing rate": zero_crossing_rate(x),
    }
    return {name: [float(v) for v in value] for name, value in values.items()}


def _standard(x):
    x = as_float("x", x)
    at_least_ndim("x", x, 1, "(..., samples)")
    least, most = jnp.min(x, axis=-1, keepdims=True), jnp.max(x, axis=-1, keepdims=True)
    constant = least == most  # whose mean rounding sets apart from it
    x = x / jnp.where(constant, 1.0, jnp.maximum(most, -least))
    centered = x - jnp.mean(x, axis=-1, keepdims=True)
    power = jnp.where(constant, jnp.nan, jnp.mean(jnp.square(centered), axis=-1, keepdims=True))
    return centered / jnp.sqrt(power)
