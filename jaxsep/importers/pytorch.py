"""PyTorch's files of weights as arrays, with numpy alone; nothing in them is executed.

``torch.save`` writes a pickle, and tensors' data beside it: since PyTorch 1.6 in a zip archive, before that
behind one another in one file. A pickle is a program that may call anything. Here it is given names of
tensors and containers and nothing else; what those stand for only notes what a tensor is, and any other name
is refused.

References:
  ``torch/serialization.py`` and ``torch/_utils.py`` of PyTorch; ``Lib/pickle.py`` of Python.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import numpy as np

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
#: Type of a storage -> numpy's name of what it holds.
_STORAGES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "|b1",
}


class _Refused(ValueError):
    """Something that is not read, with the reason for the user."""


class _Storage(NamedTuple):
    key: str
    dtype: str
    values: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def read_state(data: bytes) -> dict[str, np.ndarray]:
    """Return the tensors of a state dictionary that ``torch.save`` wrote.

    Args:
      data: what the file holds, of either format.

    Returns:
      Name -> array.

    Raises:
      ValueError: it is no such file, is damaged, or holds other than tensors in dictionaries.
    """
    try:
        found, storages = (_read_zip if data.startswith(b"PK") else _read_stream)(data)
        _check_state(found)
        return {name: _array(name, tensor, storages) for name, tensor in found.items()}
    except _Refused:
        raise
    except Exception as error:  # whatever a damaged pickle or archive leads to
        reason = str(error) or type(error).__name__
        raise ValueError(f"not a file of PyTorch's, or a damaged one ({reason})") from error


def _check_state(found):
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise _Refused(f"holds a {type(found).__name__}; expected a state dictionary, name -> tensor")
    if others := [name for name, value in found.items() if not isinstance(value, _Tensor)]:
        raise _Refused(f"{others[0]}: is no tensor; expected a state dictionary, name -> tensor")


def _array(name, tensor, storages):
    """The elements of a storage that a tensor shows."""
    storage, offset, size, stride = tensor
    dtype = np.dtype(storage.dtype)
    data = storages(storage)
    if len(data) != storage.values * dtype.itemsize:
        raise _Refused(f"{name}: {len(data)} bytes do not hold {storage.values} values of {dtype}")
    if len(size) != len(stride) or min((*size, *stride, offset), default=0) < 0:
        raise _Refused(f"{name}: has size {size} and stride {stride}, which is no tensor")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if prod(size) > storage.values or (prod(size) and last >= storage.values):
        raise _Refused(f"{name}: size {size} at {offset} reaches beyond its {storage.values} values")
    values = np.frombuffer(data, dtype)[offset:]
    strides = [step * dtype.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(values, size, strides).copy()


# --- the two formats --------------------------------------------------------------------------------

#: What was pickled, and from a storage to its bytes.
_Read = tuple[Any, Callable[[_Storage], bytes]]


def _read_zip(data: bytes) -> _Read:
    archive = zipfile.ZipFile(io.BytesIO(data))
    names = [name for name in archive.namelist() if name.rsplit("/", 1)[-1] == "data.pkl"]
    if len(names) != 1:
        raise _Refused(f"an archive with {len(names)} files data.pkl; a file of torch.save has one")
    if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
        raise _Refused("an archive with compressed files; torch.save compresses none")
    root = names[0].removesuffix("data.pkl")
    if f"{root}byteorder" in archive.namelist() and archive.read(f"{root}byteorder") != b"little":
        raise _Refused("written on a big-endian machine; load and save it on another one")
    found = _Unpickler(io.BytesIO(archive.read(names[0]))).load()
    return found, lambda storage: archive.read(f"{root}data/{storage.key}")


def _read_stream(data: bytes) -> _Read:
    stream = io.BytesIO(data)
    if _Unpickler(stream).load() != _MAGIC or _Unpickler(stream).load() != _PROTOCOL:
        raise _Refused("not a file of torch.save (its first bytes are others)")
    if not _Unpickler(stream).load().get("little_endian", True):
        raise _Refused("written on a big-endian machine; load and save it on another one")
    unpickler = _Unpickler(stream)
    found = unpickler.load()
    storages = {}
    for key in _Unpickler(stream).load():
        count = int.from_bytes(stream.read(8), "little")
        storages[key] = stream.read(count * np.dtype(unpickler.storages[key].dtype).itemsize)
    return found, lambda storage: storages[storage.key]


class _Unpickler(pickle._Unpickler):  # type: ignore[name-defined]  # the one whose memo takes no file's word
    """Reads a pickle whose names are those of tensors and containers."""

    def __init__(self, stream):
        super().__init__(stream)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str):
        """What a name stands for: each time anew, so that a pickle cannot change it for the next."""
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        known: dict[str, Any] = {
            "collections.OrderedDict": OrderedDict,
            "torch._utils._rebuild_tensor": lambda *tensor: _tensor(*tensor),
            "torch._utils._rebuild_tensor_v2": lambda *tensor: _tensor(*tensor[:4]),
            "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
        }
        try:
            return known[f"{module}.{name}"]
        except KeyError:
            raise _Refused(
                f"names {module}.{name}, which is neither a tensor nor a container, and may run anything; "
                "save the state_dict() alone"
            ) from None

    def persistent_load(self, pid):
        """A storage, noted; its bytes are elsewhere."""
        kind, dtype, key, _, count, *view = pid
        if kind != "storage" or dtype not in _STORAGES.values() or any(view):
            raise _Refused(f"holds {pid!r:.80}; expected a storage of numbers")
        self.storages[key] = _Storage(key, dtype, count)
        return self.storages[key]


def _tensor(storage, offset, size, stride):
    if not isinstance(storage, _Storage):
        raise _Refused("holds a tensor without a storage")
    return _Tensor(storage, int(offset), tuple(map(int, size)), tuple(map(int, stride)))
