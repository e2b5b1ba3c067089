"""Models on disk: find, describe, load and save them.

A model is a folder of ``model.safetensors``, ``config.json`` and ``README.md``; nothing in it is ever
executed, and a part that nothing has registered is refused.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from jaxsep.errors import AudioWarning, UserError
from jaxsep.files import write_atomically
from jaxsep.parts import from_dict, to_dict, unregistered

if TYPE_CHECKING:  # listing models needs no JAX
    from jaxsep.system import System

PRETRAINED = Path(__file__).parent / "pretrained"

#: Version of the format that :func:`save_model` writes and :func:`load_model` reads.
FORMAT = 2

Storage = Literal["float32", "float16", "int8"]

_WEIGHTS, _CONFIG, _CARD = "model.safetensors", "config.json", "README.md"
_SCALE = ":scale"
#: Arrays up to this size, or this share of the model but no more than the last size, and all vectors stay
#: float32 in ``float16``: they cost little and change most.
_SMALL, _SMALL_SHARE, _SMALL_MOST = 1 << 14, 1 / 32, 1 << 18


def save_model(
    folder,
    system: System,
    variables: dict,
    card: str = "",
    info: dict | None = None,
    storage: Storage = "float32",
) -> Path:
    """Write a published model.

    Args:
      folder: where; made when missing, its files replaced one by one.
      system: its config is what rebuilds the network.
      variables: its weights.
      card: the text of its README.md; what config and info say when empty.
      info: further entries of config.json: name, description, license, scores.
      storage: how weights are stored: ``float32``; ``float16`` for half the size, small arrays as float32; or
        ``int8`` for a quarter: matrices and kernels in 8 bits with a float16 scale for each output channel,
        vectors as float32.

    Returns:
      The folder.

    Raises:
      UserError: the system is not described by its config: a subclass, or a part that is not registered.
    """
    from safetensors.numpy import save

    _check_described(system)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = save(_stored(flatten(variables), storage))
    portable = getattr(system.config.network, "portable", lambda: system.config.network)
    config = {
        "format": FORMAT,
        **(info or {}),
        "weights": storage,
        "sha256": hashlib.sha256(weights).hexdigest(),
        "system": to_dict(replace(system.config, network=portable())),
    }
    write_atomically(folder / _WEIGHTS, weights)
    write_atomically(folder / _CONFIG, (json.dumps(config, indent=2) + "\n").encode())
    card = card or _plain_card(folder, system, config)
    write_atomically(folder / _CARD, card)
    return folder


def _plain_card(folder, system, config):
    """A card that says what is known: of a run's best model, or one that was saved without."""
    lines = [f"# {config.get('name', folder.name)}", "", config.get("description", ""), ""]
    lines += [
        f"- stems: {', '.join(system.config.sources)}; residual: {system.config.residual}",
        f"- sample rate: {system.config.sample_rate} Hz; channels heard together: {system.config.channels}",
        f"- license: {config.get('license', 'not stated')}; data: {config.get('data', 'not stated')}",
        f"- weights: {config['weights']}, SHA-256 {config['sha256']}",
    ]
    for data, stems in config.get("scores", {}).items():
        for stem, scores in stems.items():
            lines.append(f"- {data}, {stem}: {', '.join(f'{k} {v}' for k, v in scores.items())}")
    return "\n".join([*lines, "", "Use it: `jaxsep separate FILE -m THIS_FOLDER`", ""])


def load_model(folder) -> tuple[System, dict, dict]:
    """Read a published model.

    Returns:
      The system, its variables (float32), and the entries of config.json.

    Raises:
      UserError: a missing or damaged file, a config that does not fit, weights of another config.
    """
    from jaxsep.system import System, SystemConfig

    folder = Path(folder)
    info = read_info(folder)
    if info.get("format") != FORMAT:
        raise UserError(
            f"{folder / _CONFIG}: format={info.get('format')}: this version of jaxsep reads format {FORMAT}"
        )
    try:
        system = System(from_dict(SystemConfig, info.get("system"), "system"))
    except ValueError as error:
        raise UserError(f"{folder / _CONFIG}: {error}") from error
    weights = _read_weights(folder / _WEIGHTS, info.get("sha256"))
    return system, _fit(system, weights, folder / _WEIGHTS), info


