"""Optimizers and learning-rate schedules: Optax's, as parts that a config names.

An optimizer is called with the run's number of steps and gives an ``optax.GradientTransformation``; a
schedule is called with the highest learning rate and the number of steps, and gives the rate as a function
of the step.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import optax

from jaxsep.parts import Schedule, ranged, register


@register("schedule", "constant")
@dataclass(frozen=True)
class Constant:
    """Rises from zero over a warm-up, then stays."""

    warmup_steps: int = ranged(0, least=0, most=2**31 - 1)
    """Steps of linear rise from zero."""

    def __call__(self, learning_rate: float, total_steps: int) -> optax.Schedule:
        """The learning rate as a function of the step."""
        return _warmed(optax.constant_schedule(learning_rate), learning_rate, self.warmup_steps)


@register("schedule", "cosine")
@dataclass(frozen=True)
class Cosine:
    """After the warm-up falls to zero along a cosine.

    Example:
      >>> rate = Cosine(warmup_steps=10)(1.0, 110)
      >>> [round(float(rate(step)), 3) for step in (0, 5, 10, 60, 110)]
      [0.0, 0.5, 1.0, 0.5, 0.0]
    """

    warmup_steps: int = ranged(0, least=0, most=2**31 - 1)
    """Steps of linear rise from zero."""
    total_steps: int = ranged(0, least=0, most=2**31 - 1)
    """Steps over which it falls, warm-up included; the run's own when 0."""

    def __call__(self, learning_rate: float, total_steps: int) -> optax.Schedule:
        """The learning rate as a function of the step."""
        steps = _falling(self, total_steps)
        return _warmed(optax.cosine_decay_schedule(learning_rate, steps), learning_rate, self.warmup_steps)


@register("schedule", "exponential")
@dataclass(frozen=True)
class Exponential:
    """After the warm-up falls by ``decay_rate`` over the run."""

    warmup_steps: int = ranged(0, least=0, most=2**31 - 1)
    """Steps of linear rise from zero."""
    total_steps: int = ranged(0, least=0, most=2**31 - 1)
    """Steps over which it falls, warm-up included; the run's own when 0."""
    decay_rate: float = ranged(0.1, above=0, most=1)
    """What it falls to, as a share of the learning rate."""

    def __call__(self, learning_rate: float, total_steps: int) -> optax.Schedule:
        """The learning rate as a function of the step."""
        steps = _falling(self, total_steps)
        falling = optax.exponential_decay(learning_rate, steps, self.decay_rate)
        return _warmed(falling, learning_rate, self.warmup_steps)


def _falling(schedule, total_steps):
    """Steps over which a schedule falls, behind its warm-up."""
    total = schedule.total_steps or total_steps
    if total < 1:
        raise ValueError(
            f"total_steps={total_steps}: a {schedule.name} schedule falls over as many steps as it is told; "
            "give the run's number, or schedule.total_steps"
        )
    return max(1, total - schedule.warmup_steps)


def _warmed(after, learning_rate, warmup):
    if not warmup:
        return after
    return optax.join_schedules([optax.linear_schedule(0.0, learning_rate, warmup), after], [warmup])


@dataclass(frozen=True)
class OptimizerOptions:
    """What our optimizers share; an optimizer of yours may inherit it and give ``rule(rate)``."""

    learning_rate: float = ranged(1e-3, least=0)
    """Learning rate at its highest."""
    schedule: Schedule = field(default_factory=Constant)
    """How it changes: ``constant``, ``cosine``, ``exponential``."""
    clip_norm: float = ranged(0.0, least=0)
    """Scale gradients down to this global norm; 0 to leave them."""

    def rule(self, rate: optax.Schedule) -> optax.GradientTransformation:
        """The optimizer at a learning rate."""
        raise NotImplementedError

    def __call__(self, total_steps: int = 0) -> optax.GradientTransformation:
        """The optimizer of a run of that many steps.

        Raises:
          ValueError: no number of steps for a schedule that falls over it.

        Example:
          >>> _ = AdamW(schedule=Cosine())(total_steps=100)
        """
        rule = self.rule(self.schedule(self.learning_rate, total_steps))
        return optax.chain(optax.clip_by_global_norm(self.clip_norm), rule) if self.clip_norm else rule


@register("optimizer", "adam")
@dataclass(frozen=True)
class Adam(OptimizerOptions):
    """Adam."""

    beta1: float = ranged(0.9, least=0, below=1)
    beta2: float = ranged(0.999, least=0, below=1)
    epsilon: float = ranged(1e-8, above=0)

    def rule(self, rate: optax.Schedule) -> optax.GradientTransformation:
        """The optimizer at a learning rate."""
        return optax.adam(rate, b1=self.beta1, b2=self.beta2, eps=self.epsilon)


@register("optimizer", "adamw")
@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay."""

    weight_decay: float = ranged(0.0, least=0)
    """Share of each parameter that is taken off it, times the learning rate."""

    def rule(self, rate: optax.Schedule) -> optax.GradientTransformation:
        """The optimizer at a learning rate."""
        betas = dict(b1=self.beta1, b2=self.beta2, eps=self.epsilon)
        return optax.adamw(rate, **betas, weight_decay=self.weight_decay)


@register("optimizer", "adadelta")
@dataclass(frozen=True)
class Adadelta(OptimizerOptions):
    """ADADELTA: its step does not depend on the gradient's size, as long as epsilon is far smaller."""

    rho: float = ranged(0.9, least=0, below=1)
    """Decay of its averages."""
    epsilon: float = ranged(1e-8, above=0)

    def rule(self, rate: optax.Schedule) -> optax.GradientTransformation:
        """The optimizer at a learning rate."""
        return optax.adadelta(rate, rho=self.rho, eps=self.epsilon)


@register("optimizer", "sgd")
@dataclass(frozen=True)
class SGD(OptimizerOptions):
    """Stochastic gradient descent."""

    momentum: float = ranged(0.0, least=0, below=1)

    def rule(self, rate: optax.Schedule) -> optax.GradientTransformation:
        """The optimizer at a learning rate."""
        return optax.sgd(rate, momentum=self.momentum or None)
