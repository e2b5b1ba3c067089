"""Precision and memory of a training step: bfloat16 activations, and rematerialization.

In ``"bfloat16"`` the network alone is computed in 16 bits, of which 8 are float32's exponent: its activations
take half the memory and matrix units run at their best, with no scaling of the loss. Parameters and their
average, statistics of batch norm, transforms, masks, losses and the optimizer stay in float32.

References:
  P. Micikevicius et al., "Mixed precision training", ICLR 2018.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp

Precision = Literal["float32", "bfloat16"]


def network_in(network: Any, precision: Precision = "float32", remat: bool = False) -> Callable:
    """How to apply a network in a precision, or computed again in the reverse pass.

    Args:
      network: a :class:`jaxsep.networks.BuiltNetwork`.
      precision: ``"float32"`` or ``"bfloat16"``.
      remat: keep only the outputs of matrix products and convolutions for the reverse pass, and compute what
        lies between them again: less memory for a little more time.

    Returns:
      A function with the arguments and results of the network's ``apply``; outputs are float32.

    Raises:
      ValueError: another precision.

    Example:
      >>> from jaxsep.networks import LSTMMask
      >>> network = LSTMMask(layers=1, width=8).build(sources=2, channels=1, bins=5)
      >>> x = jnp.ones((1, 1, 5, 4))
      >>> variables = network.init(jax.random.key(0), x)
      >>> outputs, _ = network_in(network, "bfloat16")(variables, x)
      >>> outputs.dtype.name, bool(jnp.allclose(outputs, network.apply(variables, x)[0], atol=0.02))
      ('float32', True)
    """
    if precision not in get_args(Precision):
        raise ValueError(f"precision={precision!r}: expected one of {get_args(Precision)}")
    if precision == "float32" and not remat:
        return network.apply

    def run(variables, features, key, mask, train, axis_name):
        if precision == "bfloat16":
            variables, features = {**variables, "params": _narrow(variables["params"])}, _narrow(features)
        call = dict(train=train, key=key, mask=mask, axis_name=axis_name)
        outputs, statistics = network.apply(variables, features, **call)
        return outputs.astype(jnp.float32), statistics

    def apply(variables, features, *, train=False, key=None, mask=None, axis_name=None):
        function: Callable = partial(run, train=train, axis_name=axis_name)
        function = jax.checkpoint(function, policy=_costly) if remat else function
        return function(variables, features, key, mask)

    return apply


def _costly(primitive, *_, **__):
    """What is kept for the reverse pass."""
    return primitive.name in ("dot_general", "conv_general_dilated")


def _narrow(tree):
    return jax.tree.map(lambda x: x.astype(jnp.bfloat16) if x.dtype == jnp.float32 else x, tree)
