"""Open-Unmix: LSTM layers between dense ones, from a mixture's magnitudes to those of its sources.

References:
  F.-R. Stöter, S. Uhlich, A. Liutkus, Y. Mitsufuji, "Open-Unmix: a reference implementation for music source
  separation", Journal of Open Source Software 4(41), 2019. S. Uhlich et al., "Improving music source
  separation based on deep neural networks through data augmentation and network blending", ICASSP 2017.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp

from jaxsep.networks.network import EIGEN_PRODUCTS, LinenBuilt, LinenNetwork
from jaxsep.networks.recurrent import CellWeights
from jaxsep.nn.layers import BatchNorm, Dropout, OutputRange
from jaxsep.nn.recurrence import lstm_cudnn, lstm_from, lstm_scan
from jaxsep.parts import ranged, register


@register("network", "openunmix")
@dataclass(frozen=True)
class OpenUnmix(LinenNetwork):
    """Options of the network; the defaults are those of the published models, which are one a source.

    Its outputs are magnitudes, the features times factors at or above 0: take it with ``direct`` as the head,
    or ``ratio``.

    Example:
      >>> import jax
      >>> network = OpenUnmix(layers=1, width=8, heard=5).build(sources=1, channels=2, bins=9)
      >>> features = jnp.ones((3, 2, 9, 7))
      >>> network.apply(network.init(jax.random.key(0), features), features)[0].shape
      (3, 1, 2, 9, 7)
    """

    layers: int = ranged(3, least=1, most=64)
    """Number of LSTM layers."""
    width: int = ranged(512, least=2, most=1 << 14)
    """Units of the dense layers and of each LSTM layer, both directions together."""
    heard: int | None = ranged(None, least=1, most=65536)
    """Lowest bins that it hears (1487 of 2049 of the published models: 16 kHz); None for all. It estimates
    all of them."""
    bidirectional: bool = True
    """Read the frames in both directions: better, but not causal."""
    dropout: float = ranged(0.4, least=0, below=1)
    """Share of the units dropped between LSTM layers in training."""
    implementation: Literal["scan", "cudnn"] = "scan"
    """``scan`` runs anywhere; ``cudnn`` needs an NVIDIA GPU."""

    def __post_init__(self):
        if self.bidirectional and self.width % 2:
            raise ValueError(f"width={self.width}: expected an even number, half for each direction")

    @property
    def causal(self) -> bool:
        """Whether an output frame depends on no later input frame."""
        return not self.bidirectional

    @property
    def cpu_options(self) -> dict[str, str]:
        """Products by Eigen: a tenth off a training step."""
        return EIGEN_PRODUCTS

    @property
    def output_range(self) -> OutputRange:
        """Where its outputs lie."""
        return "not negative"

    def portable(self) -> OpenUnmix:
        """The same network, with the implementation that runs anywhere."""
        return dataclasses.replace(self, implementation="scan")

    def check(self, num_sources: int, num_bins: int) -> None:
        """Raise ValueError when there are fewer bins than it hears."""
        if (self.heard or 0) > num_bins:
            raise ValueError(f"network.heard={self.heard}: expected at most the codec's bins, {num_bins}")

    def build(self, *, sources: int, channels: int, bins: int) -> LinenBuilt:
        """Return the network for this many sources, channels heard together, and bins."""
        return LinenBuilt(OpenUnmixModule(self, sources, channels, bins), sources, channels)


class OpenUnmixModule(nn.Module):
    """``(batch, channels * views, bins, frames)`` -> ``(batch, sources * channels, bins, frames)``.

    Of several views of a channel the first is its magnitudes.
    """

    config: OpenUnmix
    sources: int
    channels: int
    bins: int

    @nn.compact
    def __call__(self, features, *, train=False, keys=None, mask=None, axis_name=None, carry=None):
        config, outputs = self.config, self.sources * self.channels
        batch, views, bins, frames = features.shape
        heard = config.heard or self.bins
        norm = partial(BatchNorm, axis=-1, momentum=0.9)
        call = dict(train=train, mask=mask, axis_name=axis_name)
        dense = partial(nn.Dense, use_bias=False)
        zeros, ones = nn.initializers.zeros, nn.initializers.ones

        def per_bin(name, size, init=ones):
            return self.param(name, init, (size,))

        x = jnp.transpose(features, (0, 3, 1, 2))  # (batch, frames, views, bins)
        x = (x[..., :heard] + per_bin("input_mean", heard, zeros)) * per_bin("input_scale", heard)
        x = dense(config.width, name="fc1")(x.reshape(batch, frames, views * heard))
        x = jnp.tanh(norm(name="bn1")(x, **call))
        again, carried = self._recurrence(x, train, keys, carry)
        x = jnp.concatenate([x, again], axis=-1)
        x = nn.relu(norm(name="bn2")(dense(config.width, name="fc2")(x), **call))
        x = norm(name="bn3")(dense(outputs * bins, name="fc3")(x), **call)
        x = x.reshape(batch, frames, outputs, bins)
        x = nn.relu(x * per_bin("output_scale", bins) + per_bin("output_mean", bins))
        x = jnp.transpose(x, (0, 2, 3, 1))
        x = x * jnp.tile(nn.relu(features[:, : self.channels]), (1, self.sources, 1, 1))
        return x if carry is None else (x, carried)

    def start(self, batch: int) -> tuple:
        """The states of the LSTM layers before the first frame."""
        zeros = jnp.zeros((batch, self.config.width), jnp.float32)
        return ((zeros, zeros),) * self.config.layers

    def _recurrence(self, x, train, keys, carry):
        """The LSTM layers on ``(batch, frames, width)``, theirs with frames first, and their states."""
        config = self.config
        directions = ("forward", "backward") if config.bidirectional else ("forward",)
        run = {"scan": lstm_scan, "cudnn": lstm_cudnn}[config.implementation]
        x, states = jnp.swapaxes(x, 0, 1), []
        for layer in range(config.layers):
            if layer:
                dropout = Dropout(config.dropout, batch_axis=1, name=f"dropout_{layer}")
                x = dropout(x, train=train, keys=keys)
            width = config.width // len(directions)
            weights = [
                CellWeights(width, gates=4, unit_bias_gate=1, name=f"lstm_{layer}_{d}")(x.shape[-1])
                for d in directions
            ]
            if carry is None:
                x = run(x, weights)
            else:
                x, state = lstm_from(x, weights[0], carry[layer])
                states.append(state)
        return jnp.swapaxes(x, 0, 1), tuple(states)
