"""Four simulated devices, a random generator, and the recordings where they are."""

import os
from pathlib import Path

# Most of the suite's time is compilation, of which LLVM's last optimisations take a third.
os.environ["XLA_FLAGS"] = (
    f"--xla_backend_optimization_level=1 {os.environ.get('XLA_FLAGS', '')} "
    "--xla_force_host_platform_device_count=4"
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# What one test compiled, the other workers and the processes that tests start need not.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import numpy as np
import pytest


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
