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
    """An interrupt inside a callback of the garbage collector, where Python drops it, comes once more."""

    def __init__(self) -> None:
        self.dropped = False
        """Whether one has been dropped."""

    def __enter__(self) -> ComingAgain:
        self._before, sys.unraisablehook = sys.unraisablehook, self._note
        return self

    def __exit__(self, *_: object) -> None:
        sys.unraisablehook = self._before

    def _note(self, unraisable):
        import threading

        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            self.dropped = True
            again = threading.Timer(0.05, self._interrupt)  # not from in here, where it is dropped, too
            again.daemon = True
            again.start()
        else:
            sys.__unraisablehook__(unraisable)

    def _interrupt(self):
        """Interrupt the main thread, also where it waits for input."""
        import _thread
        import threading

        main = threading.main_thread().ident
        if sys.unraisablehook != self._note:  # the command has ended
            return
        if main and hasattr(signal, "pthread_kill"):
            signal.pthread_kill(main, signal.SIGINT)
        else:
            _thread.interrupt_main()
