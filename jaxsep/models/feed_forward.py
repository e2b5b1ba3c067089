"""Feed-forward network: dense layers over each frame and its neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp

from jaxsep.models.layers import ACTIVATIONS, BatchNorm, Dropout, NetworkOptions


@dataclass(frozen=True)
class FeedForwardConfig(NetworkOptions):
    """Options of the feed-forward network."""

    name: Literal["feed_forward"] = "feed_forward"
    layers: tuple[int, ...] = (1024, 512)
    """Units of each hidden layer."""
    context: int = 0
    """Frames before and after each frame that the network sees with it."""
    hidden: Literal["prelu", "relu"] = "prelu"
    """Activation of the hidden layers."""
    input_norm: bool = False
    """Batch normalisation of each bin of the input."""
    dropout: float = 0.0
    """Share of the hidden units dropped in training."""
    activation: Literal["sigmoid", "softplus", "relu", "abs", "tanh", "linear"] = "linear"
    """Of the outputs."""

    def __post_init__(self):
        if not self.layers or not all(1 <= width <= 1 << 14 for width in self.layers):
            raise ValueError(f"layers={self.layers}: expected at least one layer of 1 to 16384 units")
        if not 0 <= self.context <= 64:
            raise ValueError(f"context={self.context}: expected 0 to 64 frames on each side")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout}: expected 0 or more and less than 1")

    @property
    def causal(self) -> bool:
        """Whether an output frame depends on no later input frame."""
        return self.context == 0


class FeedForward(nn.Module):
    """``(batch, channels, bins, frames)`` features -> ``(batch, sources, bins, frames)``."""

    config: FeedForwardConfig
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
    """Append to each frame its neighbours, oldest first, zeros beyond the ends."""
    frames = x.shape[1]
    padded = jnp.pad(x, ((0, 0), (context, context), (0, 0)))
    return jnp.concatenate([padded[:, k : k + frames] for k in range(2 * context + 1)], axis=-1)
