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
    """Let the C library have one heap for all threads: for programs alone, before they have threads.

    Arrays over 32 MB go back when they are freed, and of freed memory at the heap's end 128 MB stay; gaps
    below what is in use stay, too. A heap for each thread, as glibc has by itself, took an eighth more memory
    to separate and to score a few minutes, and no less time; with 1 MB at the end scoring took twice the
    time. Another C library, or one that the environment tells anything (``MALLOC_ARENA_MAX``,
    ``GLIBC_TUNABLES``), is left as it is.
    """
    if not _told():
        _set((_ARENA_MAX, 1), (_MMAP_THRESHOLD, _LARGE), (_TRIM_THRESHOLD, _LEFT))


def keep_freed() -> None:
    """Let the C library keep freed memory for the next arrays: for programs alone, before they have threads.

    By itself glibc gives every array of over 32 MB back and takes it again page by page, which was a twelfth
    to a fifth of a training step's time on a CPU. What is kept lies in one heap, whose gaps add to the
    process's peak. Left alone in the same cases as :func:`bound_freed`.
    """
    if not _told():
        _set((_ARENA_MAX, 1), (_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1), (_TOP_PAD, _AHEAD))


def _told():
    """Whether the environment tells glibc's ``malloc`` anything."""
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    return "malloc." in tunables or any(name.startswith("MALLOC_") for name in os.environ)


def _set(*pairs):
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        for option, value in pairs:
            mallopt(option, value)
