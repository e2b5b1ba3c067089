"""Scores of separated sources."""

from jaxsep.metrics.ratios import sd_sdr as sd_sdr
from jaxsep.metrics.ratios import si_sdr as si_sdr
from jaxsep.metrics.ratios import snr as snr
