"""Augmentation: keyed pure functions of one example's sources, and the signal changes that they draw."""

from jaxsep.augment.chain import AugmentConfig as AugmentConfig
from jaxsep.augment.chain import augment as augment
from jaxsep.augment.equalizer import equalizer as equalizer
from jaxsep.augment.equalizer import random_equalizer as random_equalizer
from jaxsep.augment.gain import random_gain as random_gain
from jaxsep.augment.gain import random_level as random_level
from jaxsep.augment.gain import random_polarity as random_polarity
from jaxsep.augment.lowpass import lowpass as lowpass
from jaxsep.augment.lowpass import random_lowpass as random_lowpass
from jaxsep.augment.pitch import pitch_shift as pitch_shift
from jaxsep.augment.pitch import random_pitch_and_tempo as random_pitch_and_tempo
from jaxsep.augment.pitch import time_stretch as time_stretch
from jaxsep.augment.place import pan_gains as pan_gains
from jaxsep.augment.place import random_pan as random_pan
from jaxsep.augment.place import random_swap as random_swap
from jaxsep.augment.playback import play_back as play_back
from jaxsep.augment.remix import remix as remix
from jaxsep.augment.room import in_room as in_room
from jaxsep.augment.room import room_response as room_response
from jaxsep.augment.room import white_noise as white_noise
from jaxsep.augment.shift import circular_shift as circular_shift
from jaxsep.augment.speed import random_speed as random_speed
from jaxsep.augment.speed import resample_at as resample_at
