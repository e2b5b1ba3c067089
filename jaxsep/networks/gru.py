"""GRU mask network: the LSTM mask network with gated recurrent units, three quarters of its parameters.

References:
  K. Cho et al., "Learning phrase representations using RNN encoder-decoder for statistical machine
  translation", EMNLP 2014.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxsep.networks.recurrent import RecurrentMask
from jaxsep.nn.recurrence import gru_from, gru_scan
from jaxsep.parts import register


@register("network", "gru_mask")
@dataclass(frozen=True)
class GRUMask(RecurrentMask):
    """Options of the GRU mask network."""

    cell = "gru"
    gates = 3
    state_bias = True

    def run(self, x, weights):
        """One layer over ``(frames, batch, in)``."""
        return gru_scan(x, weights)

    def run_from(self, x, weights, state):
        """One layer that goes on from a state."""
        return gru_from(x, weights, state)
