"""Samples that wait between steps of different lengths."""

from __future__ import annotations

import numpy as np


class Queue:
    """Samples that wait: blocks in, any number of samples out."""

    def __init__(self, channels: int, *above: int):
        self._blocks: list[np.ndarray] = []
        self._empty = np.zeros((*above, channels, 0), np.float32)
        self.size = 0

    def put(self, block: np.ndarray) -> None:
        if block.shape[-1]:
            self._blocks.append(block)
            self.size += block.shape[-1]

    def take(self, count: int) -> np.ndarray:
        count = min(count, self.size)
        taken, left = [self._empty], count
        while left:
            block = self._blocks.pop(0)
            if block.shape[-1] > left:
                self._blocks.insert(0, block[..., left:])
                block = block[..., :left]
            taken.append(block)
            left -= block.shape[-1]
        self.size -= count
        return np.concatenate(taken, axis=-1)
