"""The augmentation of a training run: which changes, how far."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax

from jaxsep.augment.gain import random_gain, random_polarity
from jaxsep.augment.shift import circular_shift
from jaxsep.augment.speed import random_speed


@dataclass(frozen=True)
class AugmentConfig:
    """Changes to each source of a training example; all off by default."""

    gain_db: float = 0.0
    """Largest change of level, dB."""
    speed_semitones: float = 0.0
    """Largest change of speed, semitones; excerpts are read that much longer."""
    polarity: bool = False
    """Negate sources at random."""
    circular_shift: bool = False
    """Rotate sources in time at random, within the excerpt."""

    def read_length(self, length: int) -> int:
        """Samples to read so that ``length`` are left after augmentation."""
        return math.ceil(length * 2 ** (self.speed_semitones / 12))


def augment(config: AugmentConfig, key: jax.Array, sources: jax.Array, length: int) -> jax.Array:
    """Change the sources of one example.

    Args:
      config: which changes.
      key: the random key of the example.
      sources: ``(sources, samples)``, ``config.read_length(length)`` samples.
      length: samples to return.

    Returns:
      ``(sources, length)``.

    Example:
      >>> import jax.numpy as jnp
      >>> augment(AugmentConfig(gain_db=3), jax.random.key(0), jnp.ones((2, 8)), 8).shape
      (2, 8)
    """
    speed, shift, gain, polarity = jax.random.split(key, 4)
    if config.speed_semitones:
        sources = random_speed(speed, sources, config.speed_semitones, length)
    sources = sources[..., :length]
    if config.circular_shift:
        sources = circular_shift(shift, sources)
    if config.gain_db:
        sources = random_gain(gain, sources, config.gain_db)
    return random_polarity(polarity, sources) if config.polarity else sources
