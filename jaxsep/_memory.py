"""Memory of a process that the system gets back."""

from __future__ import annotations

import ctypes
import os

#: glibc's M_TRIM_THRESHOLD, and how many freed bytes at the heap's end may stay there.
_TRIM_THRESHOLD, _KEPT = -1, 1 << 20


def return_freed() -> None:
    """Let the C library give freed memory back at once: for programs alone, as it is the process's.

    What glibc keeps at the ends of its heaps is a fifth of what `jaxsep separate` takes; giving it back costs
    3 % of the processor's time. Another C library, or one that the environment tells what to keep
    (``MALLOC_TRIM_THRESHOLD_``, ``GLIBC_TUNABLES``), is left as it is.
    """
    told = "MALLOC_TRIM_THRESHOLD_" in os.environ or "trim_threshold" in os.environ.get("GLIBC_TUNABLES", "")
    if told or os.name != "posix":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, _KEPT)
