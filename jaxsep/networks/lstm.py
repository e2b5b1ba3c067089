"""LSTM mask network: stacked LSTM layers over frames, one dense ReLU head per source.

References:
  P.-S. Huang et al., "Singing-voice separation from monaural recordings using deep recurrent
  neural networks", ISMIR 2014. S. Hochreiter and J. Schmidhuber, "Long short-term memory",
  Neural Computation 9(8), 1997.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxsep.networks.network import LinenNetwork
from jaxsep.nn.layers import ACTIVATIONS, BatchNorm, Dropout
from jaxsep.nn.recurrence import lstm_cudnn, lstm_scan
from jaxsep.parts import ranged, register


@register("network", "lstm_mask")
@dataclass(frozen=True)
class LSTMMask(LinenNetwork):
    """Options of the LSTM mask network."""

    layers: int = ranged(3, least=1, most=64)
    """Number of LSTM layers."""
    width: int = ranged(1000, least=1, most=1 << 14)
    """Units of each layer (of each direction)."""
    bidirectional: bool = False
    """Read the frames in both directions: better, but not causal."""
    input_norm: bool = False
    """Batch normalization of each frequency bin of the input."""
    dropout: float = ranged(0.0, least=0, below=1)
    """Share of the units dropped between layers in training."""
    implementation: Literal["scan", "cudnn"] = "scan"
    """``scan`` runs anywhere; ``cudnn`` needs an NVIDIA GPU."""
    activation: Literal["sigmoid", "softplus", "relu", "abs", "linear"] = "relu"
    """Of the outputs."""

    def portable(self) -> LSTMMask:
        """The same network, with the implementation that runs anywhere."""
        return dataclasses.replace(self, implementation="scan")

    def module(self, num_sources: int, num_bins: int) -> LSTMMaskModule:
        """Return the module."""
        return LSTMMaskModule(self, num_sources, num_bins)

    @property
    def causal(self) -> bool:
        """Whether an output frame depends on no later input frame."""
        return not self.bidirectional


class LSTMMaskModule(nn.Module):
    """``(batch, 1, bins, frames)`` features -> ``(batch, sources, bins, frames)``."""

    config: LSTMMask
    num_sources: int
    num_bins: int

    @nn.compact
    def __call__(self, features, *, train=False, keys=None, mask=None, axis_name=None):
        batch, channels, bins, frames = features.shape
        x = features.reshape(batch, channels * bins, frames)
        if self.config.input_norm:
            x = BatchNorm(name="input_norm")(x, train=train, mask=mask, axis_name=axis_name)
        x = jnp.transpose(x, (2, 0, 1))
        for layer in range(self.config.layers):
            if layer:
                dropout = Dropout(self.config.dropout, batch_axis=1, name=f"dropout_{layer}")
                x = dropout(x, train=train, keys=keys)
            x = self._layer(x, layer)
        activate, output_range = ACTIVATIONS[self.config.activation]
        zero = output_range == "any"
        bias_init = nn.initializers.zeros if zero else nn.initializers.ones  # a ReLU starts alive
        heads = nn.Dense(self.num_sources * self.num_bins, name="heads", bias_init=bias_init)
        y = activate(heads(x)).reshape(frames, batch, self.num_sources, self.num_bins)
        return jnp.transpose(y, (1, 2, 3, 0))

    def _layer(self, x, layer):
        config = self.config
        directions = ("forward", "backward") if config.bidirectional else ("forward",)
        weights = [
            LSTMWeights(config.width, name=f"lstm_{layer}_{direction}")(x.shape[-1])
            for direction in directions
        ]
        run = {"scan": lstm_scan, "cudnn": lstm_cudnn}[config.implementation]
        return run(x, weights)


class LSTMWeights(nn.Module):
    """Parameters of one LSTM direction, gates in PyTorch's order: input, forget, cell, output.

    ``input``: (in, 4 width), ``recurrent``: (width, 4 width), ``bias``: (4 width,), whose forget
    part starts at 1 so that early gradients reach far.
    """

    width: int

    @nn.compact
    def __call__(self, inputs: int) -> dict[str, jax.Array]:
        width = self.width

        def bias_init(key, shape):
            del key
            return jnp.zeros(shape).at[width : 2 * width].set(1.0)

        glorot, orthogonal = nn.initializers.glorot_uniform(), nn.initializers.orthogonal()

        def per_gate(init):
            def draw(key, shape):
                rows, columns = shape
                keys = jax.random.split(key, 4)
                return jnp.concatenate([init(k, (rows, columns // 4)) for k in keys], axis=1)

            return draw

        return {
            "input": self.param("input", per_gate(glorot), (inputs, 4 * width)),
            "recurrent": self.param("recurrent", per_gate(orthogonal), (width, 4 * width)),
            "bias": self.param("bias", bias_init, (4 * width,)),
        }
