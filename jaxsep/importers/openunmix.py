"""Open-Unmix's published models, and those trained with it, as systems of ours.

References:
  F.-R. Stöter, S. Uhlich, A. Liutkus, Y. Mitsufuji, "Open-Unmix: a reference implementation for music source
  separation", Journal of Open Source Software 4(41), 2019.
"""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxsep.codecs import STFT, Codec, Direct
from jaxsep.errors import AudioWarning, UserError
from jaxsep.hub import flatten, save_model
from jaxsep.importers.pytorch import read_state
from jaxsep.networks import OpenUnmix, PerSource, Remainder
from jaxsep.system import System, SystemConfig

#: Targets that together are the whole mixture, in the order of their stems.
COMPLETE = (("vocals", "drums", "bass", "other"), ("speech", "noise"))

#: First digits of a file's SHA-256, which are in its published name -> the model that it belongs to.
PUBLISHED = {
    **dict.fromkeys(("c8df74a5", "5a48008b", "646024d3", "f8e132cc"), "umx"),
    **dict.fromkeys(("b62c91ce", "9619578f", "8d85a5bd", "b52fbbf7"), "umxhq"),
    **dict.fromkeys(("bccbd9aa", "69e0ebd4", "2ca1ce51", "c8c5b3e6"), "umxl"),
    **dict.fromkeys(("f5e0d9f9", "04a6fc2d"), "umxse"),
}

#: Model -> where its weights are published, and their license.
LICENSES = {
    "umx": ("https://zenodo.org/records/3370486", "MIT"),
    "umxhq": ("https://zenodo.org/records/3370489", "MIT"),
    "umxl": ("https://zenodo.org/records/5069601", "CC BY-NC-SA 4.0: not for commercial use"),
    "umxse": ("https://zenodo.org/records/3786908", "as that record says"),
}

#: Frames that a window has: two of the excerpts that Open-Unmix filters.
_FRAMES = 600


class Settings(NamedTuple):
    """What tensors do not say."""

    sample_rate: int = 44100
    n_fft: int | None = None
    hop_length: int | None = None


class Weights(NamedTuple):
    """One target's file."""

    target: str
    tensors: dict[str, np.ndarray]
    sha256: str
    named: str
    """Digits of a SHA-256 in the file's name; empty without."""


class Imported(NamedTuple):
    """What an import made of foreign weights."""

    system: System
    variables: dict
    sha256: dict[str, str]
    """Target -> of its file."""
    published: str | None
    """The published model that the files belong to, as far as their names or sums say."""


def import_openunmix(sources: Sequence[str | Path], folder: Path) -> Imported:
    """Write a model of Open-Unmix as a published model of ours, in float16.

    Args:
      sources: one folder of ``TARGET*.pth`` files, or such files; beside them ``separator.json`` or
        ``TARGET.json`` may say rate and hop.
      folder: where the model goes; its name is the model's.

    Returns:
      What was imported.

    Raises:
      UserError: a file cannot be read, is damaged, or is no such model; files of different models.

    Warns:
      AudioWarning: a file's SHA-256 is not that in its name.
    """
    files = _files([Path(source).expanduser() for source in sources])
    weights = [_read(path) for path in files]
    try:
        imported = convert_openunmix(weights, _settings(files, weights))
    except ValueError as error:
        raise UserError(f"{', '.join(map(str, files))}: {error}") from error
    for path, part in zip(files, weights, strict=True):
        if not part.sha256.startswith(part.named):
            warnings.warn(
                f"{path}: has SHA-256 {part.sha256[:16]}..., not the {part.named}... in its name",
                AudioWarning,
                stacklevel=2,
            )
    _save(folder, imported)
    return imported


