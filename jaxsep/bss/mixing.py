"""Mixing matrices of sources and microphones in known places."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxsep._checks import as_float, at_least_ndim, standard_promotion


@standard_promotion
def free_field_mixing(sources, microphones) -> jax.Array:
    """The mixing matrix of an open space without delays: amplitudes fall as one over the distance.

    Args:
      sources: ``(sources, dimensions)`` places, m.
      microphones: ``(microphones, dimensions)`` places, m.

    Returns:
      ``(microphones, sources)`` float32: gains, 1 at a distance of 1 m.

    Raises:
      ValueError: other dimensions, or a microphone where a source is.

    Example:
      >>> free_field_mixing([[0.0, 0.0], [2.0, 0.0]], [[1.0, 0.0], [0.0, 4.0]]).round(3).tolist()
      [[1.0, 1.0], [0.25, 0.2240000069141388]]

    References:
      A. Hyvaerinen and E. Oja, "Independent component analysis: algorithms and applications", Neural
      Networks 13, 2000, section 1: its speakers and microphones.
    """
    sources, microphones = as_float("sources", sources), as_float("microphones", microphones)
    for name, places in (("sources", sources), ("microphones", microphones)):
        at_least_ndim(name, places, 2, f"({name}, dimensions)")
    if sources.shape[-1] != microphones.shape[-1]:
        shapes = f"sources.shape={sources.shape}, microphones.shape={microphones.shape}"
        raise ValueError(f"{shapes}: expected as many dimensions")
    distance = jnp.sqrt(jnp.sum(jnp.square(microphones[:, None] - sources[None]), axis=-1))
    if not isinstance(distance, jax.core.Tracer) and not bool(jnp.all(distance > 0)):
        raise ValueError("microphones: one is where a source is; expected a distance above 0 m")
    return 1.0 / distance