def read_info(folder) -> dict:
    """Return the entries of a published model's config.json, or raise UserError."""
    path = Path(folder) / _CONFIG
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); a model is a folder") from error
    try:
        if len(text) > 1 << 20:
            raise ValueError("over 1 MiB")
        info = json.loads(text)
        if not isinstance(info, dict):
            raise ValueError("not a mapping")
        if not isinstance(info.get("system"), dict):
            raise ValueError("no mapping 'system' in it")
        return {**info, "system": _whole(info["system"])}
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not a model's config ({error})") from error


def _whole(system):
    """What a config says of a system, with the defaults of what it leaves to them."""
    if {"sources", "sample_rate", "network"} <= system.keys():
        return system
    from jaxsep.system import SystemConfig

    return {**to_dict(SystemConfig()), **system}


def flatten(variables) -> dict[str, Any]:
    """Return a tree of dictionaries as ``{"params/heads/kernel": array}``."""
    flat: dict[str, Any] = {}
    for key in sorted(variables):
        value = variables[key]
        flat |= (
            {f"{key}/{k}": v for k, v in flatten(value).items()} if isinstance(value, dict) else {key: value}
        )
    return flat


def _check_names(data):
    """Refuse a safetensors header that names an array twice; readers take either."""

    def once(pairs):
        names = [name for name, _ in pairs]
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise ValueError(f"names {twice[0]} twice")
        return dict(pairs)

    length = int.from_bytes(data[:8], "little")
    json.loads(data[8 : 8 + length], object_pairs_hook=once)


def _read_weights(path, sha256):
    from safetensors.numpy import load

    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    if sha256 and hashlib.sha256(data).hexdigest() != sha256:
        raise UserError(f"{path}: damaged (its SHA-256 is not the one in config.json); fetch it again")
    try:
        _check_names(data)
        return _restored(load(data))
    except Exception as error:  # the reader's own class differs between versions
        raise UserError(f"{path}: not a safetensors file ({error})") from error


def _check_described(system):
    """Refuse a system that its config would not rebuild."""
    from jaxsep.system import System, SystemConfig

    if type(system) is not System:
        raise UserError(
            f"{type(system).__name__}: a subclass of System is not described by its config; "
            "register a part instead"
        )
    if wrong := unregistered(system.config):
        raise UserError(
            f"{wrong[0]}: holds no registered part, so no config names it; put "
            "@jaxsep.register(kind, name) above its class"
        )
    try:
        rebuilt: Any = from_dict(SystemConfig, to_dict(system.config), "system")
    except ValueError:
        rebuilt = None
    if rebuilt != system.config:
        raise UserError(
            "the system's config does not come back from its own description; check its parts' fields"
        )


def _stored(flat, storage):
    """Arrays as they are stored."""
    if storage != "int8":
        kept = {k: np.asarray(v, np.float32) for k, v in flat.items()}
        share = round(_SMALL_SHARE * sum(v.size for v in kept.values()))
        small = max(_SMALL, min(_SMALL_MOST, share))
        return {k: v.astype(storage) if v.ndim > 1 and v.size > small else v for k, v in kept.items()}
    stored = {}
    for key, value in flat.items():
        value = np.asarray(value, np.float32)
        if value.ndim < 2:
            stored[key] = value
            continue
        largest = np.max(np.abs(value), axis=tuple(range(value.ndim - 1)))
        scale = np.where(largest > 0, largest / 127, 1).astype(np.float32)
        if np.finfo(np.float16).tiny <= scale.min() and scale.max() <= np.finfo(np.float16).max:
            scale = scale.astype(np.float16)  # without losing digits of small ones
        stored[key] = np.clip(np.rint(value / scale.astype(np.float32)), -127, 127).astype(np.int8)
        stored[key + _SCALE] = scale
    return stored


