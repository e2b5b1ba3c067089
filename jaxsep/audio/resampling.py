"""Resampling of a stream on the host, by soxr."""

from __future__ import annotations

import numpy as np


class Resampler:
    """Stream resampling by soxr, aligned and with exact length: ``round(samples * out / in)``."""

    def __init__(self, in_rate: float, out_rate: float, channels: int):
        self._ratio = out_rate / in_rate
        self._taken = self._given = 0
        self._stream = None
        self._empty = np.zeros((channels, 0), np.float32)
        if in_rate != out_rate:
            import soxr

            self._stream = soxr.ResampleStream(in_rate, out_rate, channels, dtype="float32", quality="HQ")

    def push(self, block: np.ndarray, last: bool = False) -> np.ndarray:
        """Take ``(channels, samples)``, return what can be given out so far."""
        self._taken += block.shape[1]
        if self._stream is None:
            return block
        out = self._stream.resample_chunk(np.ascontiguousarray(block.T), last=last)
        out = out.reshape(-1, block.shape[0]).T
        room = max(0, round(self._taken * self._ratio) - self._given) if last else out.shape[1]
        if last and out.shape[1] < room:
            out = np.pad(out, ((0, 0), (0, room - out.shape[1])))
        self._given += min(room, out.shape[1])
        return out[:, :room]

    def finish(self) -> np.ndarray:
        """Return the rest, after the last block."""
        return self.push(self._empty, last=True)
