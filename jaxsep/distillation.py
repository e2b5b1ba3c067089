"""Distillation: a network learns from another model's estimates beside the sources themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp

from jaxsep.fine_tuning import start_from
from jaxsep.parts import checked, ranged
from jaxsep.system import System, SystemConfig


@checked
@dataclass(frozen=True)
class Distillation:
    """Which model a run learns from, and how much."""

    model: str = ""
    """A model's name, or a model's or run's folder; none when empty."""
    share: float = ranged(0.5, least=0, most=1)
    """Share of the model's estimates in what the network is compared with; the sources are the rest."""
    network: Literal["own", "student"] = "own"
    """``student``: the model's weights are put into the run's own system, as ``init_from`` puts them, and
    teach from there at all of ``system.speeds``, which the network itself is trained to do without."""

    def check(self, teacher: SystemConfig, system: SystemConfig) -> None:
        """Raise ValueError when a model cannot teach a system."""
        for name in ("sources", "sample_rate"):
            theirs, ours = getattr(teacher, name), getattr(system, name)
            if theirs != ours:
                raise ValueError(f"distillation.model={self.model}: its {name} are {theirs}; expected {ours}")
        if teacher.channels > system.channels:
            raise ValueError(
                f"distillation.model={self.model}: hears {teacher.channels} channels together; expected "
                f"{system.channels}"
            )


def as_student(system: System, variables: dict) -> dict:
    """Return variables of a system that are all taken from another model, by name and shape.

    Raises:
      ValueError: the other model lacks some.
    """
    start = start_from(system.init(jax.random.key(0)), variables)
    if start.fresh:
        raise ValueError(f"distillation.network='student': the model lacks {', '.join(start.fresh[:3])}, ...")
    return start.variables


def taught(separate: Callable[[jax.Array], jax.Array], share: float, sources: jax.Array) -> jax.Array:
    """Blend sources with a model's estimates of them: what a network is compared with.

    For losses that are quadratic in the reference, such as the error of waveforms or of spectra, the
    gradient is that of the same blend of two losses: to the sources and to the model's estimates.

    Args:
      separate: the model, ``(batch, channels, samples)`` -> ``(batch, sources, channels, samples)``.
      share: of its estimates.
      sources: ``(batch, sources, channels, samples)``.

    Returns:
      Array of the same shape, through which no gradient flows. It sums to the mixture where the model's
      stems do.

    Example:
      >>> halves = lambda mixture: jnp.stack([mixture / 2, mixture / 2], axis=1)
      >>> taught(halves, 0.5, jnp.array([[[[1.0]], [[3.0]]]])).ravel().tolist()
      [1.5, 2.5]

    References:
      G. Hinton, O. Vinyals, J. Dean, "Distilling the knowledge in a neural network", 2015.
    """
    estimates = separate(jnp.sum(sources, axis=1))
    return jax.lax.stop_gradient((1 - share) * sources + share * estimates)


def teacher_of(system: System, variables: dict, share: float) -> Callable[[jax.Array], jax.Array]:
    """Return the function of ``sources`` that a training step takes as ``teacher``."""
    return lambda sources: taught(lambda x: system.separate_channels(variables, x), share, sources)