def _restored(stored):
    """The inverse of :func:`_stored`, as float32 where 8 bits were stored."""
    restored = {}
    for key, value in stored.items():
        scale = stored.get(key + _SCALE)
        if scale is not None and value.dtype == np.int8 and scale.shape == value.shape[-1:]:
            restored[key] = value.astype(np.float32) * scale.astype(np.float32)
        elif not (key.endswith(_SCALE) and key.removesuffix(_SCALE) in stored):
            restored[key] = value
    return restored


def _fit(system, weights, path):
    """Arrange flat weights as the variables of ``system``; refuse any difference."""
    import jax

    from jaxsep.fine_tuning import map_named

    expected = jax.eval_shape(lambda: system.init(jax.random.key(0)))
    flat = flatten(expected)
    wrong = [f"missing {k}" for k in flat if k not in weights]
    wrong += [f"unexpected {k}" for k in weights if k not in flat]
    for k in flat.keys() & weights.keys():
        if weights[k].shape != flat[k].shape:
            wrong.append(f"{k} has shape {weights[k].shape}, not {flat[k].shape}")
        elif weights[k].dtype not in (np.float16, np.float32):
            wrong.append(f"{k} is {weights[k].dtype}, not float16, float32, or int8 with its scale")
        elif not np.isfinite(weights[k]).all():
            wrong.append(f"{k} holds NaN or infinity")
    if wrong:
        shown = "; ".join(sorted(wrong)[:3])
        raise UserError(f"{path}: does not fit its config.json ({len(wrong)} differences: {shown})")
    return map_named(lambda name, _: weights[name].astype(np.float32), expected)


def find_model(model: str | Path) -> Path:
    """Return the folder of a model: a shipped name, a published model's or a training run's folder.

    Raises:
      UserError: there is none; the message lists those that ship.
    """
    folder = Path(model)
    if (folder / "config.json").is_file() and (folder / "model.safetensors").is_file():
        return folder
    if (folder / "best" / "config.json").is_file():
        return folder / "best"
    known = {**imported_models(), **shipped_models()}
    if str(model) in known:
        return known[str(model)]
    if folder.is_dir():
        raise UserError(
            f"{folder}: holds no model (model.safetensors and config.json), nor a training run "
            "that has been validated"
        )
    if folder.is_file():
        raise UserError(f"{folder}: is a file; a model is a folder, unpack it first")
    raise UserError(
        f"{model}: there is no such model; there are {', '.join(known)}; or give the folder of a published "
        "model or of a training run, or import one of another program (jaxsep import)"
    )


def shipped_models() -> dict[str, Path]:
    """Return name -> folder of the models that ship with the package."""
    return _models_in(PRETRAINED)


def imported_models() -> dict[str, Path]:
    """Return name -> folder of the models in the user's :func:`models_folder`."""
    return _models_in(models_folder())


def models_folder() -> Path:
    """Where imported models are: ``JAXSEP_MODELS``, or ``models`` in the platform's folder for data."""
    from platformdirs import user_data_path

    chosen = os.environ.get("JAXSEP_MODELS")
    return Path(chosen).expanduser() if chosen else user_data_path("jaxsep", appauthor=False) / "models"


def describe_models() -> list[dict]:
    """Return the config entries of each model, with its weights' size in bytes and its folder; warn of one
    whose config cannot be read."""
    rows = []
    for name, folder in {**imported_models(), **shipped_models()}.items():
        size = (folder / _WEIGHTS).stat().st_size
        try:
            info = read_info(folder)
        except UserError as error:
            warnings.warn(str(error), AudioWarning, stacklevel=2)
            continue
        rows.append({**info, "bytes": size, "folder": str(folder), "name": name})
    return rows


def _models_in(folder):
    whole = (p.parent for p in sorted(folder.glob("*/config.json")) if (p.parent / _WEIGHTS).is_file())
    return {p.name: p for p in whole}
