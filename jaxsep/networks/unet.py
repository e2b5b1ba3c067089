"""U-Net: convolutions that halve a spectrogram level by level, and back, with skip connections.

References:
  A. Jansson et al., "Singing voice separation with deep U-Net convolutional networks",
  ISMIR 2017. O. Ronneberger et al., "U-Net: convolutional networks for biomedical image
  segmentation", MICCAI 2015. W. Choi et al., "Investigating U-Nets with various intermediate
  blocks for spectrogram-based singing voice separation", ISMIR 2020 (the layers over frequency).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp

from jaxsep.networks.network import YNNPACK_PRODUCTS, LinenNetwork
from jaxsep.nn.convolution import Conv, depth_to_space, max_pool
from jaxsep.nn.images import from_image, to_image
from jaxsep.nn.layers import ACTIVATIONS, BatchNorm, Dropout
from jaxsep.parts import ranged, register


@register("network", "unet")
@dataclass(frozen=True)
class UNet(LinenNetwork):
    """Options of the U-Net; the defaults are Jansson's."""

    levels: int = ranged(6, least=1, most=10)
    """How often both sides of the spectrogram are halved."""
    filters: int = ranged(16, least=1, most=1024)
    """Channels after the first level; each further level doubles them."""
    kernel: int = ranged(5, least=1, most=31, odd=True)
    """Side of the convolution kernels, odd."""
    resample: Literal["stride", "pool"] = "stride"
    """``stride``: one strided convolution a level and back (Jansson); ``pool``: two convolutions a
    level, max pooling, and 2 x 2 transposed convolutions back (Ronneberger)."""
    input_norm: bool = False
    """Batch normalization of each frequency bin of the input."""
    dropout: float = ranged(0.5, least=0, below=1)
    """Share of the values dropped in training in the first ``dropout_levels`` levels of the way back."""
    dropout_levels: int = ranged(3, least=0, most=16)
    tdf_bottleneck: int = ranged(0, least=0, most=65536)
    """Each level ends in a TDF block (Choi): what two dense layers over frequency, the same for every
    frame and channel, find in all its bins is added to it. The layer between has this many times fewer
    values than the level has bins; 0 for no such blocks."""
    activation: Literal["sigmoid", "softplus", "relu", "abs", "linear"] = "sigmoid"
    """Of the outputs."""

    def module(self, num_sources: int, num_bins: int) -> UNetModule:
        """Return the module."""
        return UNetModule(self, num_sources, num_bins)

    @property
    def cpu_options(self) -> dict[str, str]:
        """YNNPACK for products, convolutions too: a tenth off a training step, a third off separation."""
        return YNNPACK_PRODUCTS


class UNetModule(nn.Module):
    """``(batch, channels, bins, frames)`` features -> ``(batch, sources, bins, frames)``.

    Both sides are padded and cut again as :mod:`jaxsep.nn.images` says.
    """

    config: UNet
    num_sources: int
    num_bins: int

    @nn.compact
    def __call__(self, features, *, train=False, keys=None, mask=None, axis_name=None):
        config, (_, _, bins, frames) = self.config, features.shape
        norm = partial(BatchNorm, axis=-1)
        call = dict(train=train, mask=mask, axis_name=axis_name)
        if config.input_norm:
            features = BatchNorm(axis=2, name="input_norm")(features, **call)
        way = {"stride": _strided, "pool": _pooled}[config.resample]
        drop = partial(self._drop, train=train, keys=keys)

        def normalize(name):
            return partial(norm(name=name), **call)

        tdf = partial(_tdf, config.tdf_bottleneck, normalize)
        x = way(config, self.num_sources, to_image(features, config.levels), normalize, drop, tdf)
        return from_image(ACTIVATIONS[config.activation][0](x), config.levels, bins, frames)

    def _drop(self, x, step, train, keys):
        """Dropout of the ``step``-th level of the way back."""
        config = self.config
        rate = config.dropout if step < config.dropout_levels else 0.0
        return Dropout(rate, name=f"dropout_{step}")(x, train=train, keys=keys)


class FrequencyDense(nn.Module):
    """A dense layer over the bins of ``(batch, bins, frames, channels)``, alike everywhere else."""

    features: int

    @nn.compact
    def __call__(self, x):
        batch, bins, frames, channels = x.shape
        kernel = self.param("kernel", nn.initializers.he_normal(), (bins, self.features))
        y = jnp.einsum("fg,bfn->bgn", kernel, x.reshape(batch, bins, frames * channels))
        return y.reshape(batch, self.features, frames, channels)


def _tdf(bottleneck, norm, x, name):
    """Add what two dense layers over frequency find in all bins of each frame and channel."""
    if not bottleneck:
        return x
    bins, y = x.shape[1], x
    for i, size in enumerate((max(1, bins // bottleneck), bins), start=1):
        y = FrequencyDense(size, name=f"{name}_tdf{i}")(y)
        y = nn.relu(norm(f"{name}_tdf_norm{i}")(y))
    return x + y


def _strided(config, num_sources, x, norm, drop, tdf):
    """Strided convolutions down and transposed ones up, each with batch norm but the last."""
    widths = [config.filters << level for level in range(config.levels)]
    skips = []
    for level, width in enumerate(widths):
        x = Conv(width, config.kernel, "down", name=f"down_{level}")(x)
        x = tdf(nn.leaky_relu(norm(f"down_norm_{level}")(x), 0.2), f"down_{level}")
        skips.append(x)
    for step, level in enumerate(range(config.levels - 1, 0, -1)):
        x = x if step == 0 else jnp.concatenate([x, skips[level]], axis=-1)
        x = Conv(widths[level - 1], config.kernel, "up", name=f"up_{level}")(x)
        x = drop(tdf(nn.relu(norm(f"up_norm_{level}")(x)), f"up_{level}"), step)
    x = x if config.levels == 1 else jnp.concatenate([x, skips[0]], axis=-1)
    return Conv(num_sources, config.kernel, "up", bias=True, name="up_0")(x)


def _pooled(config, num_sources, x, norm, drop, tdf):
    """Two convolutions a level, pooling down and 2 x 2 transposed convolutions up."""

    def block(x, width, name):
        for i in (1, 2):
            x = Conv(width, config.kernel, name=f"{name}_conv{i}")(x)
            x = nn.relu(norm(f"{name}_norm{i}")(x))
        return tdf(x, name)

    skips = []
    for level in range(config.levels):
        x = block(x, config.filters << level, f"down_{level}")
        skips.append(x)
        x = max_pool(x)
    x = block(x, config.filters << config.levels, "bottom")
    for step, level in enumerate(reversed(range(config.levels))):
        width = config.filters << level
        x = depth_to_space(nn.Dense(4 * width, name=f"up_{level}")(x))
        x = drop(jnp.concatenate([x, skips[level]], axis=-1), step)
        x = block(x, width, f"up_{level}")
    return nn.Dense(num_sources, name="outputs")(x)
