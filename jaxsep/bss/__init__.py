"""Blind source separation: sources from mixtures alone."""

from jaxsep.bss.auxiva import auxiva as auxiva
from jaxsep.bss.auxiva import auxiva_spectra as auxiva_spectra
from jaxsep.bss.contrast import CONTRASTS as CONTRASTS
from jaxsep.bss.diagnostics import diagnose as diagnose
from jaxsep.bss.fastica import fastica as fastica
from jaxsep.bss.fobi import fobi as fobi
from jaxsep.bss.ilrma import ilrma as ilrma
from jaxsep.bss.ilrma import ilrma_spectra as ilrma_spectra
from jaxsep.bss.infomax import infomax as infomax
from jaxsep.bss.mixing import free_field_mixing as free_field_mixing
from jaxsep.bss.result import ICAResult as ICAResult
from jaxsep.bss.result import projection_back as projection_back
