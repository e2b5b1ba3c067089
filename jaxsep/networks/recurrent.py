"""Mask networks of recurrent layers over frames: what those of LSTM, GRU and plain units share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxsep.networks.network import EIGEN_PRODUCTS, LinenNetwork
from jaxsep.nn.layers import ACTIVATIONS, BatchNorm, Dropout
from jaxsep.parts import ranged


@dataclass(frozen=True)
class RecurrentMask(LinenNetwork):
    """Options of a recurrent mask network. A kind of unit gives the facts below and :meth:`run`."""

    layers: int = ranged(3, least=1, most=64)
    """Number of recurrent layers."""
    width: int = ranged(1000, least=1, most=1 << 14)
    """Units of each layer (of each direction)."""
    bidirectional: bool = False
    """Read the frames in both directions: better, but not causal."""
    input_norm: bool = False
    """Batch normalization of each frequency bin of the input."""
    dropout: float = ranged(0.0, least=0, below=1)
    """Share of the units dropped between layers in training."""
    activation: Literal["sigmoid", "softplus", "relu", "abs", "linear"] = "relu"
    """Of the outputs."""

    cell: ClassVar[str]
    """Kind of unit, by which its parameters are named."""
    gates: ClassVar[int]
    """Projections of the input that a unit takes."""
    unit_bias_gate: ClassVar[int | None] = None
    """The projection whose bias starts at 1 instead of 0."""
    state_bias: ClassVar[bool] = False
    """Whether the last projection of the state has a bias of its own."""

    def run(self, x: jax.Array, weights: list[dict]) -> jax.Array:
        """One layer: ``(frames, batch, in)`` -> ``(frames, batch, width * len(weights))``."""
        raise NotImplementedError

    def run_from(self, x: jax.Array, weights: dict, state) -> tuple[jax.Array, Any]:
        """One layer that goes on from a state: the outputs, and the state of the last frame."""
        raise NotImplementedError

    def start(self, batch: int) -> Any:
        """The state of a layer before the first frame."""
        return jnp.zeros((batch, self.width), jnp.float32)

    def module(self, num_sources: int, num_bins: int) -> RecurrentMaskModule:
        """Return the module."""
        return RecurrentMaskModule(self, num_sources, num_bins)

    @property
    def causal(self) -> bool:
        """Whether an output frame depends on no later input frame."""
        return not self.bidirectional

    @property
    def cpu_options(self) -> dict[str, str]:
        """Products by Eigen: a quarter off the time of three layers of 1000 units."""
        return EIGEN_PRODUCTS


class RecurrentMaskModule(nn.Module):
    """``(batch, 1, bins, frames)`` features -> ``(batch, sources, bins, frames)``."""

    config: RecurrentMask
    num_sources: int
    num_bins: int

    @nn.compact
    def __call__(self, features, *, train=False, keys=None, mask=None, axis_name=None, carry=None):
        batch, channels, bins, frames = features.shape
        states = []
        x = features.reshape(batch, channels * bins, frames)
        if self.config.input_norm:
            x = BatchNorm(name="input_norm")(x, train=train, mask=mask, axis_name=axis_name)
        x = jnp.transpose(x, (2, 0, 1))
        for layer in range(self.config.layers):
            if layer:
                dropout = Dropout(self.config.dropout, batch_axis=1, name=f"dropout_{layer}")
                x = dropout(x, train=train, keys=keys)
            weights = self._weights(layer, x.shape[-1])
            if carry is None:
                x = self.config.run(x, weights)
            else:
                x, state = self.config.run_from(x, weights[0], carry[layer])
                states.append(state)
        activate, output_range = ACTIVATIONS[self.config.activation]
        zero = output_range == "any"
        bias_init = nn.initializers.zeros if zero else nn.initializers.ones  # a ReLU starts alive
        heads = nn.Dense(self.num_sources * self.num_bins, name="heads", bias_init=bias_init)
        y = activate(heads(x)).reshape(frames, batch, self.num_sources, self.num_bins)
        y = jnp.transpose(y, (1, 2, 3, 0))
        return y if carry is None else (y, tuple(states))

    def start(self, batch: int) -> tuple:
        """The states before the first frame."""
        return tuple(self.config.start(batch) for _ in range(self.config.layers))

    def _weights(self, layer, inputs):
        directions = ("forward", "backward") if self.config.bidirectional else ("forward",)
        return [
            CellWeights(
                self.config.width,
                self.config.gates,
                self.config.unit_bias_gate,
                self.config.state_bias,
                name=f"{self.config.cell}_{layer}_{direction}",
            )(inputs)
            for direction in directions
        ]


class CellWeights(nn.Module):
    """Parameters of one direction of a layer, the gates side by side in PyTorch's order.

    ``input``: (in, gates * width), ``recurrent``: (width, gates * width), ``bias``: (gates * width,), and
    for some units ``state_bias``: (width,).
    """

    width: int
    gates: int
    unit_bias_gate: int | None = None
    state_bias: bool = False

    @nn.compact
    def __call__(self, inputs: int) -> dict[str, jax.Array]:
        width, gates, gate = self.width, self.gates, self.unit_bias_gate

        def bias_init(key, shape):
            del key
            bias = jnp.zeros(shape, jnp.float32)
            return bias if gate is None else bias.at[gate * width : (gate + 1) * width].set(1.0)

        def per_gate(init):
            def draw(key, shape):
                rows, columns = shape
                keys = jax.random.split(key, gates)
                return jnp.concatenate([init(k, (rows, columns // gates)) for k in keys], axis=1)

            return draw

        glorot, orthogonal = nn.initializers.glorot_uniform(), nn.initializers.orthogonal()
        weights = {
            "input": self.param("input", per_gate(glorot), (inputs, gates * width)),
            "recurrent": self.param("recurrent", per_gate(orthogonal), (width, gates * width)),
            "bias": self.param("bias", bias_init, (gates * width,)),
        }
        if self.state_bias:
            weights["state_bias"] = self.param("state_bias", nn.initializers.zeros, (width,))
        return weights
