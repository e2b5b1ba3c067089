"""Permutation-invariant training: the least of a loss over all orders of the estimates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any

import jax
import jax.numpy as jnp

from jaxsep.losses.part import loss_of
from jaxsep.losses.ratios import SNR
from jaxsep.parts import Loss, register


def permutation_invariant(loss: Callable, estimate: jax.Array, reference: jax.Array) -> jax.Array:
    """The least of ``loss`` over all orders of the estimates (PIT).

    Args:
      loss: a loss of this module over ``(..., sources, samples)``.
      estimate, reference: ``(..., sources, samples)`` waveforms.

    Returns:
      ``(...,)``, the unit of ``loss``.

    Example:
      >>> from jaxsep.losses import negative_snr
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


@register("loss", "pit")
@dataclass(frozen=True)
class PIT:
    """The least of another loss, whatever it reads, over all orders of the estimates."""

    loss: Loss = field(default_factory=SNR)
    """The other loss."""

    @property
    def reads(self) -> str | frozenset[str]:
        """What the other loss reads."""
        return self.loss.reads

    def of(self, estimates: Any, reference: Any) -> jax.Array:
        """Estimates and references in every domain -> ``(batch,)``."""
        orders = permutations(range(estimates.waveforms.shape[1]))
        each = [loss_of(self.loss, _reordered(estimates, jnp.array(o)), reference) for o in orders]
        return jnp.min(jnp.stack(each), axis=0)

    def requires(self, system: Any) -> None:
        """Refuse more than six sources, and what the other loss refuses."""
        if len(system.sources) > 6:
            raise ValueError(
                f"sources: {len(system.sources)} have too many orders for PIT; expected at most 6"
            )
        getattr(self.loss, "requires", lambda system: None)(system)


def _reordered(estimates, order):
    """Estimates of the sources in another order, in every domain."""
    return jax.tree.map(lambda x: x[:, order], estimates)
