"""Discriminative loss: near the own source, far from the others."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxsep.losses.errors import magnitude_mse
from jaxsep.losses.part import Reduction, over_channels, reduced
from jaxsep.parts import ranged, register


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


@register("loss", "discriminative")
@dataclass(frozen=True)
class Discriminative:
    """:func:`discriminative` on magnitudes."""

    gamma: float = ranged(0.5, least=0)
    """Weight of the second term."""
    reduction: Reduction = "mean"
    """Mean over bins and frames, or the sum over them and the channels."""

    reads = "magnitudes"

    def __call__(self, estimate: jax.Array, reference: jax.Array) -> jax.Array:
        """``(batch, sources, channels, bins, frames)`` -> ``(batch,)``."""
        mean = over_channels(partial(discriminative, gamma=self.gamma), estimate, reference)
        return reduced(mean, self.reduction, estimate.shape[2:])

    def requires(self, system: Any) -> None:
        """Refuse a gamma without a lower bound for this many sources."""
        check_gamma("loss.gamma", self.gamma, len(system.sources))
