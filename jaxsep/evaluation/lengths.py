"""Few lengths instead of many: what is compiled for one serves all that are padded to it."""

from __future__ import annotations

import numpy as np


def padded_length(samples: int) -> int:
    """The next length of the form 4 to 7 times a power of two.

    Example:
      >>> [padded_length(n) for n in (1, 5000, 16000, 100000)]
      [1024, 5120, 16384, 114688]
    """
    step = 1 << max(10, (samples - 1).bit_length() - 3)
    return -(-samples // step) * step


def pad(*signals: np.ndarray) -> tuple[np.ndarray, ...]:
    """Signals ``(..., samples)`` of one length with zeros behind them, which change no energy."""
    more = padded_length(signals[0].shape[-1]) - signals[0].shape[-1]
    return tuple(np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, more)]) for x in signals)
