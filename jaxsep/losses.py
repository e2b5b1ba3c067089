"""Training losses: one number per example, for the training step to weigh and average."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import permutations

import jax
import jax.numpy as jnp

from jaxsep.masks import binary_mask, phase_sensitive_mask, wiener_mask

Loss = Callable[[jax.Array, jax.Array], jax.Array]


def magnitude_mse(estimate: jax.Array, reference: jax.Array) -> jax.Array:
    """Squared error, summed over the sources and averaged over bins and frames.

    Args:
      estimate, reference: ``(..., sources, bins, frames)`` magnitudes.

    Returns:
      ``(...,)``, the square of their unit.

    Example:
      >>> float(magnitude_mse(jnp.ones((2, 4, 5)), jnp.zeros((2, 4, 5))))
      2.0
    """
    return jnp.sum(jnp.mean(jnp.square(estimate - reference), axis=(-2, -1)), axis=-1)


def magnitude_mae(estimate: jax.Array, reference: jax.Array) -> jax.Array:
    """Absolute error, summed over the sources and averaged over bins and frames.

    Arguments and result as :func:`magnitude_mse`, in their unit.

    Example:
      >>> float(magnitude_mae(jnp.ones((2, 4, 5)), jnp.zeros((2, 4, 5))))
      2.0
    """
    return jnp.sum(jnp.mean(jnp.abs(estimate - reference), axis=(-2, -1)), axis=-1)


def waveform_mse(estimate: jax.Array, reference: jax.Array) -> jax.Array:
    """Squared error, summed over the sources and averaged over samples.

    Args:
      estimate, reference: ``(..., sources, samples)`` waveforms.

    Returns:
      ``(...,)``, the square of their unit.

    Example:
      >>> float(waveform_mse(jnp.ones((2, 4)), jnp.zeros((2, 4))))
      2.0
    """
    return jnp.sum(jnp.mean(jnp.square(estimate - reference), axis=-1), axis=-1)


def waveform_mae(estimate: jax.Array, reference: jax.Array) -> jax.Array:
    """Absolute error, summed over the sources and averaged over samples.

    Arguments and result as :func:`waveform_mse`, in their unit.

    Example:
      >>> float(waveform_mae(jnp.ones((2, 4)), jnp.zeros((2, 4))))
      2.0
    """
    return jnp.sum(jnp.mean(jnp.abs(estimate - reference), axis=-1), axis=-1)


def mask_mse(estimate: jax.Array, spectra: jax.Array, target: str = "ratio") -> jax.Array:
    """:func:`magnitude_mse` of masks against the ideal ones of known sources.

    Args:
      estimate: ``(..., sources, bins, frames)`` masks.
      spectra: spectra of the sources, of that shape: complex, or magnitudes (not for
        ``"phase_sensitive"``).
      target: ``"binary"``, ``"ratio"`` (of magnitudes), ``"wiener"`` (of powers) or
        ``"phase_sensitive"``.

    Returns:
      ``(...,)``, no unit.

    Raises:
      ValueError: a phase-sensitive target without phases.

    Example:
      >>> spectra = jnp.array([[[3.0]], [[1.0]]])
      >>> float(mask_mse(jnp.array([[[0.75]], [[0.25]]]), spectra, "ratio"))
      0.0

    References:
      Y. Wang, A. Narayanan, D. Wang, "On training targets for supervised speech separation",
      IEEE/ACM TASLP 22(12), 2014.
    """
    if target == "phase_sensitive" and not jnp.iscomplexobj(spectra):
        raise ValueError(f"target={target!r}: needs complex spectra; magnitudes have no phase")
    ideal: dict[str, Callable] = {
        "binary": binary_mask,
        "ratio": partial(wiener_mask, power=1.0),
        "wiener": wiener_mask,
        "phase_sensitive": phase_sensitive_mask,
    }
    return magnitude_mse(estimate, ideal[target](spectra))


def discriminative(estimate: jax.Array, reference: jax.Array, gamma: float = 0.5) -> jax.Array:
    """Discriminative loss: near one's own source and, by ``gamma``, far from the others.

    ``sum_i |e_i - s_i|^2 - gamma sum_{j != i} |e_i - s_j|^2``, averaged over bins and frames.
    With two sources and ``gamma`` g its unmasked optimum is ``(s_1 - g s_2) / (1 - g)``, so a
    large g drives masks to be binary. It has no lower bound for
    ``gamma * (sources - 1) >= 1``, and is refused there.

    Args:
      estimate, reference: ``(..., sources, bins, frames)`` magnitudes.
      gamma: weight of the second term; 0 is :func:`magnitude_mse`.

    Returns:
      ``(...,)``, the square of their unit; may be negative.

    Raises:
      ValueError: a gamma without a lower bound.

    Example:
      >>> s = jnp.stack([jnp.ones((4, 5)), jnp.zeros((4, 5))])
      >>> float(discriminative(s, s, gamma=0.5))
      -1.0

    References:
      P.-S. Huang et al., "Singing-voice separation from monaural recordings using deep recurrent
      neural networks", ISMIR 2014, eq. 7 (there gamma = 0.05).
    """
    sources = estimate.shape[-3]
    check_gamma("gamma", gamma, sources)
    own = magnitude_mse(estimate, reference)
    if sources == 1:
        return own
    between = jnp.square(estimate[..., :, None, :, :] - reference[..., None, :, :, :])
    every = jnp.sum(jnp.mean(between, axis=(-2, -1)), axis=(-2, -1))
    return own - gamma * (every - own)


def check_gamma(name: str, gamma: float, sources: int) -> None:
    """Refuse a ``gamma`` with which :func:`discriminative` has no lower bound."""
    if not 0 <= gamma * (sources - 1) < 1:
        raise ValueError(
            f"{name}={gamma}: has no lower bound with {sources} sources; "
            f"expected 0 <= gamma < {1 / max(1, sources - 1):g}"
        )


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
    if floor_db is None:
        return _negative_ratio_db(reference, reference - estimate, eps, eps)
    mixture = jnp.sum(jnp.square(jnp.sum(reference, axis=-2)), axis=-1, keepdims=True)
    floor = eps + 10 ** (-floor_db / 10) * mixture
    return _negative_ratio_db(reference, reference - estimate, eps, floor)


def permutation_invariant(loss: Loss, estimate: jax.Array, reference: jax.Array) -> jax.Array:
    """The least of ``loss`` over all orders of the estimates (PIT).

    Args:
      loss: a loss of this module over ``(..., sources, samples)``.
      estimate, reference: ``(..., sources, samples)`` waveforms.

    Returns:
      ``(...,)``, the unit of ``loss``.

    Example:
      >>> s = jnp.eye(2)
      >>> bool(permutation_invariant(negative_snr, s[::-1], s) < -60)
      True

    References:
      D. Yu et al., "Permutation invariant training of deep models for speaker-independent
      multi-talker speech separation", ICASSP 2017.
    """
    orders = permutations(range(estimate.shape[-2]))
    return jnp.min(
        jnp.stack([loss(estimate[..., jnp.array(order), :], reference) for order in orders]), axis=0
    )


def _negative_ratio_db(target, distortion, eps, floor):
    signal = jnp.sum(jnp.square(target), axis=-1) + eps
    noise = jnp.sum(jnp.square(distortion), axis=-1) + floor
    return -jnp.mean(10.0 * (jnp.log10(signal) - jnp.log10(noise)), axis=-1)
