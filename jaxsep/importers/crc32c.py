"""CRC-32C, the checksum of TensorFlow's files and of LevelDB, over many lanes at once.

The CRC of a whole follows from those of its parts: to append a part, the CRC before it is multiplied
by the operator of as many zero bytes, a 32 x 32 matrix over GF(2), and that of the part is added.

References:
  RFC 3720, appendix B.4. M. Adler, ``crc32_combine`` of zlib.
"""

from __future__ import annotations

import numpy as np

_POLYNOMIAL = np.uint32(0x82F63B78)
_WORD = 4


def _tables() -> np.ndarray:
    """What each byte value becomes by one to four zero bytes behind it, ``(4, 256)``."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, table >> 1 ^ _POLYNOMIAL, table >> 1)
    tables = [table]
    for _ in range(_WORD - 1):
        tables.append(table[tables[-1] & 255] ^ tables[-1] >> 8)
    return np.stack(tables)


_TABLES = _tables()


def crc32c(data: bytes | memoryview) -> int:
    """Return the CRC-32C of bytes.

    Example:
      >>> hex(crc32c(b"123456789"))
      '0xe3069283'
    """
    count = len(data)
    lanes = 1 << max(0, (count // 1024).bit_length() - 1)
    length = -(-count // (lanes * _WORD)) * _WORD
    # Zeros in front change nothing of a CRC that starts at 0.
    padded = np.zeros(lanes * length, np.uint8)
    if count:
        padded[-count:] = np.frombuffer(data, np.uint8)
    words = np.ascontiguousarray(padded.view("<u4").reshape(lanes, -1).T)
    crc = np.zeros(lanes, np.uint32)
    for word in words:
        crc = _append_zeros(crc ^ word)
    operator = _zeros(length)
    while len(crc) > 1:
        crc = _apply(operator, crc[0::2]) ^ crc[1::2]
        operator = _apply(operator, operator)
    start = _apply(_zeros(count), np.array([0xFFFFFFFF], np.uint32))
    return int((crc ^ start)[0]) ^ 0xFFFFFFFF


def masked_crc32c(data: bytes | memoryview) -> int:
    """Return the CRC-32C as TensorFlow and LevelDB store it, rotated and shifted by a constant."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _append_zeros(crc):
    """CRCs with four zero bytes appended."""
    found = _TABLES[3][crc & 255]
    for shift in (1, 2, 3):
        found ^= _TABLES[3 - shift][crc >> 8 * shift & 255]
    return found


def _zeros(count):
    """The operator that appends ``count`` zero bytes: what becomes of each of the 32 bits."""
    result = np.uint32(1) << np.arange(32, dtype=np.uint32)
    power = _TABLES[0][result & 255] ^ result >> 8
    while count:
        result = _apply(power, result) if count & 1 else result
        power, count = _apply(power, power), count >> 1
    return result


def _apply(operator, crc):
    """The operator's product with each CRC."""
    found = np.zeros_like(crc)
    for bit, image in enumerate(operator):
        found ^= (crc >> np.uint32(bit) & 1) * image
    return found
