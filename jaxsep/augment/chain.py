"""The augmentation of a training run: which changes, how far."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax

from jaxsep._checks import standard_promotion
from jaxsep.augment.equalizer import random_equalizer
from jaxsep.augment.gain import random_gain, random_level, random_polarity
from jaxsep.augment.lowpass import random_lowpass
from jaxsep.augment.pitch import random_pitch_and_tempo
from jaxsep.augment.place import random_pan, random_swap
from jaxsep.augment.shift import circular_shift
from jaxsep.augment.speed import random_speed
from jaxsep.parts import checked, ranged


@checked
@dataclass(frozen=True)
class AugmentConfig:
    """Changes to each source of a training example, in the order below; all off by default.

    Every draw follows from the example's key alone, so that the same examples come out however
    many devices share the batch.

    Example:
      >>> AugmentConfig(pitch_steps=(-4, -2, 2, 4), stretch_rates=(1.0, 1.2)).read_length(10000)
      12000
    """

    speed_semitones: float = ranged(0.0, least=0, most=24)
    """Largest change of speed, pitch and tempo together, semitones; excerpts are read that much
    longer."""
    pitch_steps: tuple[float, ...] = ranged((), least=-24, most=24)
    """Semitones by which pitch alone is shifted, each as likely; list 0 to leave some as they are."""
    stretch_rates: tuple[float, ...] = ranged((), least=0.25, most=4)
    """Rates of tempo alone, each as likely; above 1 is faster, and excerpts are read that much
    longer; list 1 to leave some as they are."""
    circular_shift: bool = False
    """Rotate sources in time at random, within the excerpt."""
    lowpass: float = ranged(0.0, least=0, most=1)
    """Lowest cut-off of a random low-pass, as a share of the Nyquist frequency; 0 for none."""
    lowpass_share: float = ranged(0.5, least=0, most=1)
    """Share of the sources that the low-pass changes."""
    equalizer_db: float = ranged(0.0, least=0, most=60)
    """Largest gain or loss of each octave, dB."""
    gain_db: float = ranged(0.0, least=0, most=60)
    """Largest change of the level of each source, dB."""
    level_db: float = ranged(0.0, least=0, most=60)
    """Largest change of the level of all sources alike, dB; for codecs whose ``level`` is ``none``."""
    polarity: bool = False
    """Negate sources at random."""
    swap_channels: bool = False
    """Exchange left and right of sources at random."""
    pan: float = ranged(0.0, least=0, most=1)
    """How far sources are moved between left and right; 1 for as far as one channel alone."""

    def read_length(self, length: int) -> int:
        """Samples to read so that ``length`` are left after augmentation."""
        return math.ceil(self._stretched(length) * 2 ** (self.speed_semitones / 12))

    def _stretched(self, length):
        """Samples that are left of those read when only the speed has been changed."""
        return math.ceil(length * max((1.0, *self.stretch_rates)))


@standard_promotion
def augment(config: AugmentConfig, key: jax.Array, sources: jax.Array, length: int) -> jax.Array:
    """Change the sources of one example.

    Args:
      config: which changes.
      key: the random key of the example.
      sources: ``(sources, samples)`` or ``(sources, channels, samples)``, ``config.read_length(length)``
        samples.
      length: samples to return.

    Returns:
      ``(sources, length)`` or ``(sources, channels, length)``.

    Example:
      >>> import jax.numpy as jnp
      >>> augment(AugmentConfig(gain_db=3), jax.random.key(0), jnp.ones((2, 8)), 8).shape
      (2, 8)
    """
    if sources.ndim == 3:
        # The same key for each channel: what happens to a source happens to all of its channels alike.
        changed = jax.vmap(lambda x: augment(config, key, x, length), in_axes=1, out_axes=1)(sources)
        return _placed(config, key, changed) if sources.shape[1] == 2 else changed
    speed, shift, gain, polarity = jax.random.split(key, 4)
    pitch, low = jax.random.split(jax.random.fold_in(key, 4))
    equalizer = jax.random.fold_in(key, 5)
    if config.speed_semitones:
        sources = random_speed(speed, sources, config.speed_semitones, config._stretched(length))
    if config.pitch_steps or config.stretch_rates:
        sources = random_pitch_and_tempo(pitch, sources, config.pitch_steps, config.stretch_rates, length)
    sources = sources[..., :length]
    if config.circular_shift:
        sources = circular_shift(shift, sources)
    if config.lowpass:
        sources = random_lowpass(low, sources, config.lowpass, config.lowpass_share)
    if config.equalizer_db:
        sources = random_equalizer(equalizer, sources, config.equalizer_db)
    if config.gain_db:
        sources = random_gain(gain, sources, config.gain_db)
    if config.level_db:
        sources = random_level(jax.random.fold_in(key, 8), sources, config.level_db)
    return random_polarity(polarity, sources) if config.polarity else sources


def _placed(config, key, sources):
    """Sources of two channels, exchanged and panned."""
    if config.swap_channels:
        sources = random_swap(jax.random.fold_in(key, 6), sources)
    return random_pan(jax.random.fold_in(key, 7), sources, config.pan) if config.pan else sources
