"""The U-Net of Spleeter: skip connections before normalization, and a dilated convolution at the end.

References:
  R. Hennequin, A. Khlif, F. Voituret, M. Moussallam, "Spleeter: a fast and efficient music source
  separation tool with pre-trained models", Journal of Open Source Software 5(50), 2020.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxsep.networks.network import YNNPACK_PRODUCTS, LinenNetwork
from jaxsep.nn.convolution import Conv, conv_dilated
from jaxsep.nn.images import from_image, to_image
from jaxsep.nn.layers import ACTIVATIONS, BatchNorm, Dropout
from jaxsep.parts import ranged, register


@register("network", "spleeter_unet")
@dataclass(frozen=True)
class SpleeterUNet(LinenNetwork):
    """Options of the U-Net; the defaults are those of the published two-stem model."""

    levels: int = ranged(6, least=1, most=10)
    """How often both sides of the spectrogram are halved."""
    filters: int = ranged(16, least=1, most=1024)
    """Channels after the first level; each further level doubles them."""
    activation: Literal["sigmoid", "linear"] = "sigmoid"
    """Of the outputs; ``linear`` where a softmax over sources follows."""
    inner: Literal["relu", "elu"] = "relu"
    """Between layers: ``relu``, leaky on the way down, or ``elu`` on both, as with four and five stems."""
    dropout: float = ranged(0.5, least=0, below=1)
    """Share of the values dropped in training in the first ``dropout_levels`` levels of the way back."""
    dropout_levels: int = ranged(3, least=0, most=16)

    def module(self, num_sources: int, num_bins: int) -> SpleeterUNetModule:
        """Return the module."""
        return SpleeterUNetModule(self, num_sources)

    @property
    def cpu_options(self) -> dict[str, str]:
        """Its convolutions by YNNPACK: a sixth off its time by jax 0.10; by 0.12 others are as fast."""
        return YNNPACK_PRODUCTS


class SpleeterUNetModule(nn.Module):
    """``(batch, channels, bins, frames)`` magnitudes -> ``(batch, outputs, bins, frames)``."""

    config: SpleeterUNet
    outputs: int

    @nn.compact
    def __call__(self, features, *, train=False, keys=None, mask=None, axis_name=None):
        config, (_, _, bins, frames) = self.config, features.shape
        call = dict(train=train, mask=mask, axis_name=axis_name)
        # TensorFlow pads strided convolutions at the end first; turned round, that is our padding.
        x = to_image(features, config.levels)[:, ::-1, ::-1]
        leaky: Callable = partial(nn.leaky_relu, negative_slope=0.2)
        down, up = (nn.elu, nn.elu) if config.inner == "elu" else (leaky, nn.relu)

        def norm(name, y):
            return BatchNorm(axis=-1, momentum=0.99, epsilon=1e-3, name=name)(y, **call)

        skips: list[jax.Array] = []
        for level in range(config.levels):
            if skips:
                x = down(norm(f"down_norm_{level - 1}", x))
            x = Conv(config.filters << level, way="down", bias=True, name=f"down_{level}")(x)
            skips.append(x)
        for step, level in enumerate(reversed(range(config.levels))):
            if step:
                x = jnp.concatenate([skips[level], x], axis=-1)
            width = config.filters << (level - 1) if level else 1
            x = Conv(width, way="up", bias=True, name=f"up_{level}")(x)
            x = norm(f"up_norm_{level}", up(x))
            rate = config.dropout if step < min(config.dropout_levels, config.levels - 1) else 0.0
            x = Dropout(rate, name=f"dropout_{step}")(x, train=train, keys=keys)
        x = DilatedConv(self.outputs, name="outputs")(x)[:, ::-1, ::-1]
        return from_image(ACTIVATIONS[config.activation][0](x), config.levels, bins, frames)


class DilatedConv(nn.Module):
    """4 x 4 convolution of every other pixel, zero-padded to the same size."""

    features: int

    @nn.compact
    def __call__(self, x):
        kernel = self.param("kernel", nn.initializers.he_normal(), (4, 4, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return conv_dilated(x, kernel) + bias
