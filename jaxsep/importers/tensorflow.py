"""TensorFlow's checkpoints ("tensor bundles") as arrays, with numpy alone; nothing in them is executed.

``NAME.index`` is a LevelDB table from tensors' names to where they lie in ``NAME.data-00000-of-00001``.

References:
  ``tensorflow/core/util/tensor_bundle`` and ``core/protobuf/tensor_bundle.proto`` of TensorFlow;
  ``doc/table_format.md`` of LevelDB.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np

from jaxsep.importers.crc32c import masked_crc32c

_MAGIC = 0xDB4775248B80FB57
_FOOTER, _TRAILER = 48, 5
_DTYPES: dict[int, np.dtype] = {1: np.dtype("<f4"), 9: np.dtype("<i8")}
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def read_bundle(index: bytes, data: bytes) -> dict[str, np.ndarray]:
    """Return the tensors of a checkpoint of one shard.

    Args:
      index: what ``NAME.index`` holds.
      data: what ``NAME.data-00000-of-00001`` holds.

    Returns:
      Name -> float32 or int64 array.

    Raises:
      ValueError: it is no such file, is damaged (a CRC differs), or holds what is not supported here.
    """
    tensors = {}
    for key, value in _table(index):
        fields = dict(_message(value))
        if not key:
            if fields.get(1, 1) != 1:
                raise ValueError(f"the checkpoint has {fields[1]} shards; expected one")
            continue
        name = key.decode("utf-8", "replace")
        tensors[name] = _tensor(name, fields, _shape(value), data)
    return tensors


def _tensor(name, fields, shape, data):
    dtype = _DTYPES.get(fields.get(1, 0))
    if dtype is None or fields.get(3, 0):
        raise ValueError(
            f"{name}: has type {fields.get(1, 0)} in shard {fields.get(3, 0)}; expected float32 or int64 in 0"
        )
    offset, size = fields.get(4, 0), fields.get(5, 0)
    if size != prod(shape) * dtype.itemsize or offset + size > len(data):
        raise ValueError(f"{name}: {size} bytes at {offset} do not hold {dtype} of shape {shape}")
    piece = memoryview(data)[offset : offset + size]
    if masked_crc32c(piece) != fields.get(6):
        raise ValueError(f"{name}: damaged (its CRC-32C is not the one in the index)")
    return np.frombuffer(piece, dtype).reshape(shape)


def _shape(entry):
    """The shape in a BundleEntryProto; its dimensions repeat, so a dictionary of fields loses some."""
    shape = next((value for number, value in _message(entry) if number == 2), b"")
    return tuple(dict(_message(dim)).get(1, 0) for number, dim in _message(shape) if number == 2)


# --- LevelDB's table ------------------------------------------------------------------------------


def _table(index: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of all blocks."""
    if len(index) < _FOOTER or int.from_bytes(index[-8:], "little") != _MAGIC:
        raise ValueError("not the index of a TensorFlow checkpoint (its last bytes are others)")
    offset, size, at = _handle(index, len(index) - _FOOTER)
    _block(index, offset, size)  # of what is known about the table; only its CRC matters
    offset, size, _ = _handle(index, at)
    for _, handle in _entries(_block(index, offset, size)):
        offset, size, _ = _handle(handle, 0)
        yield from _entries(_block(index, offset, size))


def _handle(data, at):
    offset, at = _varint(data, at)
    size, at = _varint(data, at)
    return offset, size, at


def _block(index, offset, size):
    """A block's bytes, its CRC checked."""
    whole = index[offset : offset + size + _TRAILER]
    if len(whole) != size + _TRAILER or whole[size] != 0:
        raise ValueError("the index is cut off, or its blocks are compressed")
    if masked_crc32c(whole[: size + 1]) != int.from_bytes(whole[size + 1 :], "little"):
        raise ValueError("the index is damaged (the CRC-32C of a block differs)")
    return whole[:size]


def _entries(block):
    """Keys and values of a block; each key shares its beginning with the one before."""
    restarts = int.from_bytes(block[-4:], "little")
    end, at, key = len(block) - 4 * (restarts + 1), 0, b""
    while at < end:
        shared, at = _varint(block, at)
        own, at = _varint(block, at)
        size, at = _varint(block, at)
        key = key[:shared] + block[at : at + own]
        yield key, block[at + own : at + own + size]
        at += own + size


# --- protocol buffers -----------------------------------------------------------------------------


def _message(data: bytes) -> Iterator[tuple[int, Any]]:
    """Numbers and values of a message's fields."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        value: Any
        if wire == _VARINT:
            value, at = _varint(data, at)
        elif wire in (_FIXED32, _FIXED64):
            size = 4 if wire == _FIXED32 else 8
            value, at = int.from_bytes(data[at : at + size], "little"), at + size
        elif wire == _BYTES:
            size, at = _varint(data, at)
            value, at = data[at : at + size], at + size
        else:
            raise ValueError(f"the index holds a field of wire type {wire}")
        yield number, value


def _varint(data, at):
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("the index is cut off or damaged")
        byte, at = data[at], at + 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
