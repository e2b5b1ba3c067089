"""What containers state of their length, which decoders believe and should not.

:func:`look` finds, from the bytes of a file alone, which parts of it a decoder must be given, one after
another, to give all samples, and how many samples the container states, if it does.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass, field
from typing import BinaryIO


@dataclass(frozen=True)
class Part:
    """Bytes of a file that are a stream of their own."""

    start: int
    end: int
    patch: tuple[int, bytes] = (0, b"")
    """Bytes to put in place of those at an offset from ``start``."""


@dataclass(frozen=True)
class Contents:
    """What a file holds."""

    samples: int | None = None
    """Samples of each channel that the container states; None where it does not."""
    cut: bool = False
    """Whether the container shows that its end is missing."""
    parts: tuple[Part, ...] = field(default=())
    """What to decode, where it is not the file as it is."""
    piped: bool = False
    """Whether decoders count right only what they cannot seek in."""


def look(path, format: str, subtype: str, sample_rate: int) -> Contents:
    """What a file holds; ``format`` and ``subtype`` are libsndfile's words for it."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        if format in ("WAV", "WAVEX"):
            return _riff(file, size)
        if format == "MP3":
            return _mpeg(file, size)
        if format == "OGG":
            return _ogg(file, size, 48000 if subtype == "OPUS" else sample_rate, sample_rate)
    return Contents()


