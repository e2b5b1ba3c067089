"""Four simulated devices, quick compilation, a random generator, and the recordings where they are."""

import contextlib
import ctypes
import gc
import os
import resource
import sys
from importlib.metadata import version
from pathlib import Path

# Most of the suite's time is compilation: without LLVM's last optimizations and XLA's newer emitters (a flag
# that later versions do not know, which ends the process) it takes half as long. XLA_FLAGS of your own win.
os.environ["XLA_FLAGS"] = (
    "--xla_backend_optimization_level=0"
    f"{' --xla_cpu_use_fusion_emitters=false' if version('jaxlib').startswith('0.10.') else ''} "
    f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4"
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# What one test compiled, the other workers and the processes that tests start need not.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parent / ".pytest_cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import jax
import numpy as np
import pytest

# Once a doctest has shown a list, which stays in ``builtins._``, tyro cannot be imported: it hashes all that
# is there.
with contextlib.suppress(ImportError):
    import tyro  # noqa: F401

#: Growth of a worker's resident memory, in bytes, after which what it compiled is forgotten.
ENOUGH = 120e6


@pytest.fixture(autouse=True)
def forget_when_there_is_much(worker):
    """Compiled programs pile up to gigabytes; to forget them after every module costs more than it saves."""
    yield
    if resident() > worker["left"] + ENOUGH:
        jax.clear_caches()
        gc.collect()
        if sys.platform == "linux":
            ctypes.CDLL(None).malloc_trim(0)  # glibc keeps freed memory otherwise
        worker["left"] = resident()


@pytest.fixture(scope="session")
def worker():
    """What this process held when it last forgot."""
    return {"left": max(resident(), 400e6)}


def resident():
    """Resident memory of this process, in bytes; its peak so far where there is no /proc."""
    if sys.platform != "linux":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS counts bytes
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def recordings():
    """The folder of real recordings that JAXSEP_DATA names."""
    folder = os.environ.get("JAXSEP_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("JAXSEP_DATA does not name a folder of recordings")
    return Path(folder)
