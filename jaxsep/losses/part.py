"""What a training loss is: a part that turns estimates and references into one number per example.

A loss says in ``reads`` which domain of the estimates it takes, one of ``"waveforms"``, ``"magnitudes"``,
``"features"`` and ``"masks"``, and in ``against`` which of the references, the same unless it says
otherwise; and is called with both, ``(batch, sources, channels, ...)``, to give ``(batch,)``. One that reads
several domains has a method ``of(estimates, reference)`` instead, with :class:`jaxsep.codecs.Estimates` of
both. In ``requires(system)`` it may refuse the config of a system that it does not fit, with a ValueError.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp

Reduction = Literal["mean", "sum"]


def loss_of(loss: Any, estimates: Any, reference: Any) -> jax.Array:
    """``(batch,)`` losses of estimates against references, whatever the loss reads of them."""
    if hasattr(loss, "of"):
        return loss.of(estimates, reference)
    return loss(getattr(estimates, loss.reads), getattr(reference, getattr(loss, "against", loss.reads)))


def domains_of(loss: Any) -> set[str]:
    """Domains of the estimates that a loss reads."""
    return {loss.reads} if isinstance(loss.reads, str) else set(loss.reads)


def over_channels(function: Callable, estimate: jax.Array, reference: jax.Array) -> jax.Array:
    """Mean over the channels of a loss over ``(..., sources, ...)``.

    Args:
      function: of two ``(batch, channels, sources, ...)`` arrays, to ``(batch, channels)``.
      estimate, reference: ``(batch, sources, channels, ...)``.

    Returns:
      ``(batch,)``.
    """
    return jnp.mean(function(jnp.swapaxes(estimate, 1, 2), jnp.swapaxes(reference, 1, 2)), axis=-1)


def reduced(mean: jax.Array, reduction: Reduction, shape: tuple[int, ...]) -> jax.Array:
    """A loss that is a mean over ``shape``, or the sum over it.

    An optimizer whose epsilon is not relative to the gradient, as that of ADADELTA, does not move on means
    that are 100000 times smaller than the sums which it was tuned for.
    """
    if reduction == "mean":
        return mean
    count = 1
    for size in shape:
        count *= size
    return mean * count