def convert_openunmix(weights: Sequence[Weights], settings: Settings = Settings()) -> Imported:
    """Arrange the tensors of one or several targets as variables of ours.

    Args:
      weights: tensors of each target, as :func:`jaxsep.importers.pytorch.read_state` returns them.
      settings: rate and transform.

    Raises:
      ValueError: names or shapes are not those of the network, or the targets' networks differ.
    """
    known = [target for stems in COMPLETE for target in stems]
    weights = sorted(weights, key=lambda w: (known.index(w.target) if w.target in known else 99, w.target))
    targets = tuple(w.target for w in weights)
    if len(set(targets)) != len(targets) or not targets:
        raise ValueError(f"targets {', '.join(targets)}: expected one file for each target")
    networks = {_network(w) for w in weights}
    if len(networks) > 1:
        raise ValueError(f"targets {', '.join(targets)}: are networks of different sizes")
    network, channels, bins = networks.pop()
    system = _system(targets, network, channels, bins, settings)
    each = [_variables(w, network) for w in weights]
    variables = {
        kind: {f"source_{i}": one[kind] for i, one in enumerate(each)} for kind in ("params", "batch_stats")
    }
    _check(system, variables)
    digits = {d for w in weights for d in PUBLISHED if d == w.named or w.sha256.startswith(d)}
    models = {PUBLISHED[d] for d in digits}
    published = models.pop() if len(models) == 1 and len(digits) == len(weights) else None
    return Imported(system, variables, {w.target: w.sha256 for w in weights}, published)


# --- files ------------------------------------------------------------------------------------------


def _files(sources: list[Path]) -> list[Path]:
    if len(sources) == 1 and sources[0].is_dir():
        found = sorted(sources[0].glob("*.pth"))
        if not found:
            raise UserError(f"{sources[0]}: holds no .pth files; give the folder of one model, or its files")
        return found
    if folders := [source for source in sources if source.is_dir()]:
        raise UserError(f"{folders[0]}: is a folder among files; give one folder, or files")
    return sources


def _read(path: Path) -> Weights:
    """One file; its name is its target, and may hold the first digits of its SHA-256."""
    name = re.fullmatch(r"([\w-]+?)(?:[-_]([0-9a-f]{8,64}))?", path.stem)
    if name is None:
        raise UserError(f"{path}: its name is no target's; expected TARGET.pth or TARGET-SHA256.pth")
    try:
        data = path.read_bytes()
        return Weights(name[1], read_state(data), hashlib.sha256(data).hexdigest(), name[2] or "")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error


def _settings(files, weights) -> Settings:
    """Rate, transform and hop: of ``separator.json``, else of ``TARGET.json``, else the published models'."""
    speech = all(PUBLISHED.get(w.named) == "umxse" for w in weights)
    found: dict[str, Any] = dict(sample_rate=16000, nhop=512) if speech else {}
    for name in (f"{weights[0].target}.json", "separator.json"):
        path = files[0].parent / name
        if not path.is_file():
            continue
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            told = told.get("args", told)
            found |= {k: int(told[k]) for k in ("sample_rate", "nfft", "nhop") if k in told}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise UserError(f"{path}: not a file of Open-Unmix ({error})") from error
    return Settings(found.get("sample_rate", 44100), found.get("nfft"), found.get("nhop"))


def _save(folder, imported):
    stems, model = ", ".join(imported.system.config.sources), imported.published
    place, terms = LICENSES.get(model or "", ("", "not known here: see where the weights are from"))
    info = {
        "name": folder.name,
        "description": f"Open-Unmix{f' ({model})' if model else ''}: {stems}; imported weights",
        "license": f"MIT (code), {terms} (weights)",
        "origin": {"weights": model or "not among the published ones", "sha256": imported.sha256},
    }
    sums = "\n".join(f"- {target}: `{value}`" for target, value in imported.sha256.items())
    origin = f"published as `{model}`, {place}" if model else "not among the published ones"
    card = _CARD.format(name=folder.name, stems=stems, origin=origin, sums=sums, terms=terms)
    save_model(folder, imported.system, imported.variables, card=card, info=info, storage="float16")


# --- tensors ----------------------------------------------------------------------------------------


def _network(weights: Weights) -> tuple[OpenUnmix, int, int]:
    """The network that tensors belong to, its channels and bins."""
    tensors = weights.tensors
    for name in ("fc1.weight", "fc3.weight", "input_mean", "output_scale", "lstm.weight_ih_l0"):
        if name not in tensors or tensors[name].ndim != (2 if "weight" in name else 1):
            raise ValueError(f"{weights.target}: {name} is missing or has no such shape; not of Open-Unmix")
    bins, heard = len(tensors["output_scale"]), len(tensors["input_mean"])
    channels, rest = divmod(len(tensors["fc3.weight"]), max(bins, 1))
    if rest or channels not in (1, 2):
        raise ValueError(
            f"{weights.target}: fc3.weight has {len(tensors['fc3.weight'])} rows for {bins} bins; expected "
            "one or two channels"
        )
    network = OpenUnmix(
        layers=sum(bool(re.fullmatch(r"lstm\.weight_ih_l\d+", name)) for name in tensors),
        width=len(tensors["fc1.weight"]),
        heard=heard if heard < bins else None,
        bidirectional="lstm.weight_ih_l0_reverse" in tensors,
    )
    return network, channels, bins