class View(io.RawIOBase):
    """A part of a file as a file, for decoders."""

    def __init__(self, path, part: Part):
        super().__init__()
        self._file = open(path, "rb")  # noqa: SIM115 (closed with the view)
        self._part, self._at = part, 0

    def readable(self):
        """True."""
        return True

    def seekable(self):
        """True."""
        return True

    def seek(self, offset, whence=os.SEEK_SET):
        """Move; offsets count from the part's start."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._part.end - self._part.start}
        self._at = max(0, base[whence] + offset)
        return self._at

    def tell(self):
        """Where the next byte comes from."""
        return self._at

    def readinto(self, buffer):
        """Read into a buffer; return how many bytes came."""
        count = min(len(buffer), self._part.end - self._part.start - self._at)
        if count <= 0:
            return 0
        self._file.seek(self._part.start + self._at)
        data = bytearray(self._file.read(count))
        at, new = self._part.patch
        for i, byte in enumerate(new, at - self._at):
            if 0 <= i < len(data):
                data[i] = byte
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self):
        """Close the file."""
        self._file.close()
        super().close()


def _riff(file: BinaryIO, size: int) -> Contents:
    """Walk the chunks of a RIFF file to its data.

    Writers that cannot go back (pipes, recorders that crashed) leave 0 or a number near 2 or 4 GiB as
    the length of the data: then it reaches to the end of the file.
    """
    if file.read(12)[:4] != b"RIFF":
        return Contents()
    align = 0
    while len(head := file.read(8)) == 8:
        name, length, start = head[:4], int.from_bytes(head[4:], "little"), file.tell()
        if name == b"data":
            there = size - start
            if length == 0 and align and there >= align:
                patch = (start - 4, (min(there, 0xFFFFFFFE) // align * align).to_bytes(4, "little"))
                return Contents(parts=(Part(0, size, patch),))
            placeholder = 0x7FFF0000 <= length <= 0x80000000 or length >= 0xFFFF0000
            known = align and length and not (placeholder and length > there)
            return Contents(length // align if known else None)
        body = file.read(min(length, 16)) if name == b"fmt " else b""
        if name == b"fmt " and int.from_bytes(body[:2], "little") in (1, 3, 0xFFFE):
            align = int.from_bytes(body[12:14], "little")
        file.seek(start + length + length % 2)
    return Contents()


#: kbit/s by (MPEG 1, layer), sample rates of MPEG 1, and samples of a frame of layers II and III.
_BITRATES = {
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = (44100, 48000, 32000)
_SAMPLES = {
    (True, 1): 384,
    (True, 2): 1152,
    (True, 3): 1152,
    (False, 1): 384,
    (False, 2): 1152,
    (False, 3): 576,
}


def _mpeg_frame(head: bytes) -> int:
    """Bytes of the MPEG audio frame that begins so; 0 when none does."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return 0
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    rate, bitrate = head[2] >> 2 & 3, head[2] >> 4
    if version == 1 or layer == 4 or rate == 3 or bitrate in (0, 15):
        return 0
    kind, padding = (version == 3, layer), head[2] >> 1 & 1
    hertz = _RATES[rate] // {3: 1, 2: 2, 0: 4}[version]
    if layer == 1:
        return (12 * _BITRATES[kind][bitrate] * 1000 // hertz + padding) * 4
    return _SAMPLES[kind] // 8 * _BITRATES[kind][bitrate] * 1000 // hertz + padding


def _mpeg(file: BinaryIO, size: int) -> Contents:
    """MPEG audio frames from end to end.

    Decoders trust the first frame where it is a table of contents (Xing, Info, VBRI), estimate from the first
    bit rate where it is not, and count all frames only of what they cannot seek in.
    """
    start = 0
    while (head := _at(file, start, 10))[:3] == b"ID3":
        start += 10 + sum((byte & 127) << 7 * (3 - i) for i, byte in enumerate(head[6:10]))
    window = _at(file, start, 1 << 16)
    for offset in range(len(window) - 4):
        length = _mpeg_frame(window[offset : offset + 4])
        if length and _mpeg_frame(_at(file, start + offset + length, 4)):
            first = start + offset
            break
    else:
        return Contents()
    frame = _at(file, first, length)
    tag = next((at for at in (36, 21, 13) if frame[at : at + 4] in (b"Xing", b"Info")), None)
    if tag is not None:
        flags = int.from_bytes(frame[tag + 4 : tag + 8], "big")
        at = tag + 8 + 4 * (flags & 1)
        stated = int.from_bytes(frame[at : at + 4], "big") if flags & 2 else None
    elif frame[36:40] == b"VBRI":
        stated = int.from_bytes(frame[46:50], "big")
    else:
        return Contents(parts=(Part(first, size),), piped=True)
    if stated is None or not _mpeg_goes_on(file, first + stated):
        return Contents()
    return Contents(parts=(Part(first + length, size),), piped=True)


def _mpeg_goes_on(file: BinaryIO, end: int) -> bool:
    """Whether frames follow behind the end that the table of contents states, a frame aside."""
    window = _at(file, end, 1 << 13)
    for offset in range(len(window) - 4):
        at, count = offset, 0
        while count < 3 and (length := _mpeg_frame(_at(file, end + at, 4))):
            at, count = at + length, count + 1
        if count == 3:
            return True
    return False


def _ogg(file: BinaryIO, size: int, clock: int, sample_rate: int) -> Contents:
    """Pages of one logical stream after another; a page's granule position counts samples up to its end,
    from wherever the stream was cut out."""
    links: list[int] = []
    first = last = None
    ended, at = False, 0
    while at < size:
        head = _at(file, at, 27)
        if head[:4] != b"OggS" or len(head) < 27:
            found = _at(file, at + 1, 1 << 16).find(b"OggS")
            at += 1 + (found if found >= 0 else (1 << 16) - 4)
            continue
        if head[5] & 2 and (first is not None or not links):
            links.append(at)
            first = last = None
        granule = int.from_bytes(head[6:14], "little", signed=True)
        if granule > 0:
            first, last = granule if first is None else first, granule
        ended = bool(head[5] & 4)
        at += 27 + head[26] + sum(_at(file, at + 27, head[26]))
    cut = not ended or at > size
    if len(links) > 1:
        return Contents(cut=cut, parts=tuple(map(Part, links, (*links[1:], size))))
    if cut or first is None or last is None:
        return Contents(cut=cut)
    # What the first page holds is not known, nor that Opus leaves out its first 20 ms at most.
    return Contents(max(0, (last - first) * sample_rate // clock - sample_rate // 50))


def _at(file: BinaryIO, offset: int, count: int) -> bytes:
    file.seek(offset)
    return file.read(count)
