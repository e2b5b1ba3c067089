"""Weights on disk: checkpoints of a run (Orbax) and published models (safetensors).

A run's checkpoints restore training bit for bit; each file of a finished one has its SHA-256
beside it, so that damage is found and the step before is taken. A published model is a folder of
``model.safetensors``, ``config.json`` and ``README.md``; nothing in it is ever executed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxsep.config import from_dict, to_dict
from jaxsep.errors import UserError
from jaxsep.system import System, SystemConfig

_WEIGHTS, _CONFIG, _CARD = "model.safetensors", "config.json", "README.md"


# --- published models -----------------------------------------------------------------------


def save_model(
    folder, system: System, variables: dict, card: str = "", info: dict | None = None, dtype=np.float32
) -> Path:
    """Write a published model.

    Args:
      folder: where; made when missing, its files replaced one by one.
      system: its config is what rebuilds the network.
      variables: its weights.
      card: the text of its README.md.
      info: further entries of config.json: name, description, licence, scores.
      dtype: float32, or float16 for half the size.

    Returns:
      The folder.
    """
    from safetensors.numpy import save

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = save({k: np.asarray(v).astype(dtype) for k, v in flatten(variables).items()})
    config = {
        **(info or {}),
        "sha256": hashlib.sha256(weights).hexdigest(),
        "system": to_dict(replace(system.config, network=system.config.network.portable())),
    }
    write_atomically(folder / _WEIGHTS, weights)
    write_atomically(folder / _CONFIG, (json.dumps(config, indent=2) + "\n").encode())
    if card:
        write_atomically(folder / _CARD, card.encode())
    return folder


def load_model(folder) -> tuple[System, dict, dict]:
    """Read a published model.

    Returns:
      The system, its variables (float32), and the entries of config.json.

    Raises:
      UserError: a missing or damaged file, a config that does not fit, weights of another config.
    """
    folder = Path(folder)
    info = read_info(folder)
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
        return info
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not a model's config ({error})") from error


def flatten(variables) -> dict[str, Any]:
    """Return a tree of dictionaries as ``{"params/heads/kernel": array}``."""
    leaves = jax.tree_util.tree_flatten_with_path(variables)[0]
    return {"/".join(str(k.key) for k in path): leaf for path, leaf in leaves}


def _read_weights(path, sha256):
    from safetensors.numpy import load

    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    if sha256 and hashlib.sha256(data).hexdigest() != sha256:
        raise UserError(f"{path}: damaged (its SHA-256 is not the one in config.json); fetch it again")
    try:
        return load(data)
    except Exception as error:  # the reader's own class differs between versions
        raise UserError(f"{path}: not a safetensors file ({error})") from error


def _fit(system, weights, path):
    """Arrange flat weights as the variables of ``system``; refuse any difference."""
    expected = jax.eval_shape(system.init, jax.random.key(0))
    flat = flatten(expected)
    wrong = [f"missing {k}" for k in flat if k not in weights]
    wrong += [f"unexpected {k}" for k in weights if k not in flat]
    for k in flat.keys() & weights.keys():
        if weights[k].shape != flat[k].shape:
            wrong.append(f"{k} has shape {weights[k].shape}, not {flat[k].shape}")
        elif weights[k].dtype not in (np.float16, np.float32):
            wrong.append(f"{k} is {weights[k].dtype}, not float16 or float32")
        elif not np.isfinite(weights[k]).all():
            wrong.append(f"{k} holds NaN or infinity")
    if wrong:
        shown = "; ".join(sorted(wrong)[:3])
        raise UserError(f"{path}: does not fit its config.json ({len(wrong)} differences: {shown})")
    leaves, structure = jax.tree_util.tree_flatten_with_path(expected)
    values = [weights["/".join(str(k.key) for k in p)].astype(np.float32) for p, _ in leaves]
    return jax.tree_util.tree_unflatten(structure, values)


# --- checkpoints of a run -------------------------------------------------------------------


class Checkpoints:
    """The checkpoints of one run folder: saved whole, checked when read.

    Args:
      folder: the run folder; checkpoints go to ``checkpoints/`` in it.
      keep: how many of the newest to keep.
    """

    def __init__(self, folder, keep: int = 2):
        import orbax.checkpoint as ocp

        self._ocp = ocp
        self._root = Path(folder).absolute() / "checkpoints"
        self._sums = self._root / "sha256"
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, enable_async_checkpointing=False)
        self._manager = ocp.CheckpointManager(self._root, options=options)

    def save(self, step: int, state, config: dict) -> None:
        """Write state and config of ``step``; whole once this returns.

        Raises:
          UserError: when it cannot be written; the steps before are untouched.
        """
        args = self._ocp.args
        try:
            if step in self._manager.all_steps():  # a damaged one that is being replaced
                self._manager.delete(step)
            items = args.Composite(state=args.StandardSave(state), config=args.JsonSave(config))
            self._manager.save(step, args=items, force=True)
            self._manager.wait_until_finished()
            self._write_sums(step)
        except (OSError, ValueError) as error:
            raise UserError(
                f"{self._root / str(step)}: the checkpoint could not be saved ({error}); "
                "free some space and start the same command again: it goes on from the last whole one"
            ) from error

    def steps(self) -> list[int]:
        """Steps with a checkpoint that was finished, oldest first."""
        return sorted(s for s in self._manager.all_steps() if self._sum_file(s).exists())

    def damage(self, step: int) -> list[str]:
        """Names of the files of a finished checkpoint that are not as they were written."""
        try:
            expected = json.loads(self._sum_file(step).read_text())
        except (OSError, ValueError):
            return [self._sum_file(step).name]
        found = self._hashes(step)
        return sorted(k for k in expected.keys() | found.keys() if expected.get(k) != found.get(k))

    def config(self, step: int) -> dict:
        """Return the config that was saved with ``step``."""
        args = self._ocp.args
        restored = self._manager.restore(step, args=args.Composite(config=args.JsonRestore()))
        return restored["config"]

    def state(self, step: int, like) -> Any:
        """Return the state of ``step``, with shapes, dtypes and placement of ``like``."""
        args = self._ocp.args
        abstract = jax.tree.map(self._ocp.utils.to_shape_dtype_struct, like)
        items = args.Composite(state=args.StandardRestore(abstract))
        return self._manager.restore(step, args=items)["state"]

    def newest_whole(self, warn=lambda message: None) -> int | None:
        """Return the newest undamaged step, telling ``warn`` of each that is passed over."""
        for step in reversed(self.steps()):
            damaged = self.damage(step)
            if not damaged:
                return step
            warn(f"checkpoint {step} is damaged ({', '.join(damaged[:3])}); taking the one before")
        return None

    def close(self) -> None:
        """Release what the checkpoint manager holds."""
        self._manager.close()

    def _sum_file(self, step):
        return self._sums / f"{step}.json"

    def _hashes(self, step):
        root = self._root / str(step)
        files = sorted(p for p in root.rglob("*") if p.is_file())
        return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}

    def _write_sums(self, step):
        self._sums.mkdir(exist_ok=True)
        write_atomically(self._sum_file(step), json.dumps(self._hashes(step)).encode())
        kept = set(self._manager.all_steps())
        for path in self._sums.glob("*.json"):
            if int(path.stem) not in kept:
                path.unlink()


@contextlib.contextmanager
def run_lock(folder) -> Iterator[None]:
    """Hold a run folder for this process; a dead process's lock is free.

    Raises:
      UserError: another process holds it.
    """
    import fcntl

    path = Path(folder) / "lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(
                f"{folder}: another process is training in this folder; "
                "wait for it, stop it, or give another --out"
            ) from error
        yield


def write_atomically(path, data: bytes) -> None:
    """Write a file so that it is either whole or not there."""
    path = Path(path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
