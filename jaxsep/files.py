"""Files that appear whole or not at all, and logs that a crash may have cut short."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from jaxsep.errors import UserError


def read_json_lines(path) -> list[dict[str, Any]]:
    """The entries of a file with a JSON object a line, without a line that a crash cut short; an empty list
    where there is no such file."""
    path = Path(path)
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def check_writable(path) -> None:
    """Refuse, before the work for it is done, a file that could not be written.

    Raises:
      UserError: its folder is missing or locked, or it is a folder itself.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if len(os.fsencode(path.name)) > os.pathconf(path.parent, "PC_NAME_MAX"):
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        handle, name = _temporary(path)
        os.close(handle)
        os.unlink(name)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); give another file") from error


def write_atomically(path, data: bytes | str) -> None:
    """Write a file so that it is either whole or not there; text in UTF-8, with names of files in it that are
    none as they were."""
    path = Path(path)
    data = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
    handle, name = _temporary(path)
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


def _temporary(path):
    """A new file beside ``path``, open, and its name."""
    return tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:50]}.", suffix=".part")
