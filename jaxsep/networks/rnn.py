"""RNN mask network: the LSTM mask network with plain recurrent units, a quarter of its parameters.

References:
  J. Elman, "Finding structure in time", Cognitive Science 14(2), 1990.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxsep.networks.recurrent import RecurrentMask
from jaxsep.nn.recurrence import rnn_from, rnn_scan
from jaxsep.parts import register


@register("network", "rnn_mask")
@dataclass(frozen=True)
class RNNMask(RecurrentMask):
    """Options of the RNN mask network."""

    cell = "rnn"
    gates = 1

    def run(self, x, weights):
        """One layer over ``(frames, batch, in)``."""
        return rnn_scan(x, weights)

    def run_from(self, x, weights, state):
        """One layer that goes on from a state."""
        return rnn_from(x, weights, state)
