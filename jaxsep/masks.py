"""Time-frequency masks: from magnitudes or network outputs to shares of the mixture."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxsep._checks import as_float, at_least, at_least_ndim, place_within
from jaxsep.spectral import magnitude


def ratio_mask(outputs: jax.Array, axis: int = -3, epsilon: float = 0.0, power: float = 1.0) -> jax.Array:
    """Shares of powers of non-negative outputs: ``y_i ** p / sum_n y_n ** p``, ``1 / n`` where all are zero.

    Args:
      outputs: ``(..., sources, bins, frames)`` non-negative floats.
      axis: the axis of the sources.
      epsilon: shared out beside the powers, in their unit: where they sum to far less, shares come near
        ``1 / n``.
      power: of the outputs, p.

    Returns:
      Array of the same shape, in [0, 1]; over ``axis`` it sums to 1 everywhere. Without ``epsilon`` it is the
      same at any level of the outputs, and its gradient is finite at silence.

    Example:
      >>> ratio_mask(jnp.array([[[3.0, 0.0]], [[1.0, 0.0]]]))[:, 0].tolist()
      [[0.75, 0.5], [0.25, 0.5]]

    References:
      P.-S. Huang et al., "Joint optimization of masks and deep recurrent neural networks for
      monaural source separation", IEEE/ACM TASLP 23(12), 2015, eq. 3.
    """
    if epsilon:
        outputs = (outputs if power == 1 else outputs**power) + epsilon / outputs.shape[axis]
        return outputs / jnp.sum(outputs, axis=axis, keepdims=True)
    outputs = _relative(outputs, jnp.max(outputs, axis=axis, keepdims=True))
    outputs = outputs if power == 1 else outputs**power
    total = jnp.sum(outputs, axis=axis, keepdims=True)
    positive = total > 0
    shares = outputs / jnp.where(positive, total, 1.0)
    return jnp.where(positive, shares, 1.0 / outputs.shape[axis])


def _relative(values, size):
    """Values over a size that what they are made into does not depend on, so that it takes no gradient: no
    square or power of them under- or overflows. As they are where the size is 0."""
    size = jax.lax.stop_gradient(size)
    size = jnp.where(size > 0, size, 1.0)
    if jnp.iscomplexobj(values):
        return jax.lax.complex(values.real / size, values.imag / size)
    return values / size


def residual_mask(masks: jax.Array, residual: int = -1, axis: int = -3) -> jax.Array:
    """Masks of which one, the residual's, is what the others leave of the mixture.

    Args:
      masks: ``(..., sources, bins, frames)`` floats in [0, 1]. Where those of the others sum to more than 1
        they are scaled down to it.
      residual: index of the source whose mask is replaced.
      axis: the axis of the sources.

    Returns:
      Array of the same shape, in [0, 1]; over ``axis`` it sums to 1 everywhere.

    Raises:
      ValueError: an index of none.

    Example:
      >>> residual_mask(jnp.array([[[0.75, 1.0]], [[0.0, 1.0]], [[1.0, 1.0]]]))[:, 0].tolist()
      [[0.75, 0.5], [0.0, 0.5], [0.25, 0.0]]
    """
    residual = place_within("residual", residual, masks.shape[axis], "sources")
    return complete_masks(at_most_one(jnp.delete(masks, residual, axis=axis), axis), residual, axis)


def complete_masks(others: jax.Array, residual: int, axis: int = -3) -> jax.Array:
    """All masks, of those of all sources but the residual's, which is what they leave of the mixture.

    Args:
      others: ``(..., sources - 1, bins, frames)`` floats in [0, 1], over ``axis`` at most 1 together.
      residual: index of the residual's mask among all.
      axis: the axis of the sources.

    Returns:
      ``(..., sources, bins, frames)``, in [0, 1]; over ``axis`` it sums to 1.

    Raises:
      ValueError: an index of none.

    Example:
      >>> complete_masks(jnp.array([[[0.25]], [[0.5]]]), 1).ravel().tolist()
      [0.25, 0.25, 0.5]
    """
    residual = place_within("residual", residual, others.shape[axis] + 1, "sources")
    return inserted(others, jnp.maximum(1.0 - jnp.sum(others, axis=axis, keepdims=True), 0.0), residual, axis)


def inserted(others: jax.Array, one: jax.Array, index: int, axis: int) -> jax.Array:
    """An array with ``one``, of length 1 there, put before the ``index``-th of an axis.

    Example:
      >>> inserted(jnp.array([1, 3]), jnp.array([2]), 1, axis=0).tolist()
      [1, 2, 3]
    """
    before, after = jnp.split(others, [index], axis=axis)
    return jnp.concatenate([before, one, after], axis=axis)


def at_most_one(masks: jax.Array, axis: int = -3) -> jax.Array:
    """Masks scaled down to a sum of 1 where they sum to more.

    Args:
      masks: ``(..., sources, bins, frames)`` floats of at least 0.
      axis: the axis of the sources.

    Returns:
      Array of the same shape.

    Example:
      >>> at_most_one(jnp.array([[[1.5, 0.5]], [[0.5, 0.25]]])).tolist()
      [[[0.75, 0.5]], [[0.25, 0.25]]]
    """
    return masks / jnp.maximum(jnp.sum(masks, axis=axis, keepdims=True), 1.0)


def slowed_mask(masks: jax.Array, *, speed: float, frames: int) -> jax.Array:
    """Masks of a sound that was played faster, for the sound as it was.

    What is at (bin, frame) of a sound is at ``(speed * bin, frame / speed)`` of the faster one.
    Between bins and frames masks are interpolated linearly; above the highest bin they are as there.

    Args:
      masks: ``(..., bins, frames of the faster sound)`` floats; of the linear bins of an STFT.
      speed: what pitch and tempo were multiplied by.
      frames: frames of the sound as it was.

    Returns:
      ``(..., bins, frames)`` float32; shares that sum to 1 still do.

    Raises:
      ValueError: integers, an empty array, or a speed or frames that are not positive.

    Example:
      >>> masks = jnp.array([[0.0, 0.2], [0.4, 0.6], [0.8, 1.0]])  # 3 bins, 2 frames
      >>> [round(float(m), 2) for m in slowed_mask(masks, speed=2.0, frames=4)[1]]
      [0.8, 0.9, 1.0, 1.0]
    """
    masks, frames = as_float("masks", masks), at_least("frames", frames, 1)
    at_least_ndim("masks", masks, 2, "(..., bins, frames)")
    if not speed > 0:
        raise ValueError(f"speed={speed}: expected a number above 0")
    masks = _between(masks, speed * jnp.arange(masks.shape[-2], dtype=jnp.float32), axis=-2)
    return _between(masks, jnp.arange(frames, dtype=jnp.float32) / speed, axis=-1)


def _between(values, places, axis):
    """Values at places between the indices of an axis, by linear interpolation; beyond it the last."""
    last = values.shape[axis] - 1
    places = jnp.clip(places, 0, last)
    low = jnp.floor(places)
    shape = [1] * values.ndim
    shape[axis] = -1
    index, share = low.astype(jnp.int32), (places - low).reshape(shape)
    lower, upper = (jnp.take(values, jnp.minimum(i, last), axis=axis) for i in (index, index + 1))
    return lower + share * (upper - lower)


def wiener_mask(spectra: jax.Array, power: float = 2.0, axis: int = -3) -> jax.Array:
    """Wiener-like mask of known sources: :func:`ratio_mask` of ``|S_i| ** power``.

    Args:
      spectra: ``(..., sources, bins, frames)`` complex spectra or magnitudes of the sources.
      power: 1 for the ideal ratio mask, 2 for the Wiener filter.
      axis: the axis of the sources.

    Returns:
      Float array of the same shape, in [0, 1], summing to 1 over ``axis``.

    Example:
      >>> [round(float(m), 2) for m in wiener_mask(jnp.array([[[3.0]], [[1.0]]])).ravel()]
      [0.9, 0.1]
    """
    if jnp.iscomplexobj(spectra):
        spectra = _relative(spectra, jnp.max(_largest_part(spectra), axis=axis, keepdims=True))
        return ratio_mask(magnitude(spectra), axis, power=power)
    return ratio_mask(jnp.abs(spectra), axis, power=power)


def _largest_part(spectra):
    """The greater of the real and the imaginary part, their signs aside: within a factor of the magnitude."""
    return jnp.maximum(jnp.abs(spectra.real), jnp.abs(spectra.imag))


def binary_mask(spectra: jax.Array, axis: int = -3) -> jax.Array:
    """Ideal binary mask: 1 for the loudest source of each bin, 0 for the others.

    Args:
      spectra: ``(..., sources, bins, frames)`` complex spectra or magnitudes of the sources.
      axis: the axis of the sources. A tie goes to the first source.

    Returns:
      Float array of the same shape, 0 or 1.

    Example:
      >>> binary_mask(jnp.array([[[3.0]], [[1.0]]]))[:, 0, 0].tolist()
      [1.0, 0.0]
    """
    loudest = jnp.argmax(jnp.abs(spectra), axis=axis)
    return jnp.moveaxis(jax.nn.one_hot(loudest, spectra.shape[axis], dtype=jnp.float32), -1, axis)


def phase_sensitive_mask(spectra: jax.Array, axis: int = -3) -> jax.Array:
    """Phase-sensitive mask: the real part of ``S_i / Z``, cut to [0, 1]; 0 where Z is 0.

    Args:
      spectra: ``(..., sources, bins, frames)`` complex spectra of the sources; Z is their sum.
      axis: the axis of the sources.

    Returns:
      Float array of the same shape, in [0, 1].

    Example:
      >>> spectra = jnp.array([[[3.0 + 0j]], [[1.0j]]])
      >>> [round(float(m), 2) for m in phase_sensitive_mask(spectra).ravel()]
      [0.9, 0.1]

    References:
      H. Erdogan et al., "Phase-sensitive and recognition-boosted speech separation using deep
      recurrent neural networks", ICASSP 2015.
    """
    mixture = jnp.sum(spectra, axis=axis, keepdims=True)
    size = _largest_part(mixture)
    heard = size > 0
    mixture = _relative(mixture, size)
    power = jnp.where(heard, jnp.square(mixture.real) + jnp.square(mixture.imag), 1.0)
    aligned = _relative(spectra.real * mixture.real + spectra.imag * mixture.imag, size)
    return jnp.clip(jnp.where(heard, aligned / power, 0.0), 0.0, 1.0)
