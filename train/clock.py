"""Where the time of a run goes, and how far the step is from what the device can do."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

_T = TypeVar("_T")
#: Rows and columns of the product that is timed for the peak.
_SIZE = {"cpu": 1024}
_SIZE_ELSEWHERE = 8192


class Clock:
    """Seconds spent at what is not the step: waiting for input, saving, validating, compiling."""

    def __init__(self):
        self._seconds: dict[str, float] = defaultdict(float)
        self._began = self._start = time.perf_counter()
        self._all: dict[str, float] = defaultdict(float)
        self._open: dict[str, float] = {}
        self._step, self._lap = -1, {}

    @contextlib.contextmanager
    def at(self, what: str) -> Iterator[None]:
        """Count the seconds inside as spent at ``what``."""
        self._open[what] = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - self._open.pop(what)
            self._seconds[what] += seconds
            self._all[what] += seconds

    def share(self, what: str) -> float:
        """The share of all the time so far, compiling left out, that went to ``what``."""
        now = time.perf_counter()
        seconds = self._all[what] + now - self._open.get(what, now)
        return seconds / (now - self._start - self._all["compiling"] + 1e-9)

    def waiting(self, items: Iterable[_T]) -> Iterator[_T]:
        """The same items; the time until each is there counts as waiting."""
        iterator = iter(items)
        while True:
            with self.at("waiting"):
                item = next(iterator, self)
            if item is self:
                return
            yield item  # type: ignore[misc]

    def lap(self, step: int = -1) -> dict[str, float]:
        """Seconds of each since the last lap, and of the rest as ``stepping``; begins the next.

        Runs that are trained together ask in turn, with their ``step``: the same lap for the same step.
        """
        if step >= 0 and step == self._step:
            return self._lap
        now = time.perf_counter()
        whole, self._began = now - self._began, now
        lap = {what: round(seconds, 6) for what, seconds in self._seconds.items()}
        lap["stepping"] = round(max(0.0, whole - sum(self._seconds.values())), 6)
        self._seconds.clear()
        self._step, self._lap = step, lap
        return lap


def operations(compiled: Any) -> float:
    """Floating-point operations of a compiled program on one device, as XLA counts them; 0 where it does not.

    Example:
      >>> operations(jax.jit(lambda a: a @ a).lower(jnp.ones((8, 8))).compile())
      1024.0
    """
    return float((compiled.cost_analysis() or {}).get("flops", 0.0))


def matmul_peak(dtype=jnp.float32, repeats: int = 3) -> float:
    """Floating-point operations a second of a large square product on one device: what can be hoped for.

    Example:
      >>> matmul_peak(repeats=1) > 1e6
      True
    """
    size = _SIZE.get(jax.default_backend(), _SIZE_ELSEWHERE)
    a = jnp.ones((size, size), dtype)
    product = jax.jit(lambda a: a @ a)
    product(a).block_until_ready()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        product(a).block_until_ready()
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / min(seconds)
