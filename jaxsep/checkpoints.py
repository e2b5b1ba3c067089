"""Checkpoints of a training run: Orbax, with a checksum of every file, and a lock on the run's folder.

Orbax neither notices a flipped byte nor falls back. So each file of a finished checkpoint has its SHA-256
beside it, damage is found when it is read, and the step before is taken. Files are written while training
goes on; a step counts as whole once its checksums are there, and those are written last.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from jaxsep._checks import at_least
from jaxsep.errors import UserError
from jaxsep.files import write_atomically

#: What a checkpoint's config calls the shapes of its arrays.
_SHAPES = "shapes"


def _shapes(state) -> dict[str, list[int]]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    return {jax.tree_util.keystr(path): list(leaf.shape) for path, leaf in leaves}


class Checkpoints:
    """The checkpoints of one run folder: saved whole, checked when read.

    Args:
      folder: the run folder; checkpoints go to ``checkpoints/`` in it.
      keep: how many of the newest to keep; 2 at the least, as one is whole while another is written.
    """

    def __init__(self, folder, keep: int = 2):
        import orbax.checkpoint as ocp

        self._ocp = ocp
        self._root = Path(folder).absolute() / "checkpoints"
        self._sums = self._root / "sha256"
        self._keep, self._step = at_least("keep", keep, 2), -1
        self._closing: threading.Thread | None = None
        self._failed: BaseException | None = None
        options = ocp.CheckpointManagerOptions(preservation_policy=_Policy(self._preserved))
        self._manager = ocp.CheckpointManager(self._root, options=options)

    def save(self, step: int, state, config: dict) -> None:
        """Begin to write state and config of a new ``step``; whole once :meth:`wait` returns.

        The state is copied before this returns, and may be donated then.

        Raises:
          UserError: when it, or the one before, cannot be written; the whole steps before are untouched.
        """
        self.wait()
        args, self._step = self._ocp.args, step
        with self._told_apart():
            if step in self._manager.all_steps():
                if self._sum_file(step).exists():
                    raise ValueError("there is a whole one of this step")
                self._manager.delete(step)  # of a save that was cut short
            # Orbax writes it later, and the caller's notes go on.
            described = args.JsonSave(copy.deepcopy({**config, _SHAPES: _shapes(state)}))
            items = args.Composite(state=args.StandardSave(state), config=described)
            self._manager.save(step, args=items, force=True)
        self._closing = threading.Thread(target=self._close_step, args=(step,))
        self._closing.start()

    def wait(self) -> None:
        """Return once the last save is whole.

        Raises:
          UserError: when it could not be written.
        """
        if self._closing is not None:
            self._closing.join()
            self._closing = None
        error, self._failed = self._failed, None
        with self._told_apart():
            if error is not None:
                raise error

    def _close_step(self, step):
        """In a thread: wait for the files of a step, then write their checksums."""
        try:
            self._manager.wait_until_finished()
            if jax.process_index() == 0:
                self._write_sums(step)
        except BaseException as error:  # raised where the run waits for it
            self._failed = error

    @contextlib.contextmanager
    def _told_apart(self):
        """What goes wrong with a file, as an error of the user's."""
        try:
            yield
        except (OSError, ValueError) as error:
            raise UserError(
                f"{self._root / str(self._step)}: the checkpoint could not be saved ({error}); "
                "free some space and start the same command again: it goes on from the last whole one"
            ) from error

    def _preserved(self, steps):
        """Which steps stay when another is begun: that one, and the newest whole ones."""
        whole = sorted(s for s in steps if s != self._step and self._sum_file(s).exists())
        kept = {self._step, *whole[-(self._keep - 1) :]}
        return [step in kept for step in steps]

    def steps(self) -> list[int]:
        """Steps with a checkpoint that was finished, oldest first."""
        return sorted(s for s in self._manager.all_steps() if self._sum_file(s).exists())

    def unchecked(self) -> list[int]:
        """Steps with files but no checksums: of a save that was cut short, or of a copy that lost them."""
        here = (s for s in self._manager.all_steps() if not self._sum_file(s).exists())
        return sorted(s for s in here if any((self._root / str(s)).iterdir()))

    def damage(self, step: int) -> list[str]:
        """Names of the files of a finished checkpoint that are not as they were written."""
        try:
            expected = json.loads(self._sum_file(step).read_text())
            if not isinstance(expected, dict):
                raise ValueError("not a mapping")
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
        """Return the state of ``step``, with shapes, dtypes and placement of ``like``.

        Raises:
          UserError: its arrays have other names or shapes.
        """
        args = self._ocp.args
        wanted = _shapes(like)
        saved = self.config(step).get(_SHAPES, wanted)
        other = [name for name in saved.keys() | wanted.keys() if saved.get(name) != wanted.get(name)]
        if other:  # found here, for Orbax would leave coroutines behind that nobody awaits
            name = min(other)
            raise UserError(
                f"{self._root / str(step)}: holds the state of another network or optimizer ({len(other)} "
                f"arrays, the first {name}: {saved.get(name)} there, {wanted.get(name)} wanted); train in "
                "another folder, from this run's model where its arrays fit",
                "init-from",
            )
        abstract = jax.tree.map(self._ocp.utils.to_shape_dtype_struct, like)
        items = args.Composite(state=args.StandardRestore(abstract))
        return self._manager.restore(step, args=items)["state"]

    def newest_whole(self, warn=lambda message: None) -> int | None:
        """Return the newest undamaged step, telling ``warn`` of each that is passed over.

        Those are moved aside, so that they neither count among those that are kept nor are lost; where no
        step is whole, all stay where they are.
        """
        passed: list[int] = []
        for step in reversed(self.steps()):
            damaged = self.damage(step)
            if not damaged:
                for other in passed:
                    self.set_aside(other)
                return step
            warn(f"checkpoint {step} is damaged ({', '.join(damaged[:3])})")
            passed.append(step)
        return None

    def set_aside(self, step: int) -> Path:
        """Move a step's files to ``damaged/`` in the run folder, and return where they are."""
        places = (
            self._root.parent / "damaged" / f"{step}{end}" for end in ("", *(f"-{n}" for n in range(2, 99)))
        )
        place = next(p for p in places if not p.exists())
        place.parent.mkdir(exist_ok=True)
        (self._root / str(step)).rename(place)
        self._sum_file(step).unlink(missing_ok=True)
        self._manager.reload()
        return place

    def reload(self) -> None:
        """Look again which steps there are: another host may have moved some."""
        self._manager.reload()

    def close(self) -> None:
        """Wait for the last save, and release what the checkpoint manager holds."""
        try:
            self.wait()
        finally:
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


class _Policy:
    """Orbax asks which checkpoints to keep; ``choose`` says, from their steps."""

    def __init__(self, choose):
        self._choose = choose

    def should_preserve(self, checkpoints, *, context):
        del context
        return self._choose([checkpoint.step for checkpoint in checkpoints])


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
                "wait for it, stop it, or train in another one"
            ) from error
        yield
