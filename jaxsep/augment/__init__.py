"""Augmentation on the device: keyed pure functions of one example's sources."""

from jaxsep.augment.chain import AugmentConfig as AugmentConfig
from jaxsep.augment.chain import augment as augment
from jaxsep.augment.gain import random_gain as random_gain
from jaxsep.augment.gain import random_polarity as random_polarity
from jaxsep.augment.shift import circular_shift as circular_shift
from jaxsep.augment.speed import random_speed as random_speed
from jaxsep.augment.speed import resample_at as resample_at
