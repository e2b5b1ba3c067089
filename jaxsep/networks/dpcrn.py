"""DPCRN: convolutions that halve the bins, and recurrences over frequency and over time between them.

Every convolution but the first sees a frame and the one before it, so with recurrences in one direction
what a frame gives waits for no later one. What lies further away reaches it by the recurrence over time,
which is the same for every band.

Not as published: magnitudes, and real masks of any number of sources, instead of a complex mask; bins in
pairs and kernels of three of them instead of strides; leaky ReLU on the way down, ReLU back; layer
normalization over channels alone; dropout.

References:
  X. Le, H. Chen, K. Chen, J. Lu, "DPCRN: Dual-path convolution recurrent network for single channel speech
  enhancement", Interspeech 2021. K. Tan, D. Wang, "A convolutional recurrent neural network for real-time
  speech enhancement", Interspeech 2018. Y. Luo, Z. Chen, T. Yoshioka, "Dual-path RNN: Efficient long sequence
  modeling for time-domain single-channel speech separation", ICASSP 2020.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp

from jaxsep.networks.network import EIGEN_PRODUCTS, LinenNetwork
from jaxsep.networks.recurrent import CellWeights
from jaxsep.nn.convolution import BinConv
from jaxsep.nn.images import from_image, padded_height, to_image
from jaxsep.nn.layers import ACTIVATIONS, BatchNorm, Dropout
from jaxsep.nn.recurrence import lstm_from, lstm_scan
from jaxsep.parts import ranged, register


@register("network", "dpcrn")
@dataclass(frozen=True)
class DPCRN(LinenNetwork):
    """Options of the dual-path convolutional recurrent network."""

    levels: int = ranged(4, least=1, most=10)
    """How often the bins are halved; frames are not."""
    filters: int = ranged(16, least=1, most=1024)
    """Channels after the first level; each further level doubles them, up to ``width``."""
    width: int = ranged(64, least=2, most=4096)
    """Units of a recurrence over time (in each direction), of one over frequency half of them in each, and
    the most channels of a level."""
    blocks: int = ranged(2, least=1, most=16)
    """Pairs of a recurrence over frequency and one over time, each added to its input."""
    bidirectional: bool = False
    """Recurrences over time read the frames in both directions; then it is not causal."""
    input_norm: bool = False
    """Batch normalization of each frequency bin of the input."""
    dropout: float = ranged(0.0, least=0, below=1)
    """Share of the values dropped in training behind the recurrences over time."""
    activation: Literal["sigmoid", "softplus", "relu", "abs", "linear"] = "sigmoid"
    """Of the outputs."""

    @property
    def causal(self) -> bool:
        """Whether an output frame depends on no later input frame."""
        return not self.bidirectional

    @property
    def cpu_options(self) -> dict[str, str]:
        """Convolutions and products by Eigen: a third off separation, a fifth off a training step."""
        return EIGEN_PRODUCTS

    def module(self, num_sources: int, num_bins: int) -> DPCRNModule:
        """Return the module."""
        return DPCRNModule(self, num_sources, num_bins)

    @property
    def channels(self) -> list[int]:
        """Channels after each level."""
        return [min(self.filters << level, self.width) for level in range(self.levels)]


class DPCRNModule(nn.Module):
    """``(batch, channels * views, bins, frames)`` features -> ``(batch, sources, bins, frames)``.

    A carry is the last frame before each convolution but the first, which sees one frame alone, and hidden
    and cell state of each recurrence over time.
    """

    config: DPCRN
    num_sources: int
    num_bins: int

    @nn.compact
    def __call__(self, features, *, train=False, keys=None, mask=None, axis_name=None, carry=None):
        config, (_, _, bins, frames) = self.config, features.shape
        last = None if carry is None else iter(carry)
        call = dict(train=train, mask=mask, axis_name=axis_name)
        kept: list = []

        def normalize(x, name):
            return BatchNorm(axis=-1, name=name)(x, **call)

        def convolve(x, width, name):
            """Three bins of a frame and of the one before it."""
            before = jnp.zeros_like(x[:, :1]) if last is None else next(last)
            kept.append(x[:, -1:])
            return BinConv(width, name=name)(jnp.concatenate([before, x], axis=1))

        if config.input_norm:
            features = BatchNorm(axis=2, name="input_norm")(features, **call)
        # (batch, frames, bins, channels) from here on
        x = jnp.swapaxes(to_image(features, config.levels), 1, 2)[:, :frames]
        skips = []
        for level, width in enumerate(config.channels):
            x, name = _paired(x), f"down_{level}"
            x = convolve(x, width, name) if level else BinConv(width, frames=1, name=name)(x)
            x = nn.leaky_relu(normalize(x, f"down_norm_{level}"), 0.2)
            skips.append(x)
        for block in range(config.blocks):
            x = x + self._over_bins(x, block)
            found, state = self._over_frames(x, block, None if last is None else next(last))
            kept.append(state)
            x = x + Dropout(config.dropout, name=f"dropout_{block}")(found, train=train, keys=keys)
        for level in range(config.levels - 1, 0, -1):
            x = jnp.concatenate([x, skips[level]], axis=-1)
            x = _parted(convolve(x, 2 * config.channels[level - 1], f"up_{level}"))
            x = nn.relu(normalize(x, f"up_norm_{level}"))
        x = jnp.concatenate([x, skips[0]], axis=-1)
        x = jnp.swapaxes(_parted(convolve(x, 2 * self.num_sources, "up_0")), 1, 2)
        y = from_image(ACTIVATIONS[config.activation][0](x), config.levels, bins, frames)
        return y if carry is None else (y, tuple(kept))

    def start(self, batch: int) -> tuple:
        """The frames and states before the first frame."""
        config, channels = self.config, self.config.channels
        bins = [padded_height(self.num_bins, config.levels) >> level for level in range(config.levels + 1)]
        frames = [(bins[level + 1], 2 * channels[level - 1]) for level in range(1, config.levels)]
        back = [(bins[level + 1], 2 * channels[level]) for level in range(config.levels - 1, -1, -1)]
        state = jnp.zeros((batch * bins[-1], config.width), jnp.float32)
        down, up = ([jnp.zeros((batch, 1, *each), jnp.float32) for each in way] for way in (frames, back))
        return (*down, *(((state, state),) * config.blocks), *up)

    def _over_bins(self, x, block):
        """A recurrence over the bins of each frame, in both directions."""
        batch, frames, bins, channels = x.shape
        rows = jnp.transpose(x, (2, 0, 1, 3)).reshape(bins, batch * frames, channels)
        names = (f"bins_{block}_up", f"bins_{block}_down")
        weights = self._weights(names, self.config.width // 2, channels)
        y = self._back(lstm_scan(rows, weights), channels, f"bins_{block}")
        return jnp.transpose(y.reshape(bins, batch, frames, channels), (1, 2, 0, 3))

    def _over_frames(self, x, block, state):
        """A recurrence over the frames of each bin, and its state behind the last."""
        batch, frames, bins, channels = x.shape
        rows = jnp.transpose(x, (1, 0, 2, 3)).reshape(frames, batch * bins, channels)
        names = (f"frames_{block}", f"frames_{block}_backward")[: 1 + self.config.bidirectional]
        weights = self._weights(names, self.config.width, channels)
        if state is None:
            y = lstm_scan(rows, weights)
        else:
            y, state = lstm_from(rows, weights[0], state)
        y = self._back(y, channels, f"frames_{block}")
        return jnp.transpose(y.reshape(frames, batch, bins, channels), (1, 0, 2, 3)), state

    def _weights(self, names, width, inputs):
        return [CellWeights(width, gates=4, unit_bias_gate=1, name=f"lstm_{n}")(inputs) for n in names]

    def _back(self, y, channels, name):
        return nn.LayerNorm(name=f"norm_{name}")(nn.Dense(channels, name=f"dense_{name}")(y))


def _paired(x):
    """``(batch, frames, 2 bins, channels)`` -> ``(batch, frames, bins, 2 channels)``."""
    batch, frames, bins, channels = x.shape
    return x.reshape(batch, frames, bins // 2, 2 * channels)


def _parted(x):
    """The inverse of :func:`_paired`."""
    batch, frames, bins, channels = x.shape
    return x.reshape(batch, frames, 2 * bins, channels // 2)
