"""Squared and absolute error of magnitudes, of features, and of waveforms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from jaxsep._checks import wide
from jaxsep.losses.part import Reduction, over_channels, reduced
from jaxsep.parts import register


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
    return jnp.sum(jnp.mean(jnp.square(_difference(estimate, reference)), axis=(-2, -1)), axis=-1)


def magnitude_mae(estimate: jax.Array, reference: jax.Array) -> jax.Array:
    """Absolute error, summed over the sources and averaged over bins and frames.

    Arguments and result as :func:`magnitude_mse`, in their unit.

    Example:
      >>> float(magnitude_mae(jnp.ones((2, 4, 5)), jnp.zeros((2, 4, 5))))
      2.0
    """
    return jnp.sum(jnp.mean(jnp.abs(_difference(estimate, reference)), axis=(-2, -1)), axis=-1)


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
    return jnp.sum(jnp.mean(jnp.square(_difference(estimate, reference)), axis=-1), axis=-1)


def waveform_mae(estimate: jax.Array, reference: jax.Array) -> jax.Array:
    """Absolute error, summed over the sources and averaged over samples.

    Arguments and result as :func:`waveform_mse`, in their unit.

    Example:
      >>> float(waveform_mae(jnp.ones((2, 4)), jnp.zeros((2, 4))))
      2.0
    """
    return jnp.sum(jnp.mean(jnp.abs(_difference(estimate, reference)), axis=-1), axis=-1)


def _difference(estimate, reference):
    estimate, reference = wide(estimate, reference)
    return estimate - reference


@dataclass(frozen=True)
class _Error:
    """What the errors share."""

    reduction: Reduction = "mean"
    """Mean over bins and frames, or samples; or the sum over them and the channels."""
    function: ClassVar[Callable]

    def __call__(self, estimate: jax.Array, reference: jax.Array) -> jax.Array:
        """``(batch, sources, channels, ...)`` -> ``(batch,)``."""
        mean = over_channels(type(self).function, estimate, reference)
        return reduced(mean, self.reduction, estimate.shape[2:])


@register("loss", "magnitude_mse")
@dataclass(frozen=True)
class MagnitudeMSE(_Error):
    """Squared error of magnitudes."""

    reads = "magnitudes"
    function = magnitude_mse


@register("loss", "magnitude_mae")
@dataclass(frozen=True)
class MagnitudeMAE(_Error):
    """Absolute error of magnitudes."""

    reads = "magnitudes"
    function = magnitude_mae


@register("loss", "feature_mse")
@dataclass(frozen=True)
class FeatureMSE(_Error):
    """Squared error of features, in the unit that the network sees."""

    reads = "features"
    function = magnitude_mse


@register("loss", "feature_mae")
@dataclass(frozen=True)
class FeatureMAE(_Error):
    """Absolute error of features, in the unit that the network sees."""

    reads = "features"
    function = magnitude_mae


@register("loss", "waveform_mse")
@dataclass(frozen=True)
class WaveformMSE(_Error):
    """Squared error of waveforms."""

    reads = "waveforms"
    function = waveform_mse


@register("loss", "waveform_mae")
@dataclass(frozen=True)
class WaveformMAE(_Error):
    """Absolute error of waveforms."""

    reads = "waveforms"
    function = waveform_mae
