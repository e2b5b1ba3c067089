"""Audio files: read in blocks, checked for damage; written whole or not at all."""

from __future__ import annotations

from jaxsep.audio.formats import AUDIO_SUFFIXES as AUDIO_SUFFIXES
from jaxsep.audio.formats import OUTPUT_FORMATS as OUTPUT_FORMATS
from jaxsep.audio.formats import check_format as check_format
from jaxsep.audio.formats import show as show
from jaxsep.audio.listing import audio_files as audio_files
from jaxsep.audio.opening import is_pipe as is_pipe
from jaxsep.audio.reading import AudioReader as AudioReader
from jaxsep.audio.reading import read_audio as read_audio
from jaxsep.audio.resampling import Resampler as Resampler
from jaxsep.audio.writing import AudioWriter as AudioWriter
from jaxsep.audio.writing import write_together as write_together
