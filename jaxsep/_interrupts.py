"""Interrupts (Ctrl-C) where Python would crash on them or drop them."""

from __future__ import annotations

import os
import signal
import sys


class EndingAtOnce:
    """``with EndingAtOnce(): import ...``: an interrupt ends the process with status 130, without a word.

    For imports, where nothing is lost yet: a ``KeyboardInterrupt`` that is raised while a compiled module
    is being loaded can crash the interpreter. A handler of the caller's own stays as it is.
    """

    def __enter__(self) -> None:
        self._ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._ours:
            try:
                signal.signal(signal.SIGINT, lambda *_: os._exit(130))
            except ValueError:  # in another thread than the main one, which no signal interrupts
                self._ours = False

    def __exit__(self, *_: object) -> None:
        if self._ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)


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
        self._timed = hasattr(signal, "setitimer")
        if self._timed:
            try:
                self._alarm = signal.signal(signal.SIGALRM, _interrupt)
            except ValueError:  # in another thread than the main one, which no signal interrupts
                self._timed = False
        return self

    def __exit__(self, *_: object) -> None:
        sys.unraisablehook = self._hook
        if self._timed:
            if self.dropped:
                signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self._alarm)

    def _note(self, unraisable):
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            self.dropped = True
            if self._timed:
                signal.setitimer(signal.ITIMER_REAL, 0.05)  # not now: in here it is dropped, too
        else:
            sys.__unraisablehook__(unraisable)


def _interrupt(*_):
    raise KeyboardInterrupt
