"""Networks: one file each, and the table that finds them by name.

Everything outside this folder sees a network as variables and :func:`apply_network`, so which
module library a network is written in stays in here.
"""

from __future__ import annotations

import jax

from jaxsep.models.cnn_autoencoder import CNNAutoencoder, CNNAutoencoderConfig
from jaxsep.models.feed_forward import FeedForward, FeedForwardConfig
from jaxsep.models.lstm import LSTMMask, LSTMMaskConfig
from jaxsep.models.mask_estimation import MaskEstimation, MaskEstimationConfig
from jaxsep.models.unet import UNet, UNetConfig
from jaxsep.models.wave_unet import WaveUNet, WaveUNetConfig

#: Name in a config -> (config class, network class).
NETWORKS = {
    "lstm_mask": (LSTMMaskConfig, LSTMMask),
    "unet": (UNetConfig, UNet),
    "cnn_autoencoder": (CNNAutoencoderConfig, CNNAutoencoder),
    "feed_forward": (FeedForwardConfig, FeedForward),
    "mask_estimation": (MaskEstimationConfig, MaskEstimation),
    "wave_unet": (WaveUNetConfig, WaveUNet),
}

#: Any of the config classes, told apart by ``name``; the first where a config gives none.
NetworkConfig = (
    LSTMMaskConfig
    | UNetConfig
    | CNNAutoencoderConfig
    | FeedForwardConfig
    | MaskEstimationConfig
    | WaveUNetConfig
)


def build_network(config: NetworkConfig, num_sources: int, num_bins: int):
    """Return the network that ``config`` names, for this many sources and frequency bins."""
    _, network = NETWORKS[config.name]
    return network(config=config, num_sources=num_sources, num_bins=num_bins)


def init_network(network, key: jax.Array, features: jax.Array) -> dict:
    """Return fresh variables ``{"params": ..., "batch_stats": ...}`` for features of that shape."""
    return dict(network.init(key, features))


def apply_network(network, variables, features, *, train=False, key=None, mask=None, axis_name=None):
    """Run a network.

    Args:
      network: what :func:`build_network` returned.
      variables: ``{"params": ..., "batch_stats": ...}``.
      features: ``(batch, channels, bins, frames)``, or ``(batch, channels, samples)`` for a network
        whose config says ``domain == "samples"``.
      train: use statistics of the batch and dropout.
      key: ``(batch,)`` random keys, one per example; needed for dropout when ``train``.
      mask: ``(batch,)`` weights of the examples in statistics of the batch; None for all 1.
      axis_name: mapped device axis over which statistics are summed.

    Returns:
      ``(batch, sources, bins, frames)`` or ``(batch, sources, samples)`` outputs, and the new
      ``batch_stats`` (the old ones unless ``train``).
    """
    call = dict(train=train, keys=key, mask=mask, axis_name=axis_name)
    if not train:
        return network.apply(variables, features, **call), variables.get("batch_stats", {})
    outputs, updated = network.apply(variables, features, **call, mutable=["batch_stats"])
    return outputs, dict(updated).get("batch_stats", {})
