"""Codecs: how a waveform becomes features for a network, and its outputs become waveforms again.

A :class:`Codec` is a transform, a scale, a normalizer, a head and an inversion, each a part that can be
exchanged. All transforms have the methods of :class:`STFT`.
"""

from __future__ import annotations

from jaxsep.codecs.codec import Codec as Codec
from jaxsep.codecs.estimates import Encoded as Encoded
from jaxsep.codecs.estimates import Estimates as Estimates
from jaxsep.codecs.head import Direct as Direct
from jaxsep.codecs.head import Mask as Mask
from jaxsep.codecs.head import RatioMask as RatioMask
from jaxsep.codecs.inversion import GriffinLim as GriffinLim
from jaxsep.codecs.inversion import Inverse as Inverse
from jaxsep.codecs.inversion import MixturePhase as MixturePhase
from jaxsep.codecs.mel import Mel as Mel
from jaxsep.codecs.normalizer import CMVN as CMVN
from jaxsep.codecs.normalizer import MinMax as MinMax
from jaxsep.codecs.normalizer import NoNormalizer as NoNormalizer
from jaxsep.codecs.round_trip import RoundTripLoss as RoundTripLoss
from jaxsep.codecs.round_trip import round_trip_loss as round_trip_loss
from jaxsep.codecs.scale import Decibels as Decibels
from jaxsep.codecs.scale import Log as Log
from jaxsep.codecs.scale import Magnitude as Magnitude
from jaxsep.codecs.stft import STFT as STFT
from jaxsep.codecs.waveform import Frames as Frames
from jaxsep.codecs.waveform import Waveform as Waveform
