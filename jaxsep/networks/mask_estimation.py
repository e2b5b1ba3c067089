"""Deep mask estimation: a feed-forward network from spectrogram frames with context to masks.

Train it on masks (the loss ``mask_mse``, with the ideal mask that is the target) or through them.

References:
  Y. Wang, A. Narayanan, D. Wang, "On training targets for supervised speech separation",
  IEEE/ACM TASLP 22(12), 2014.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jaxsep.networks.feed_forward import FeedForward
from jaxsep.parts import ranged, register


@register("network", "mask_estimation")
@dataclass(frozen=True)
class MaskEstimation(FeedForward):
    """Options of the mask estimation network: those of the feed-forward one, other defaults."""

    layers: tuple[int, ...] = ranged((1024, 1024, 1024), least=1, most=1 << 14)
    context: int = ranged(3, least=0, most=64)
    hidden: Literal["prelu", "relu"] = "relu"
    input_norm: bool = True
    dropout: float = ranged(0.2, least=0, below=1)
    activation: Literal["sigmoid", "softplus", "relu", "abs", "tanh", "linear"] = "sigmoid"
