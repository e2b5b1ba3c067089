"""Formats of audio files: those that are read, those that are written, and what each can hold."""

from __future__ import annotations

import os

from jaxsep.errors import UserError

#: Containers that ffmpeg decodes.
FFMPEG_SUFFIXES = (".m4a", ".mp4", ".m4v", ".mov", ".aac", ".webm", ".mkv", ".mka", ".wma")
AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif", ".opus", *FFMPEG_SUFFIXES)
#: Formats that can be written -> (libsndfile format, subtype, sample rates, most channels).
FORMATS = {
    "wav": ("WAV", "FLOAT", None, 1024),
    "flac": ("FLAC", "PCM_24", range(1, 655351), 8),
    "ogg": ("OGG", "VORBIS", range(8000, 192001), 8),
    "mp3": ("MP3", "MPEG_LAYER_III", (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000), 2),
}
OUTPUT_FORMATS = tuple(FORMATS)
#: Sample rates in Hz and channels that are read: what a header states is resampled, whatever it costs.
MIN_RATE, MAX_RATE, MAX_CHANNELS = 1000, 768_000, 64
BLOCK = 1 << 17


#: Subtypes that a format may have besides its own.
_SUBTYPES = {"wav": ("PCM_16", "PCM_24", "FLOAT"), "flac": ("PCM_16", "PCM_24")}


def mp3_bitrates(sample_rate: int) -> tuple[int, int]:
    """The least and the most kbit/s of an MP3 file at a sample rate.

    Example:
      >>> mp3_bitrates(44100), mp3_bitrates(22050), mp3_bitrates(8000)
      ((32, 320), (8, 160), (8, 64))
    """
    return (32, 320) if sample_rate >= 32000 else (8, 160) if sample_rate >= 16000 else (8, 64)


def check_format(
    format: str, sample_rate: int | None, channels: int, subtype: str = "", bitrate: int = 0
) -> None:
    """Refuse what an output format cannot hold, at a sample rate where that is known."""
    if format not in FORMATS:
        raise UserError(f"format={format!r}: expected one of {', '.join(FORMATS)}", "format")
    _, _, rates, most = FORMATS[format]
    if subtype and subtype not in _SUBTYPES.get(format, ()):
        taken = ", ".join(_SUBTYPES.get(format, ())) or "none"
        raise UserError(f"subtype={subtype!r}: {format} takes {taken}", "subtype")
    if bitrate and format != "mp3":
        raise UserError(f"bitrate={bitrate}: is of mp3, not of {format}", "bitrate")
    if channels > most:
        raise UserError(f"format={format!r}: cannot hold {channels} channels; use 'wav'", "format")
    if sample_rate is None:
        return
    if rates is not None and sample_rate not in rates:
        raise UserError(f"format={format!r}: cannot hold {sample_rate} Hz; use 'wav'", "format")
    slowest, fastest = mp3_bitrates(sample_rate)
    if bitrate and not slowest <= bitrate <= fastest:
        span = f"{slowest} to {fastest} kbit/s"
        raise UserError(f"bitrate={bitrate}: mp3 at {sample_rate} Hz takes {span}", "bitrate")


def show(path) -> str:
    """Return a path for a message: one line without control characters, whatever bytes are in it.

    Example:
      >>> show("a" + chr(27) + "[2J.wav")
      'a\\\\x1b[2J.wav'
    """
    text = os.fspath(path).encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def file_name(path):
    """A path as libsndfile takes it: as bytes where names need not be UTF-8."""
    return os.fsencode(path) if os.name == "posix" else os.fspath(path)
