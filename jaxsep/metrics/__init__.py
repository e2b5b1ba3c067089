"""Scores of separated sources."""

from jaxsep.metrics.aggregate import median_of_frames as median_of_frames
from jaxsep.metrics.aggregate import nsdr as nsdr
from jaxsep.metrics.aggregate import si_sdr_improvement as si_sdr_improvement
from jaxsep.metrics.aggregate import weighted_mean as weighted_mean
from jaxsep.metrics.bss_eval import BSSEval as BSSEval
from jaxsep.metrics.bss_eval import bss_eval_images as bss_eval_images
from jaxsep.metrics.bss_eval import bss_eval_sources as bss_eval_sources
from jaxsep.metrics.ratios import sd_sdr as sd_sdr
from jaxsep.metrics.ratios import si_sdr as si_sdr
from jaxsep.metrics.ratios import snr as snr
from jaxsep.metrics.spectra import log_spectral_distance as log_spectral_distance
from jaxsep.metrics.spectra import mel_correlation as mel_correlation
