"""Output folders: one for each track, claimed by its input, never outside the folder that was asked for."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from jaxsep.audio import is_pipe, show
from jaxsep.errors import UserError
from jaxsep.files import write_atomically

SOURCE = "source.json"


def output_folder(out: str, name: str) -> Path:
    """Make ``out/name``; refuse, before any work, what cannot be written."""
    if not name or name in (".", "..") or "/" in name or os.sep in name:
        raise UserError(f"the model's name {name!r} cannot be a folder's; rename the model")
    root = Path(out) / name
    make_folder(root)
    _inside(Path(out), root)
    if not os.access(root, os.W_OK | os.X_OK):
        raise UserError(f"{show(root)}: cannot be written; give another folder", "out")
    return root


def note_source(folder: Path, path, **entries) -> None:
    """Write beside stems which input they came from: one path, or a list of them."""
    source = {"input": _owner(path), **entries}
    write_atomically(folder / SOURCE, (json.dumps(source, indent=2) + "\n").encode())


@contextlib.contextmanager
def claimed_folder(root: Path, path, track: str = "") -> Iterator[Path]:
    """Claim ``root/TRACK`` for an input; given up again when nothing comes of it.

    A folder that holds another input's stems, or anything without saying whose it is, is left
    alone and a number is added to the name.

    Args:
      root: of all tracks.
      path: of the input, or a list of those that are separated together.
      track: the folder's name, which may have folders above it; the (first) file's when empty.
    """
    first = path[0] if isinstance(path, list) else path
    track = track or ("stdin" if os.fspath(first) == "-" else Path(first).stem or "track")
    owner = _owner(path)
    for name in (track, *(f"{track}-{n}" for n in range(2, 10000))):
        folder = root / name
        _inside(root, folder)
        make_folder(folder)
        if _claim(folder, owner, is_pipe(first)):
            break
    else:
        raise UserError(f"{show(root / track)}: too many tracks of this name; give another folder", "out")
    try:
        yield folder
    finally:
        with contextlib.suppress(OSError):
            if [p.name for p in folder.iterdir()] == [SOURCE]:
                (folder / SOURCE).unlink()
                folder.rmdir()


def _owner(path):
    """What ``source.json`` says of whose a folder is."""
    paths = path if isinstance(path, list) else [path]
    owners = [os.fsdecode(os.path.abspath(p)) for p in paths]
    return owners if len(owners) > 1 else owners[0]


def _claim(folder, owner, new):
    """Whether the folder is this input's, now or from before; what is ``new`` has none from before."""
    if not any(folder.iterdir()):
        with contextlib.suppress(FileExistsError), open(folder / SOURCE, "x") as file:
            json.dump({"input": owner}, file)
            return True
    if new:
        return False
    try:
        return json.loads((folder / SOURCE).read_text()).get("input") == owner
    except (OSError, ValueError, AttributeError):
        return False


def _inside(root, folder):
    if not folder.resolve().is_relative_to(root.resolve()):
        raise UserError(
            f"{show(folder)}: leads out of {show(root)}; remove the link or give another folder",
            "out",
        )


def make_folder(folder: Path) -> None:
    """Make a folder and those above it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{show(folder)}: the folder cannot be made ({error.strerror}); give another folder",
            "out",
        ) from error
