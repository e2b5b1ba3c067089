"""Contrast functions of ICA: g and its derivative, by name or as a pair of callables."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

#: ``(g, g_prime)``, elementwise.
Contrast = tuple[Callable[[jax.Array], jax.Array], Callable[[jax.Array], jax.Array]]


def _gaussian(u):
    return jnp.exp(-0.5 * u * u)


def _logistic(u):
    return 0.5 * (1.0 + jnp.tanh(0.5 * u))


#: The functions of Hyvärinen (1999) and the logistic function.
CONTRASTS: dict[str, Contrast] = {
    "logcosh": (jnp.tanh, lambda u: 1.0 - jnp.square(jnp.tanh(u))),
    "exp": (lambda u: u * _gaussian(u), lambda u: (1.0 - u * u) * _gaussian(u)),
    "cube": (lambda u: u * u * u, lambda u: 3.0 * u * u),
    "logistic": (_logistic, lambda u: _logistic(u) * (1.0 - _logistic(u))),
}


def get_contrast(fun: str | Contrast) -> Contrast:
    """Return ``(g, g_prime)`` of a name in :data:`CONTRASTS`, or the pair itself.

    Raises:
      ValueError: an unknown name, or something that is not a pair of callables.

    Example:
      >>> g, g_prime = get_contrast("cube")
      >>> float(g(2.0)), float(g_prime(2.0))
      (8.0, 12.0)
    """
    if isinstance(fun, str):
        if fun not in CONTRASTS:
            raise ValueError(f"fun={fun!r}: expected one of {sorted(CONTRASTS)} or a pair (g, g_prime)")
        return CONTRASTS[fun]
    if not (isinstance(fun, tuple) and len(fun) == 2 and all(callable(f) for f in fun)):
        raise ValueError(f"fun={fun!r}: expected a name or a pair of callables (g, g_prime)")
    return fun
