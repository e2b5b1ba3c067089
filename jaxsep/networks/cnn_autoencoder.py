"""CNN auto-encoder: frequency, time and dense layers that are shared, and a decoder per source.

References:
  P. Chandna et al., "Monoaural audio source separation using deep convolutional neural
  networks", LVA/ICA 2017.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp

from jaxsep.networks.network import YNNPACK_PRODUCTS, LinenNetwork
from jaxsep.nn.convolution import conv_time, conv_time_transposed
from jaxsep.nn.layers import ACTIVATIONS
from jaxsep.parts import check_ranges, ranged, register

Way = Literal["valid", "transposed", "padded"]


@register("network", "cnn_autoencoder")
@dataclass(frozen=True)
class CNNAutoencoder(LinenNetwork):
    """Options of the CNN auto-encoder; with five sources and 257 bins it has 9.96 M parameters."""

    frames: int = ranged(517, least=1, most=1 << 14)
    """Frames of the window that the network takes."""
    frequency_filters: int = ranged(50, least=1, most=1 << 14)
    frequency_kernel: int = ranged(0, least=0, most=65536)
    """Bins that a filter of the first convolution spans; 0 for all."""
    time_filters: int = ranged(30, least=1, most=1 << 14)
    time_kernel: int = ranged(150, least=1, most=1 << 14)
    """Frames that a filter of the second convolution spans."""
    width: int = ranged(128, least=1, most=1 << 14)
    """Units of the shared dense layer."""
    deconvolution: bool = True
    """Transposed convolutions in the decoders; otherwise convolutions of what zeros behind the last
    frame have made long enough, which do not reach the last ``time_kernel - 1`` frames. (Zeros on
    both sides would be the same map as a transposed convolution.)"""
    activation: Literal["relu", "softplus", "sigmoid", "abs", "linear"] = "relu"
    """Of the outputs."""

    def __post_init__(self):
        check_ranges(self)
        if self.time_kernel > self.frames:
            raise ValueError(
                f"time_kernel={self.time_kernel}: the window has only frames={self.frames}; take a "
                "shorter kernel, or a shorter hop_length or a longer window for more frames"
            )

    def module(self, num_sources: int, num_bins: int) -> CNNAutoencoderModule:
        """Return the module."""
        return CNNAutoencoderModule(self, num_sources, num_bins)

    @property
    def window(self) -> int | None:
        """Frames that the network takes at once."""
        return self.frames

    @property
    def cpu_options(self) -> dict[str, str]:
        """YNNPACK for products alone, not for sums: a fifth off a training step."""
        return YNNPACK_PRODUCTS

    def check(self, num_sources: int, num_bins: int) -> None:
        """Raise ValueError when a filter spans more bins than there are."""
        if self.frequency_kernel > num_bins:
            raise ValueError(
                f"frequency_kernel={self.frequency_kernel}: there are only {num_bins} bins; "
                "take fewer, 0 for all, or a longer n_fft"
            )


class CNNAutoencoderModule(nn.Module):
    """``(batch, channels, bins, frames)`` features -> ``(batch, sources, bins, frames)``.

    Convolution over frequency, convolution over time, dense + ReLU; then for each source dense +
    ReLU and the two transposed convolutions back.
    """

    config: CNNAutoencoder
    num_sources: int
    num_bins: int

    @nn.compact
    def __call__(self, features, *, train=False, keys=None, mask=None, axis_name=None):
        config, (batch, _, bins, frames) = self.config, features.shape
        if frames != config.frames:
            raise ValueError(f"features.shape={features.shape}: the network takes frames={config.frames}")
        span = config.frequency_kernel or bins
        x = jnp.transpose(features, (0, 3, 2, 1)).reshape(batch * frames, bins, -1)
        x = Filters(config.frequency_filters, span, name="frequency")(x)
        x = _swap(x, batch)
        x = Filters(config.time_filters, config.time_kernel, name="time")(x)
        shape = x.shape
        x = nn.relu(nn.Dense(config.width, name="dense")(x.reshape(batch, -1)))
        outputs = [self._decode(x, shape, f"decoder_{i}") for i in range(self.num_sources)]
        y = self._frequencies(outputs, span).reshape(-1, batch, config.frames, self.num_bins)
        return jnp.transpose(ACTIVATIONS[config.activation][0](y), (1, 0, 3, 2))

    def _decode(self, x, shape, name):
        """``(batch, width)`` -> ``(batch * frames, bins - span + 1, filters)``: one source."""
        config, batch = self.config, x.shape[0]
        way: Way = "transposed" if config.deconvolution else "padded"
        size = shape[0] // batch * shape[1] * shape[2]
        x = nn.relu(nn.Dense(size, name=f"{name}_dense")(x)).reshape(shape)
        x = Filters(config.frequency_filters, config.time_kernel, way, name=f"{name}_time")(x)
        return _swap(x, batch)

    def _frequencies(self, outputs, span):
        """The last layer of each source: ``(sources, batch * frames, bins)``.

        Where its filters span all bins it is one product for all sources: as a product for each, XLA computes
        the gradient of all their outputs anew for every one of them.
        """
        shape = (span, outputs[0].shape[-1], 1)
        weights = [Weights(name=f"decoder_{i}_frequency")(shape) for i in range(len(outputs))]
        if outputs[0].shape[1] == 1:
            kernels = jnp.stack([kernel[..., 0].T for kernel, _ in weights])
            y = jnp.einsum("src,scb->srb", jnp.stack([x[:, 0] for x in outputs]), kernels)
            return y + jnp.stack([bias for _, bias in weights])[:, None]
        pairs = zip(outputs, weights, strict=True)
        return jnp.stack([conv_time_transposed(x, kernel)[..., 0] + bias for x, (kernel, bias) in pairs])


class Weights(nn.Module):
    """The kernel of the last convolution of a decoder, and its bias, which begins at one."""

    @nn.compact
    def __call__(self, shape):
        kernel = self.param("kernel", _init, shape)
        return kernel, self.param("bias", nn.initializers.ones, shape[-1:])


class Filters(nn.Module):
    """Convolution over the middle axis of ``(rows, length, channels)``; a whole one is one product.

    ``valid`` shortens the axis by ``span - 1``, ``transposed`` and ``padded`` lengthen it.
    """

    features: int
    span: int
    way: Way = "valid"

    @nn.compact
    def __call__(self, x):
        rows, length, channels = x.shape
        kernel = self.param("kernel", _init, (self.span, channels, self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        if self.way == "valid" and length == self.span:
            y = (x.reshape(rows, -1) @ kernel.reshape(-1, self.features))[:, None]
        elif self.way == "transposed" and length == 1:
            y = x.reshape(rows, channels) @ kernel.transpose(1, 0, 2).reshape(channels, -1)
            y = y.reshape(rows, self.span, self.features)
        elif self.way == "transposed":
            y = conv_time_transposed(x, kernel)
        else:
            more = 2 * (self.span - 1) if self.way == "padded" else 0
            y = conv_time(jnp.pad(x, ((0, 0), (0, more), (0, 0))), kernel)
        return y + bias


def _swap(x, batch):
    """``(batch * a, b, channels)`` -> ``(batch * b, a, channels)``."""
    rows, length, channels = x.shape
    x = x.reshape(batch, rows // batch, length, channels)
    return jnp.swapaxes(x, 1, 2).reshape(batch * length, rows // batch, channels)


_init = nn.initializers.variance_scaling(1.0, "fan_avg", "uniform", in_axis=-2, out_axis=-1)
