"""Codecs: how a waveform becomes features for a network, and its outputs become waveforms again.

A codec encodes a mixture, decodes a network's outputs, and says what the true sources are in
each domain that a loss may read. All have the methods of :class:`SpectrogramCodec`.
"""

from __future__ import annotations

from jaxsep.codec.domains import Encoded as Encoded
from jaxsep.codec.domains import Estimates as Estimates
from jaxsep.codec.mel import MelCodec as MelCodec
from jaxsep.codec.round_trip import RoundTripLoss as RoundTripLoss
from jaxsep.codec.round_trip import round_trip_loss as round_trip_loss
from jaxsep.codec.spectrogram import SpectrogramCodec as SpectrogramCodec
from jaxsep.codec.spectrogram import STFTCodec as STFTCodec
from jaxsep.codec.waveform import FramesCodec as FramesCodec
from jaxsep.codec.waveform import WaveformCodec as WaveformCodec

#: Name in a config -> codec.
CODECS = {"stft": STFTCodec, "mel": MelCodec, "frames": FramesCodec, "waveform": WaveformCodec}

#: Any of them, told apart by ``name``; the first where a config gives none.
CodecConfig = STFTCodec | MelCodec | FramesCodec | WaveformCodec
