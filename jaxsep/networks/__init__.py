"""Networks: one file each, registered by name; :mod:`jaxsep.networks.network` says what a network is.

Which module library a network is written in stays in its file; ours are in Flax Linen.
"""

from __future__ import annotations

from jaxsep.networks.cnn_autoencoder import CNNAutoencoder as CNNAutoencoder
from jaxsep.networks.complement import Complement as Complement
from jaxsep.networks.dpcrn import DPCRN as DPCRN
from jaxsep.networks.feed_forward import FeedForward as FeedForward
from jaxsep.networks.gru import GRUMask as GRUMask
from jaxsep.networks.lstm import LSTMMask as LSTMMask
from jaxsep.networks.mask_estimation import MaskEstimation as MaskEstimation
from jaxsep.networks.network import BuiltNetwork as BuiltNetwork
from jaxsep.networks.network import LinenNetwork as LinenNetwork
from jaxsep.networks.network import NetworkFacts as NetworkFacts
from jaxsep.networks.openunmix import OpenUnmix as OpenUnmix
from jaxsep.networks.per_source import PerSource as PerSource
from jaxsep.networks.remainder import Remainder as Remainder
from jaxsep.networks.rnn import RNNMask as RNNMask
from jaxsep.networks.spleeter import SpleeterUNet as SpleeterUNet
from jaxsep.networks.unet import UNet as UNet
from jaxsep.networks.wave_unet import WaveUNet as WaveUNet
