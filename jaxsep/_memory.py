"""What the C library does with memory that a program frees: keep some for the next arrays, or all."""

from __future__ import annotations

import ctypes
import os

#: glibc's options M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_MMAP_MAX and M_ARENA_MAX.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -2, -3, -4, -8
#: How many freed bytes at the heap's end stay there where not all are kept.
_LEFT = 1 << 27
#: Arrays of more bytes are not on the heap then, and go back when they are freed: the most that glibc takes.
_LARGE = 1 << 25
#: By how many bytes more than needed a heap grows that keeps them.
_AHEAD = 1 << 26


def bound_freed() -> None:
    """Let the C library keep freed memory, but little: for programs alone, before they have threads.

    Arrays over 32 MB go back when they are freed, and one heap for all threads keeps 128 MB at its end. A
    heap for each thread, as glibc has by itself, takes an eighth more memory and no less time; keeping less
    takes twice the time where long tracks are scored. Another C library, or one that the environment tells
    anything (``MALLOC_ARENA_MAX``, ``GLIBC_TUNABLES``), is left as it is.
    """
    if not _told("MALLOC_", "malloc."):
        _set((_ARENA_MAX, 1), (_MMAP_THRESHOLD, _LARGE), (_TRIM_THRESHOLD, _LEFT))


def keep_freed() -> None:
    """Let the C library keep freed memory for the next arrays: for programs alone, before they have threads.

    By itself glibc gives every array of over 32 MB back and takes it again page by page, which was a twelfth
    to a fifth of a training step's time on a CPU. What is kept lies in one heap, whose gaps add to the
    process's peak. What is left as it is, is so for :func:`bound_freed`, too.
    """
    if not _told("MALLOC_", "malloc."):
        _set((_ARENA_MAX, 1), (_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1), (_TOP_PAD, _AHEAD))


def _told(variable, tunable):
    """Whether the environment has a variable that begins so, or ``GLIBC_TUNABLES`` such an option."""
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    return tunable in tunables or any(name.startswith(variable) for name in os.environ)


def _set(*pairs):
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        for option, value in pairs:
            mallopt(option, value)
