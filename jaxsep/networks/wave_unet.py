"""Wave-U-Net: a U-Net over samples, decimated and interpolated level by level.

References:
  D. Stoller, S. Ewert, S. Dixon, "Wave-U-Net: a multi-scale neural network for end-to-end audio
  source separation", ISMIR 2018.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp

from jaxsep.networks.network import LinenBuilt, LinenNetwork
from jaxsep.nn.convolution import conv_time
from jaxsep.nn.layers import ACTIVATIONS
from jaxsep.parts import ranged, register


@register("network", "wave_unet")
@dataclass(frozen=True)
class WaveUNet(LinenNetwork):
    """Options of the Wave-U-Net; the defaults are the paper's."""

    levels: int = ranged(12, least=1, most=16)
    """How often the time resolution is halved."""
    filters: int = ranged(24, least=1, most=512)
    """Channels that each level adds."""
    down_kernel: int = ranged(15, least=1, most=255, odd=True)
    """Taps of the convolutions on the way down, odd."""
    up_kernel: int = ranged(5, least=1, most=255, odd=True)
    """Taps of the convolutions on the way up, odd."""
    difference: bool = True
    """The last source is what the others leave of the mixture."""
    activation: Literal["tanh", "linear"] = "tanh"
    """Of the outputs."""

    def build(self, *, sources: int, channels: int, bins: int) -> LinenBuilt:
        """Return the network; channels share its difference, so the module knows them."""
        return LinenBuilt(WaveUNetModule(self, sources, bins, channels), sources, channels)

    @property
    def domain(self) -> Literal["frames", "samples"]:
        """It maps ``(batch, channels, samples)``."""
        return "samples"

    @property
    def sums_to_input(self) -> bool:
        """Whether its outputs sum to its input."""
        return self.difference

    def check(self, num_sources: int, num_bins: int) -> None:
        """Raise ValueError when no source is left to learn."""
        if self.difference and num_sources < 2:
            raise ValueError("difference=True: needs at least two sources; give difference: false")


class WaveUNetModule(nn.Module):
    """``(batch, channels, samples)`` -> ``(batch, sources * channels, samples)``; zeros pad both ends.

    The length is padded with zeros to a multiple of ``2 ** levels`` and cut again.
    """

    config: WaveUNet
    num_sources: int
    num_bins: int
    channels: int = 1

    @nn.compact
    def __call__(self, features, *, train=False, keys=None, mask=None, axis_name=None):
        config, samples = self.config, features.shape[-1]
        padding = -samples % (1 << config.levels)
        mixture = jnp.pad(jnp.swapaxes(features, 1, 2), ((0, 0), (0, padding), (0, 0)))
        x, skips = mixture, []
        for level in range(1, config.levels + 1):
            x = self._convolve(x, config.filters * level, config.down_kernel, f"down_{level}")
            skips.append(x)
            x = x[:, ::2]
        x = self._convolve(x, config.filters * (config.levels + 1), config.down_kernel, "bottom")
        for level in range(config.levels, 0, -1):
            x = jnp.concatenate([_interpolate(x), skips[level - 1]], axis=-1)
            x = self._convolve(x, config.filters * level, config.up_kernel, f"up_{level}")
        learned = (self.num_sources - config.difference) * self.channels
        small = nn.initializers.variance_scaling(0.01, "fan_in", "truncated_normal")  # far from tanh's ends
        y = nn.Dense(learned, kernel_init=small, name="outputs")(jnp.concatenate([x, mixture], axis=-1))
        y = jnp.swapaxes(ACTIVATIONS[config.activation][0](y), 1, 2)[..., :samples]
        if not config.difference:
            return y
        each = y.reshape(len(y), -1, self.channels, samples)
        return jnp.concatenate([y, features - jnp.sum(each, axis=1)], axis=1)

    def _convolve(self, x, features, taps, name):
        return nn.leaky_relu(Convolution(features, taps, name=name)(x), 0.2)


class Convolution(nn.Module):
    """Convolution over time, zero-padded to the same length."""

    features: int
    taps: int

    @nn.compact
    def __call__(self, x):
        shape = (self.taps, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        side = self.taps // 2
        return conv_time(jnp.pad(x, ((0, 0), (side, side), (0, 0))), kernel) + bias


def _interpolate(x):
    """Twice as many samples: the means of neighbors between them, the last one repeated."""
    after = jnp.concatenate([x[:, 1:], x[:, -1:]], axis=1)
    both = jnp.stack([x, 0.5 * (x + after)], axis=2)
    return both.reshape(x.shape[0], 2 * x.shape[1], x.shape[2])
