"""The augmentation of a training run: which changes, how far."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax

from jaxsep.augment.equaliser import random_equaliser
from jaxsep.augment.gain import random_gain, random_polarity
from jaxsep.augment.lowpass import random_lowpass
from jaxsep.augment.pitch import random_pitch_and_tempo
from jaxsep.augment.shift import circular_shift
from jaxsep.augment.speed import random_speed


@dataclass(frozen=True)
class AugmentConfig:
    """Changes to each source of a training example, in the order below; all off by default.

    Every draw follows from the example's key alone, so that the same examples come out however
    many devices share the batch.

    Example:
      >>> AugmentConfig(pitch_steps=(-4, -2, 2, 4), stretch_rates=(1.0, 1.2)).read_length(10000)
      12000
    """

    speed_semitones: float = 0.0
    """Largest change of speed, pitch and tempo together, semitones; excerpts are read that much
    longer."""
    pitch_steps: tuple[float, ...] = ()
    """Semitones by which pitch alone is shifted, each as likely; list 0 to leave some as they are."""
    stretch_rates: tuple[float, ...] = ()
    """Rates of tempo alone, each as likely; above 1 is faster, and excerpts are read that much
    longer; list 1 to leave some as they are."""
    circular_shift: bool = False
    """Rotate sources in time at random, within the excerpt."""
    lowpass: float = 0.0
    """Lowest cut-off of a random low-pass, as a share of half the sample rate; 0 for none."""
    lowpass_share: float = 0.5
    """Share of the sources that the low-pass changes."""
    equaliser_db: float = 0.0
    """Largest gain or loss of each octave, dB."""
    gain_db: float = 0.0
    """Largest change of level, dB."""
    polarity: bool = False
    """Negate sources at random."""

    def __post_init__(self):
        limits = {"gain_db": 60, "equaliser_db": 60, "speed_semitones": 24, "lowpass": 1, "lowpass_share": 1}
        for name, most in limits.items():
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(f"{name}={getattr(self, name)}: expected 0 to {most}")
        if not all(abs(step) <= 24 for step in self.pitch_steps):
            raise ValueError(f"pitch_steps={self.pitch_steps}: expected numbers from -24 to 24")
        if not all(0.25 <= rate <= 4 for rate in self.stretch_rates):
            raise ValueError(f"stretch_rates={self.stretch_rates}: expected numbers from 0.25 to 4")

    def read_length(self, length: int) -> int:
        """Samples to read so that ``length`` are left after augmentation."""
        return math.ceil(self._stretched(length) * 2 ** (self.speed_semitones / 12))

    def _stretched(self, length):
        """Samples that are left of those read when only the speed has been changed."""
        return math.ceil(length * max((1.0, *self.stretch_rates)))


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
    pitch, low = jax.random.split(jax.random.fold_in(key, 4))
    equaliser = jax.random.fold_in(key, 5)
    if config.speed_semitones:
        sources = random_speed(speed, sources, config.speed_semitones, config._stretched(length))
    if config.pitch_steps or config.stretch_rates:
        sources = random_pitch_and_tempo(pitch, sources, config.pitch_steps, config.stretch_rates, length)
    sources = sources[..., :length]
    if config.circular_shift:
        sources = circular_shift(shift, sources)
    if config.lowpass:
        sources = random_lowpass(low, sources, config.lowpass, config.lowpass_share)
    if config.equaliser_db:
        sources = random_equaliser(equaliser, sources, config.equaliser_db)
    if config.gain_db:
        sources = random_gain(gain, sources, config.gain_db)
    return random_polarity(polarity, sources) if config.polarity else sources