def _system(targets, network, channels, bins, settings: Settings) -> System:
    """The system of these targets; where they are not all of a mixture, one more stem takes the rest."""
    n_fft = 2 * (bins - 1)
    if settings.n_fft not in (None, n_fft):
        raise ValueError(f"nfft={settings.n_fft}: the tensors have {bins} bins, of nfft={n_fft}")
    networks: Any = PerSource(network)
    sources = targets
    if targets not in COMPLETE:
        networks = Remainder(networks)
        sources = (*targets, "accompaniment" if targets == ("vocals",) else "rest")
    transform = STFT(n_fft=n_fft, hop_length=settings.hop_length or n_fft // 4)
    seconds = transform.samples(_FRAMES) / settings.sample_rate
    return System(
        SystemConfig(
            sources=sources,
            sample_rate=settings.sample_rate,
            channels=channels,
            codec=Codec(transform, head=Direct(), level="none"),
            network=networks,
            residual=sources[-1],
            segment_seconds=seconds,
            overlap_seconds=min(1.0, seconds / 4),
        )
    )


def _variables(weights: Weights, network: OpenUnmix) -> dict:
    """One network's variables: PyTorch's matrices are (out, in), and its LSTM has two biases."""

    def tensor(name):
        try:
            return np.asarray(weights.tensors[name], np.float32)
        except KeyError as error:
            raise ValueError(f"{weights.target}: the tensor {name} is missing") from error

    def matrix(name):
        return np.ascontiguousarray(tensor(name).T)

    params: dict = {name: tensor(name) for name in _PER_BIN}
    statistics = {}
    for i in (1, 2, 3):
        params[f"fc{i}"] = {"kernel": matrix(f"fc{i}.weight")}
        params[f"bn{i}"] = {"scale": tensor(f"bn{i}.weight"), "bias": tensor(f"bn{i}.bias")}
        mean, variance = tensor(f"bn{i}.running_mean"), tensor(f"bn{i}.running_var")
        statistics[f"bn{i}"] = {"mean": mean, "var": variance}
    for layer in range(network.layers):
        for direction, end in (("forward", ""), ("backward", "_reverse"))[: 1 + network.bidirectional]:
            biases = (tensor(f"lstm.bias_{part}_l{layer}{end}") for part in ("ih", "hh"))
            params[f"lstm_{layer}_{direction}"] = {
                "input": matrix(f"lstm.weight_ih_l{layer}{end}"),
                "recurrent": matrix(f"lstm.weight_hh_l{layer}{end}"),
                "bias": sum(biases),
            }
    return {"params": params, "batch_stats": statistics}


_PER_BIN = ("input_mean", "input_scale", "output_scale", "output_mean")


def _check(system, variables):
    """Refuse arrays of other shapes than the system's, and such as float16 does not hold."""
    expected = flatten(jax.eval_shape(system.init, jax.random.key(0)))
    for name, value in flatten(variables).items():
        if name not in expected or value.shape != expected[name].shape:
            shape = expected[name].shape if name in expected else "none"
            raise ValueError(f"{name}: has shape {value.shape}, Open-Unmix's network has {shape}")
        if not np.isfinite(value).all() or (value.ndim > 1 and np.abs(value).max() > 65504):
            raise ValueError(f"{name}: holds NaN, infinity or values beyond float16")


_CARD = """# {name}

A model of Open-Unmix, converted by `jaxsep import openunmix`: stems {stems}.

Origin of the weights: {origin}. SHA-256 of the files:

{sums}

`jaxsep separate -m {name} --wiener 1` filters the stems as Open-Unmix does.

Cite: F.-R. Stöter, S. Uhlich, A. Liutkus, Y. Mitsufuji, "Open-Unmix: a reference implementation for music
source separation", Journal of Open Source Software 4(41), 2019, https://doi.org/10.21105/joss.01667.

## License

Open-Unmix's code: MIT, Copyright (c) 2019 Inria (Fabian-Robert Stöter, Antoine Liutkus).

The weights: {terms}. `umx` and `umxhq` were published under the MIT license, `umxl` under CC BY-NC-SA 4.0,
which forbids commercial use; for all others the license is their owner's. Check it where you got the files
before you use or pass on the weights or this model.
"""
