"""Interrupts (Ctrl-C) where Python would crash on them or drop them."""

from __future__ import annotations

import contextlib
import os
import signal
import sys


class SignalsLater:
    """``with SignalsLater(signal.SIGINT): ...``: signals in here are handled once the block has ended.

    Handled while a compiled module is being loaded, or inside a callback of one, they can crash the
    interpreter. In another thread than the main one, which no signal interrupts, nothing changes.

    Args:
      *numbers: of the signals.
      insistent: whether the second of a kind is handled at once.
    """

    def __init__(self, *numbers: int, insistent: bool = False):
        self._numbers, self._insistent = numbers, insistent

    def __enter__(self) -> None:
        self._heard: list[int] = []
        self._before = {number: signal.getsignal(number) for number in self._numbers}
        with contextlib.suppress(ValueError):  # in another thread
            for number in self._numbers:
                signal.signal(number, self._note)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            if signal.getsignal(number) == self._note:
                signal.signal(number, handler or signal.SIG_DFL)
        for number in self._heard:
            signal.raise_signal(number)

    def _note(self, number, frame):
        handler = self._before[number]
        if self._insistent and number in self._heard and callable(handler):
            handler(number, frame)
        self._heard.append(number)


def interrupts_later() -> SignalsLater:
    """For imports: an interrupt is raised once they are done; the second, where they hang, at once."""
    return SignalsLater(signal.SIGINT, insistent=True)


class ComingAgain:
    """An interrupt inside a callback of the garbage collector, where Python drops it, comes once more.

    By a timer of the system (POSIX), which also ends a wait for input. A thread's would not do: threads are
    started under a lock, which may be held where the collector begins.
    """

    def __init__(self) -> None:
        self.dropped = False
        """Whether one has been dropped."""

    def __enter__(self) -> ComingAgain:
        self._hook, sys.unraisablehook = sys.unraisablehook, self._note
        return self

    def __exit__(self, *_: object) -> None:
        if self.dropped and os.name == "posix":
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self._alarm or signal.SIG_DFL)
        sys.unraisablehook = self._hook

    def _note(self, unraisable):
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            self._hook(unraisable)
            return
        if os.name == "posix":
            if not self.dropped:
                self._alarm = signal.signal(signal.SIGALRM, _interrupt)
            signal.setitimer(signal.ITIMER_REAL, 0.05)  # not now: in here it is dropped, too
        self.dropped = True


def _interrupt(*_):
    raise KeyboardInterrupt
