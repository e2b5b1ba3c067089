"""jaxsep: audio source separation in JAX.

Importing this package loads neither JAX nor anything else; each name is loaded when it is used.
"""

from __future__ import annotations

import importlib

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
    "codec",
    "compilation",
    "config",
    "errors",
    "evaluation",
    "export",
    "inference",
    "losses",
    "masks",
    "metrics",
    "models",
    "report",
    "resampling",
    "separator",
    "spectral",
    "store",
    "system",
    "training",
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
