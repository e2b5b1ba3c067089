"""jaxsep: audio source separation in JAX.

Importing this package loads neither JAX nor anything else; each name is loaded when it is used.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # as type checkers read it; importing `typing` takes longer than all else here

if TYPE_CHECKING:  # what editors and type checkers see of the lazy names below
    from jaxsep import audio as audio
    from jaxsep import augment as augment
    from jaxsep import baselines as baselines
    from jaxsep import bss as bss
    from jaxsep import checkpoints as checkpoints
    from jaxsep import codecs as codecs
    from jaxsep import compilation as compilation
    from jaxsep import distillation as distillation
    from jaxsep import errors as errors
    from jaxsep import evaluation as evaluation
    from jaxsep import examples as examples
    from jaxsep import export as export
    from jaxsep import figures as figures
    from jaxsep import files as files
    from jaxsep import fine_tuning as fine_tuning
    from jaxsep import fsdp as fsdp
    from jaxsep import hub as hub
    from jaxsep import importers as importers
    from jaxsep import inference as inference
    from jaxsep import live as live
    from jaxsep import live_windows as live_windows
    from jaxsep import losses as losses
    from jaxsep import masks as masks
    from jaxsep import metrics as metrics
    from jaxsep import networks as networks
    from jaxsep import optimizers as optimizers
    from jaxsep import parts as parts
    from jaxsep import precision as precision
    from jaxsep import report as report
    from jaxsep import resampling as resampling
    from jaxsep import separator as separator
    from jaxsep import spectral as spectral
    from jaxsep import system as system
    from jaxsep import training as training
    from jaxsep import wiener as wiener
    from jaxsep.bss import fastica as fastica
    from jaxsep.errors import UserError as UserError
    from jaxsep.metrics import bss_eval_images as bss_eval_images
    from jaxsep.metrics import bss_eval_sources as bss_eval_sources
    from jaxsep.metrics import si_sdr as si_sdr
    from jaxsep.parts import ranged as ranged
    from jaxsep.parts import register as register
    from jaxsep.resampling import resample as resample
    from jaxsep.separator import Separator as Separator
    from jaxsep.spectral import griffin_lim as griffin_lim
    from jaxsep.spectral import istft as istft
    from jaxsep.spectral import melspectrogram as melspectrogram
    from jaxsep.spectral import stft as stft
    from jaxsep.system import System as System
    from jaxsep.system import SystemConfig as SystemConfig

__version__ = "0.1.0"

#: Public name -> the module that defines it.
_PUBLIC = {
    "stft": "jaxsep.spectral",
    "istft": "jaxsep.spectral",
    "melspectrogram": "jaxsep.spectral",
    "griffin_lim": "jaxsep.spectral",
    "si_sdr": "jaxsep.metrics",
    "bss_eval_sources": "jaxsep.metrics",
    "bss_eval_images": "jaxsep.metrics",
    "fastica": "jaxsep.bss",
    "resample": "jaxsep.resampling",
    "register": "jaxsep.parts",
    "ranged": "jaxsep.parts",
    "System": "jaxsep.system",
    "SystemConfig": "jaxsep.system",
    "Separator": "jaxsep.separator",
    "UserError": "jaxsep.errors",
}
_MODULES = [
    "audio",
    "augment",
    "baselines",
    "bss",
    "checkpoints",
    "codecs",
    "compilation",
    "distillation",
    "errors",
    "evaluation",
    "examples",
    "export",
    "figures",
    "files",
    "fine_tuning",
    "fsdp",
    "hub",
    "importers",
    "inference",
    "live",
    "live_windows",
    "losses",
    "masks",
    "metrics",
    "networks",
    "optimizers",
    "parts",
    "precision",
    "report",
    "resampling",
    "separator",
    "spectral",
    "system",
    "training",
    "wiener",
]

__all__ = [*_PUBLIC, *_MODULES, "__version__"]


def __getattr__(name: str):
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"jaxsep.{name}")
    raise AttributeError(f"module 'jaxsep' has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
