"""Interrupts (Ctrl-C) where Python would crash on them or drop them."""

from __future__ import annotations

import os
import signal
import sys


class InterruptsLater:
    """``with InterruptsLater(): import ...``: an interrupt in here is raised once the block has ended.

    A ``KeyboardInterrupt`` that is raised while a compiled module is being loaded can crash the interpreter.
    The second one is raised at once. A handler of the caller's own stays as it is.
    """

    def __enter__(self) -> None:
        self._came = False
        self._ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._ours:
            try:
                signal.signal(signal.SIGINT, self._note)
            except ValueError:  # in another thread than the main one, which no signal interrupts
                self._ours = False

    def __exit__(self, *_: object) -> None:
        if self._ours and signal.getsignal(signal.SIGINT) == self._note:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if self._came:
            raise KeyboardInterrupt

    def _note(self, number, frame):
        if self._came:
            signal.default_int_handler(number, frame)
        self._came = True


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
        elif os.name == "posix":
            if not self.dropped:
                self._alarm = signal.signal(signal.SIGALRM, _interrupt)
            signal.setitimer(signal.ITIMER_REAL, 0.05)  # not now: in here it is dropped, too
        self.dropped |= issubclass(unraisable.exc_type, KeyboardInterrupt)


def _interrupt(*_):
    raise KeyboardInterrupt
