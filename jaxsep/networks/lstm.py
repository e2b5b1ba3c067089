"""LSTM mask network: stacked LSTM layers over frames, one dense ReLU head per source.

References:
  P.-S. Huang et al., "Singing-voice separation from monaural recordings using deep recurrent
  neural networks", ISMIR 2014. S. Hochreiter and J. Schmidhuber, "Long short-term memory",
  Neural Computation 9(8), 1997.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

from jaxsep.networks.recurrent import RecurrentMask
from jaxsep.nn.recurrence import lstm_cudnn, lstm_from, lstm_scan
from jaxsep.parts import register


@register("network", "lstm_mask")
@dataclass(frozen=True)
class LSTMMask(RecurrentMask):
    """Options of the LSTM mask network."""

    implementation: Literal["scan", "cudnn"] = "scan"
    """``scan`` runs anywhere; ``cudnn`` needs an NVIDIA GPU."""

    cell = "lstm"
    gates = 4
    unit_bias_gate = 1  # the forget gate's bias starts at 1, so that early gradients reach far

    def portable(self) -> LSTMMask:
        """The same network, with the implementation that runs anywhere."""
        return dataclasses.replace(self, implementation="scan")

    def run(self, x, weights):
        """One layer over ``(frames, batch, in)``."""
        return {"scan": lstm_scan, "cudnn": lstm_cudnn}[self.implementation](x, weights)

    def run_from(self, x, weights, state):
        """One layer that goes on from a state."""
        return lstm_from(x, weights, state)

    def start(self, batch):
        """Hidden and cell state of a layer before the first frame."""
        return super().start(batch), super().start(batch)
