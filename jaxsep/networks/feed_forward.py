"""Feed-forward network: dense layers over each frame and its neighbors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp

from jaxsep.networks.network import LinenNetwork
from jaxsep.nn.layers import ACTIVATIONS, BatchNorm, Dropout
from jaxsep.parts import ranged, register


@register("network", "feed_forward")
@dataclass(frozen=True)
class FeedForward(LinenNetwork):
    """Options of the feed-forward network."""

    layers: tuple[int, ...] = ranged((1024, 512), least=1, most=1 << 14)
    """Units of each hidden layer."""
    context: int = ranged(0, least=0, most=64)
    """Frames before and after each frame that the network sees with it."""
    hidden: Literal["prelu", "relu"] = "prelu"
    """Activation of the hidden layers."""
    input_norm: bool = False
    """Batch normalization of each bin of the input."""
    dropout: float = ranged(0.0, least=0, below=1)
    """Share of the hidden units dropped in training."""
    activation: Literal["sigmoid", "softplus", "relu", "abs", "tanh", "linear"] = "linear"
    """Of the outputs."""

    def __post_init__(self):
        if not self.layers:
            raise ValueError(f"layers={self.layers}: expected at least one")

    def module(self, num_sources: int, num_bins: int) -> FeedForwardModule:
        """Return the module."""
        return FeedForwardModule(self, num_sources, num_bins)

    @property
    def causal(self) -> bool:
        """Whether an output frame depends on no later input frame."""
        return self.context == 0


class FeedForwardModule(nn.Module):
    """``(batch, channels, bins, frames)`` features -> ``(batch, sources, bins, frames)``."""

    config: FeedForward
    num_sources: int
    num_bins: int

    @nn.compact
    def __call__(self, features, *, train=False, keys=None, mask=None, axis_name=None):
        config, (batch, channels, bins, frames) = self.config, features.shape
        if config.input_norm:
            norm = BatchNorm(axis=2, name="input_norm")
            features = norm(features, train=train, mask=mask, axis_name=axis_name)
        x = jnp.transpose(features, (0, 3, 1, 2)).reshape(batch, frames, channels * bins)
        x = _with_context(x, config.context)
        for i, width in enumerate(config.layers):
            x = nn.Dense(width, kernel_init=nn.initializers.he_normal(), name=f"dense_{i}")(x)
            x = PReLU(name=f"prelu_{i}")(x) if config.hidden == "prelu" else nn.relu(x)
            x = Dropout(config.dropout, name=f"dropout_{i}")(x, train=train, keys=keys)
        y = nn.Dense(self.num_sources * self.num_bins, name="outputs")(x)
        y = ACTIVATIONS[config.activation][0](y)
        y = y.reshape(batch, frames, self.num_sources, self.num_bins)
        return jnp.transpose(y, (0, 2, 3, 1))

    def start(self, batch: int) -> tuple:
        """No frame remembers another; of use without context alone."""
        return ()


class PReLU(nn.Module):
    """Leaky ReLU whose slope below zero is learned, one a unit.

    References:
      K. He et al., "Delving deep into rectifiers", ICCV 2015.
    """

    @nn.compact
    def __call__(self, x):
        slope = self.param("slope", nn.initializers.constant(0.25), (x.shape[-1],))
        return jnp.where(x >= 0, x, slope * x)


def _with_context(x, context):
    """Append to each frame its neighbors, oldest first, zeros beyond the ends."""
    frames = x.shape[1]
    padded = jnp.pad(x, ((0, 0), (context, context), (0, 0)))
    return jnp.concatenate([padded[:, k : k + frames] for k in range(2 * context + 1)], axis=-1)
