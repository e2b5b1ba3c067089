"""Deep mask estimation: a feed-forward network from spectrogram frames with context to masks.

Train it on masks (the loss ``mask_mse``, with the ideal mask that is the target) or through them.

References:
  Y. Wang, A. Narayanan, D. Wang, "On training targets for supervised speech separation",
  IEEE/ACM TASLP 22(12), 2014.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jaxsep.models.feed_forward import FeedForward, FeedForwardConfig


@dataclass(frozen=True)
class MaskEstimationConfig(FeedForwardConfig):
    """Options of the mask estimation network: those of the feed-forward one, other defaults."""

    name: Literal["mask_estimation"] = "mask_estimation"  # type: ignore[assignment]
    layers: tuple[int, ...] = (1024, 1024, 1024)
    context: int = 3
    hidden: Literal["prelu", "relu"] = "relu"
    input_norm: bool = True
    dropout: float = 0.2
    activation: Literal["sigmoid", "softplus", "relu", "abs", "tanh", "linear"] = "sigmoid"


class MaskEstimation(FeedForward):
    """``(batch, channels, bins, frames)`` features -> ``(batch, sources, bins, frames)``."""
