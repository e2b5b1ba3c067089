"""How a network's programs are compiled: with the options of XLA that make it fastest."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import jax


def compiler_options(network: Any) -> dict[str, str]:
    """Options for :func:`jax.jit` under which a network runs fastest on the default platform.

    On a CPU they are what the network's ``cpu_options`` name, without those that this version of
    XLA does not know; elsewhere there are none. An option that ``XLA_FLAGS`` sets is left as it is
    set there. They are for the outermost ``jit``: JAX refuses them on one called inside another.

    Args:
      network: a network's part.

    Returns:
      Name -> value, for ``jax.jit(..., compiler_options=...)``.

    Example:
      >>> from jaxsep.networks import UNet
      >>> step = jax.jit(lambda x: 2 * x, compiler_options=compiler_options(UNet()))
      >>> float(step(1.0))
      2.0
    """
    if jax.default_backend() != "cpu":
        return {}
    chosen = {flag.split("=")[0] for flag in os.environ.get("XLA_FLAGS", "").split()}
    options = getattr(network, "cpu_options", {}).items()
    return {name: value for name, value in options if f"--{name}" not in chosen and _known(name, value)}


def keep_compiled() -> None:
    """Keep what is compiled in the user's cache folder, where no other was chosen: for programs alone.

    The same program starts sooner next time. ``JAX_COMPILATION_CACHE_DIR`` and JAX's own options win.
    """
    if getattr(jax.config, "jax_compilation_cache_dir", None) is None:
        from platformdirs import user_cache_path

        jax.config.update("jax_compilation_cache_dir", str(user_cache_path("jaxsep") / "jax"))


@cache
def _known(name: str, value: str) -> bool:
    """Whether XLA takes the option; what it does not know, it refuses to compile with."""
    program = jax.jit(lambda x: x, compiler_options={name: value}).lower(0.0)
    try:
        program.compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True
