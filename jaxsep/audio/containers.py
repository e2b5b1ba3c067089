"""What containers state of their length, which decoders believe and should not.

:func:`look` finds, from the bytes of a file alone, which parts of it a decoder must be given, one after
another, to give all samples, and how many samples the container states, if it does.
"""

from __future__ import annotations

import io
import mmap
import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """Bytes of a file that are a stream of their own."""

    start: int
    end: int
    raw: bool = False
    """Whether they are samples without a header, in the format of the file."""


@dataclass(frozen=True)
class Contents:
    """What a file holds."""

    samples: int | None = None
    """Samples of each channel that the container states; None where it does not."""
    cut: bool = False
    """Whether the container shows that its end is missing."""
    parts: tuple[Part, ...] = ()
    """What to decode, where it is not the file as it is."""
    piped: bool = False
    """Whether to decode through a pipe: of a file libsndfile estimates the length from the first bit rate."""


def look(path, format: str, subtype: str, sample_rate: int) -> Contents:
    """What a file holds; ``format`` and ``subtype`` are libsndfile's words for it."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if format in ("WAV", "WAVEX"):
            return _riff(data)
        if format == "MP3":
            return _mpeg(data)
        if format == "OGG":
            return _ogg(data, 48000 if subtype == "OPUS" else sample_rate, sample_rate)
    return Contents()


class View(io.RawIOBase):
    """A part of a file as a file, for decoders."""

    def __init__(self, path, part: Part):
        super().__init__()
        self._file = open(path, "rb")  # noqa: SIM115 (closed with the view)
        self._part, self._at = part, 0

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
        data = self._file.read(count)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self):
        """Close the file."""
        self._file.close()
        super().close()


def _riff(data) -> Contents:
    """Walk the chunks of a RIFF file to its samples.

    Writers that cannot go back (pipes, recorders that crashed) leave 0 or a number near 2 or 4 GiB as
    the length of the samples: then they reach to the end of the file.
    """
    if data[:4] != b"RIFF":
        return Contents()
    align, at = 0, 12
    while len(head := data[at : at + 8]) == 8:
        name, length, at = head[:4], int.from_bytes(head[4:], "little"), at + 8
        if name == b"data":
            there = len(data) - at
            if not align or length == 0 and (there < align or _are_chunks(data, at)):
                return Contents()
            placeholder = 0x7FFF0000 <= length <= 0x80000000 or length >= 0xFFFF0000
            if length == 0 or placeholder and length != there:
                return Contents(parts=(Part(at, at + there // align * align, raw=True),))
            return Contents(length // align)
        if name == b"fmt " and int.from_bytes(data[at : at + 2], "little") in (1, 3, 6, 7, 0xFFFE):
            align = int.from_bytes(data[at + 12 : at + 14], "little")
        at += length + length % 2
    return Contents()


def _are_chunks(data, at: int) -> bool:
    """Whether chunks of a RIFF file, and nothing else, follow from here to the end."""
    while at < len(data):
        if not data[at : at + 4].isalnum() and data[at : at + 4] not in (b"fmt ", b"id3 "):
            return False
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + length + length % 2
    return at in (len(data), len(data) + 1)


#: kbit/s by (MPEG 1, layer), sample rates of MPEG 1, and samples of a frame by (MPEG 1, layer).
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


def _mpeg_frame(head: bytes) -> tuple[int, int]:
    """Bytes and samples of the MPEG audio frame that begins so; 0 when none does."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return 0, 0
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    rate, bitrate = head[2] >> 2 & 3, head[2] >> 4
    if version == 1 or layer == 4 or rate == 3 or bitrate in (0, 15):
        return 0, 0
    kind, padding = (version == 3, layer), head[2] >> 1 & 1
    hertz = _RATES[rate] // {3: 1, 2: 2, 0: 4}[version]
    if layer == 1:
        return (12 * _BITRATES[kind][bitrate] * 1000 // hertz + padding) * 4, _SAMPLES[kind]
    return _SAMPLES[kind] // 8 * _BITRATES[kind][bitrate] * 1000 // hertz + padding, _SAMPLES[kind]


def _mpeg(data) -> Contents:
    """MPEG audio frames from end to end.

    Decoders believe a Xing, Info or VBRI header in the first frame, estimate from the first bit rate where
    there is none, and count all frames only of what they cannot seek in; there, they fail at other bytes.
    """
    start = 0
    while (head := data[start : start + 10])[:3] == b"ID3":
        start += 10 + sum((byte & 127) << 7 * (3 - i) for i, byte in enumerate(head[6:10]))
    first = _next_frame(data, start)
    if first is None:
        return Contents()
    length, _ = _mpeg_frame(data[first : first + 4])
    frame = data[first : first + length]
    tag = next((at for at in (36, 21, 13) if frame[at : at + 4] in (b"Xing", b"Info")), None)
    if tag is not None:
        flags = int.from_bytes(frame[tag + 4 : tag + 8], "big")
        at = tag + 8 + 4 * (flags & 1)
        stated = int.from_bytes(frame[at : at + 4], "big") if flags & 2 else None
    elif frame[36:40] == b"VBRI":
        stated = int.from_bytes(frame[46:50], "big")
    else:
        return _all_frames(data, first)
    if stated is None or _next_frame(data, first + stated, 1 << 13) is None:
        return Contents()
    return _all_frames(data, first + length)


def _all_frames(data, first: int) -> Contents:
    """The whole frames from ``first`` on, up to what is no frame and none follows."""
    at, samples = first, 0
    while True:
        length, count = _mpeg_frame(data[at : at + 4])
        if length and at + length <= len(data):
            at, samples = at + length, samples + count
        elif length or _next_frame(data, at) is None:
            return Contents(samples, cut=length > 0, parts=(Part(first, at),), piped=True)
        else:  # foreign bytes between frames, which the decoder says
            return Contents(parts=(Part(first, len(data)),), piped=True)


def _next_frame(data, start: int, window: int = 1 << 16) -> int | None:
    """Where in a window the next MPEG audio frame begins that two more follow."""
    for at in range(start, min(start + window, len(data) - 4)):
        place, count = at, 0
        while data[place] == 0xFF and count < 3 and (length := _mpeg_frame(data[place : place + 4])[0]):
            place, count = place + length, count + 1
            if place >= len(data):
                break
        if count == 3 or count and place == len(data):
            return at
    return None


def _ogg(data, clock: int, sample_rate: int) -> Contents:
    """Pages of one logical stream, or of chained ones.

    A page's granule position counts samples up to its end, from wherever the stream was cut out.
    """
    links: list[int] = []
    first = last = None
    ended, cut, at, end = False, False, 0, 0
    while (at := data.find(b"OggS", at)) >= 0 and len(head := data[at : at + 27]) == 27:
        if head[5] & 2 and (first is not None or not links):
            cut |= bool(links) and not ended
            links.append(at)
            first = last = None
        granule = int.from_bytes(head[6:14], "little", signed=True)
        if granule > 0:
            first, last = granule if first is None else first, granule
        ended = bool(head[5] & 4)
        end = at + 27 + head[26] + sum(data[at + 27 : at + 27 + head[26]])
        if end < len(data) and data[end : end + 4] != b"OggS" and data.find(b"OggS", at + 27) >= 0:
            cut, end = True, at + 27  # the page is not all there, and another follows
        at = end
    cut |= not ended or end > len(data)
    if len(links) > 1:
        return Contents(cut=cut, parts=tuple(map(Part, links, (*links[1:], len(data)))))
    if cut or first is None or last is None:
        return Contents(cut=cut)
    # What the first page holds is not known, nor that Opus leaves out its first 20 ms at most.
    return Contents(max(0, (last - first) * sample_rate // clock - sample_rate // 50))
