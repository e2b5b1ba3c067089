"""Short-time Fourier transform and what stands on it, with librosa's conventions and names.

Every function is pure, jitted, differentiable, and takes any leading batch dimensions: time is
the last axis of a waveform, frames are the last axis of a spectrogram.
"""

from jaxsep.spectral.decibels import amplitude_to_db as amplitude_to_db
from jaxsep.spectral.decibels import db_to_amplitude as db_to_amplitude
from jaxsep.spectral.decibels import db_to_power as db_to_power
from jaxsep.spectral.decibels import power_to_db as power_to_db
from jaxsep.spectral.fourier import get_window as get_window
from jaxsep.spectral.fourier import istft as istft
from jaxsep.spectral.fourier import magnitude as magnitude
from jaxsep.spectral.fourier import num_frames as num_frames
from jaxsep.spectral.fourier import overlap_add as overlap_add
from jaxsep.spectral.fourier import stft as stft
from jaxsep.spectral.mel import mel_filters as mel_filters
from jaxsep.spectral.mel import melspectrogram as melspectrogram
from jaxsep.spectral.phase import griffin_lim as griffin_lim
