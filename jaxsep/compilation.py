"""How a network's programs are compiled: with the options of XLA that make it fastest."""

from __future__ import annotations

import os
from functools import cache

import jax

from jaxsep.models.layers import NetworkOptions


def compiler_options(network: NetworkOptions) -> dict[str, str]:
    """Options for :func:`jax.jit` under which a network runs fastest on the default platform.

    On a CPU they are what the network's ``cpu_options`` name, without those that this version of
    XLA does not know and those that ``XLA_FLAGS`` sets; elsewhere there are none.

    Args:
      network: a network's config.

    Returns:
      Name -> value, for ``jax.jit(..., compiler_options=...)``.

    Example:
      >>> from jaxsep.models import UNetConfig
      >>> step = jax.jit(lambda x: 2 * x, compiler_options=compiler_options(UNetConfig()))
      >>> float(step(1.0))
      2.0
    """
    if jax.default_backend() != "cpu":
        return {}
    flags = os.environ.get("XLA_FLAGS", "")
    options = network.cpu_options.items()
    return {name: value for name, value in options if f"--{name}=" not in flags and _known(name, value)}


@cache
def _known(name: str, value: str) -> bool:
    """Whether XLA takes the option; what it does not know, it refuses to compile with."""
    program = jax.jit(lambda x: x, compiler_options={name: value}).lower(0.0)
    try:
        program.compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True
