"""Energy ratios between a reference and an estimate, in dB."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxsep._checks import as_float, at_least_ndim


def si_sdr(reference, estimate) -> jax.Array:
    """Scale-invariant signal-to-distortion ratio.

    ``10 log10(|a s|^2 / |a s - e|^2)`` with ``a = <e, s> / |s|^2``; no mean is removed.

    Args:
      reference: ``(..., samples)`` floating-point waveform s.
      estimate: ``(..., samples)`` floating-point waveform e, of a shape that broadcasts.

    Returns:
      ``(...,)`` float32, dB. NaN for a silent reference; ``-inf`` for a silent estimate;
      ``+inf``, or what rounding leaves, for a perfect one; NaN where the input holds NaN. There is no
      gradient where it is not finite; as a loss take :func:`jaxsep.losses.negative_si_sdr`.

    Raises:
      ValueError: integers, empty arrays, or different lengths.

    Example:
      >>> s = jnp.array([1.0, 0.0, -1.0, 0.0])
      >>> e = jnp.array([2.0, 0.2, -2.0, 0.2])
      >>> round(float(si_sdr(s, e)), 2)
      20.0

    References:
      J. Le Roux et al., "SDR - half-baked or well done?", ICASSP 2019.
    """
    reference, estimate = (x * _unit(x) for x in _pair(reference, estimate))
    scale = _dot(estimate, reference) / _dot(reference, reference)
    target = scale[..., None] * reference
    ratio = _ratio_db(_dot(target, target), target - estimate)
    return jnp.where(_dot(estimate, estimate) == 0, jnp.where(jnp.isnan(scale), jnp.nan, -jnp.inf), ratio)


def sd_sdr(reference, estimate) -> jax.Array:
    """Scale-dependent SDR: as :func:`si_sdr`, but the distortion counts a wrong level too.

    ``10 log10(|a s|^2 / |s - e|^2)``; arguments, result and special values as :func:`si_sdr`.

    Example:
      >>> s = jnp.array([1.0, 0.0, -1.0, 0.0])
      >>> round(float(sd_sdr(s, 0.5 * s)), 2)
      0.0
    """
    reference, estimate = _at_one_level(*_pair(reference, estimate))
    scale = _dot(estimate, reference) / _dot(reference, reference)
    target = scale[..., None] * reference
    return _ratio_db(_dot(target, target), reference - estimate)


def snr(reference, estimate) -> jax.Array:
    """Signal-to-noise ratio ``10 log10(|s|^2 / |s - e|^2)``, dB; arguments as :func:`si_sdr`.

    Example:
      >>> s = jnp.array([1.0, 0.0, -1.0, 0.0])
      >>> round(float(snr(s, 0.9 * s)), 2)
      20.0
    """
    reference, estimate = _at_one_level(*_pair(reference, estimate))
    return _ratio_db(_dot(reference, reference), reference - estimate)


def _pair(reference, estimate):
    reference, estimate = as_float("reference", reference), as_float("estimate", estimate)
    at_least_ndim("reference", reference, 1, "(..., samples)")
    at_least_ndim("estimate", estimate, 1, "(..., samples)")
    if reference.shape[-1] != estimate.shape[-1]:
        raise ValueError(
            f"estimate.shape={estimate.shape}: expected the {reference.shape[-1]} samples of "
            f"reference.shape={reference.shape}"
        )
    return reference, estimate


def _at_one_level(reference, estimate):
    unit = _unit(reference)
    return reference * unit, estimate * unit


def _unit(x):
    """The power of two that brings the peak of each signal near 1, so that no square under- or overflows and
    nothing is rounded; ``(..., 1)``."""
    peak = jax.lax.stop_gradient(jnp.max(jnp.abs(x), axis=-1, keepdims=True))
    _, exponent = jnp.frexp(peak)
    return jnp.ldexp(jnp.ones_like(peak), jnp.clip(-exponent, -120, 120))


def _dot(a, b):
    return jnp.sum(a * b, axis=-1)


def _ratio_db(energy, distortion):
    return 10.0 * (jnp.log10(energy) - jnp.log10(_dot(distortion, distortion)))
