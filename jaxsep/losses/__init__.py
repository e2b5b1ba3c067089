"""Training losses: one number per example, for the training step to weigh and average. One a file.

Each is a pure function over arrays, and a part that a config names (see :mod:`jaxsep.losses.part`).
"""

from __future__ import annotations

from jaxsep.losses.bss import BSSEvalSDR as BSSEvalSDR
from jaxsep.losses.discriminative import Discriminative as Discriminative
from jaxsep.losses.discriminative import check_gamma as check_gamma
from jaxsep.losses.discriminative import discriminative as discriminative
from jaxsep.losses.errors import FeatureMAE as FeatureMAE
from jaxsep.losses.errors import FeatureMSE as FeatureMSE
from jaxsep.losses.errors import MagnitudeMAE as MagnitudeMAE
from jaxsep.losses.errors import MagnitudeMSE as MagnitudeMSE
from jaxsep.losses.errors import WaveformMAE as WaveformMAE
from jaxsep.losses.errors import WaveformMSE as WaveformMSE
from jaxsep.losses.errors import magnitude_mae as magnitude_mae
from jaxsep.losses.errors import magnitude_mse as magnitude_mse
from jaxsep.losses.errors import waveform_mae as waveform_mae
from jaxsep.losses.errors import waveform_mse as waveform_mse
from jaxsep.losses.masks import MaskMSE as MaskMSE
from jaxsep.losses.masks import mask_mse as mask_mse
from jaxsep.losses.part import domains_of as domains_of
from jaxsep.losses.part import loss_of as loss_of
from jaxsep.losses.permutation import PIT as PIT
from jaxsep.losses.permutation import permutation_invariant as permutation_invariant
from jaxsep.losses.ratios import SISDR as SISDR
from jaxsep.losses.ratios import SNR as SNR
from jaxsep.losses.ratios import negative_si_sdr as negative_si_sdr
from jaxsep.losses.ratios import negative_snr as negative_snr
from jaxsep.losses.spectra import MultiResolutionSTFT as MultiResolutionSTFT
from jaxsep.losses.spectra import multi_resolution_stft as multi_resolution_stft
from jaxsep.losses.weighted import WeightedSum as WeightedSum
