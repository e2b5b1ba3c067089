"""Heads: what a network's outputs are, masks of the mixture or the sources themselves.

A head turns outputs into masks and magnitudes: ``head(outputs, size, restore)`` with the mixture's magnitudes
and a function from features to magnitudes. It says in ``ranges(signed)`` where the outputs may lie,
``signed`` being whether features may be negative; in ``shares`` whether its masks always sum to 1, and in
``direct`` whether outputs are features of the sources.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp

from jaxsep.masks import ratio_mask
from jaxsep.parts import ranged, register

#: ``(masks, magnitudes)``, both ``(batch, sources, channels, bins, frames)``.
Masked = tuple[jax.Array, jax.Array]


@register("head", "ratio")
@dataclass(frozen=True)
class RatioMask:
    """Shares of the mixture: ``y_i ** exponent / sum_n y_n ** exponent``; the stems sum to it."""

    exponent: float = ranged(1.0, least=1, most=8)
    """2 for shares of powers, as a Wiener filter."""
    epsilon: float = ranged(0.0, least=0, below=1)
    """Above 0, outputs weigh the mixture, and where the sum of ``(y_n * magnitude) ** exponent`` comes near
    this number, masks come near ``1 / n``: as Spleeter, with 1e-10."""

    shares = True
    direct = False

    def ranges(self, signed: bool) -> set[str]:
        """Where the outputs may lie."""
        return {"unit", "not negative"}

    def __call__(self, outputs: jax.Array, size: jax.Array, restore: Callable) -> Masked:
        """Outputs -> masks and magnitudes."""
        if self.epsilon:
            outputs = outputs * size
        masks = ratio_mask(outputs, axis=1, epsilon=self.epsilon, power=self.exponent)
        return masks, masks * size


@register("head", "mask")
@dataclass(frozen=True)
class Mask:
    """Masks in [0, 1], each source's its own."""

    shares = False
    direct = False

    def ranges(self, signed: bool) -> set[str]:
        """Where the outputs may lie."""
        return {"unit"}

    def __call__(self, outputs: jax.Array, size: jax.Array, restore: Callable) -> Masked:
        """Outputs -> masks and magnitudes."""
        return outputs, outputs * size


@register("head", "direct")
@dataclass(frozen=True)
class Direct:
    """The features of the sources themselves: an estimate, not a mask."""

    limit: Literal["none", "exceeding", "shares"] = "none"
    """Where estimates together exceed the mixture's magnitude: ``none`` leaves them; ``exceeding`` takes
    them as their shares of it there; ``shares`` takes them as shares everywhere, and the stems sum to the
    mixture."""

    direct = True

    @property
    def shares(self) -> bool:
        """Whether the masks always sum to 1."""
        return self.limit == "shares"

    def ranges(self, signed: bool) -> set[str]:
        """Where the outputs may lie."""
        return {"any"} if signed else {"unit", "not negative", "any"}

    def __call__(self, outputs: jax.Array, size: jax.Array, restore: Callable) -> Masked:
        """Outputs -> masks and magnitudes."""
        magnitudes = restore(outputs)
        if self.limit == "shares":
            masks = ratio_mask(magnitudes, axis=1)
            return masks, masks * size
        if self.limit == "exceeding":
            total = jnp.sum(magnitudes, axis=1, keepdims=True)
            over = total > size
            magnitudes = magnitudes * jnp.where(over, size / jnp.where(over, total, 1.0), 1.0)
        masks = jnp.where(size > 0, magnitudes / jnp.where(size > 0, size, 1.0), 0.0)
        return jnp.minimum(masks, 1.0), magnitudes
