"""Recordings decoded once into one memory-mapped file, so that more data than memory works."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxsep._interrupts import SignalsLater
from jaxsep.audio import read_audio
from jaxsep.errors import UserError
from jaxsep.files import write_atomically


class Signal(NamedTuple):
    """What a source is read from."""

    file: str
    channel: int | None = None
    """All of the file's channels, or their mean where one channel is wanted, when None."""
    stream: int | None = None
    """Number of the stream, in a file that holds several; ffmpeg decodes it."""


@dataclass(frozen=True)
class Track:
    """One recording before decoding: for each source the signals that sum to it."""

    name: str
    sources: tuple[tuple[Signal, ...], ...]
    label: str = ""
    """Its class, where each recording holds one source."""
    recording: str = ""
    """What it was cut from: its own name unless said otherwise."""
    extra: bool = False
    """From a folder of more clips for training."""

    @property
    def origin(self) -> str:
        """The recording that it was cut from, or is."""
        return self.recording or self.name


@dataclass(frozen=True)
class Bank:
    """Decoded recordings.

    ``audio`` is a memory map ``(samples of all recordings, sources, channels)`` float32; recording i is
    ``audio[starts[i] : starts[i] + lengths[i]]``.
    """

    names: list[str]
    starts: np.ndarray
    lengths: np.ndarray
    audio: np.ndarray
    sample_rate: int
    skipped: list[str]
    """One line for each recording that could not be used."""
    tracks: list[Track]
    """What each recording was decoded from."""
    content: str
    """SHA-256 of the files that they were decoded from."""

    def track(self, i: int) -> np.ndarray:
        """Recording i, ``(sources, channels, samples)``."""
        return np.moveaxis(self.audio[self.starts[i] : self.starts[i] + self.lengths[i]], 0, -1)

    def digest(self) -> str:
        """Return a short text that differs when the recordings' names, lengths or files do."""
        known = [self.names, self.lengths.tolist(), self.sample_rate, self.content]
        if any(track.label for track in self.tracks):
            known.append([[t.label, t.recording] for t in self.tracks])
        text = json.dumps(known)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def read(self, i: int, source: int, start: int, count: int) -> np.ndarray:
        """``(channels, count)`` of one source of recording i from ``start``, wrapping round its end."""
        begin, length = int(self.starts[i]), int(self.lengths[i])
        pieces, start = [], start % length
        while count > 0:
            piece = self.audio[begin + start : begin + min(start + count, length), source]
            pieces.append(piece)
            count, start = count - len(piece), 0
        return np.concatenate(pieces).T


def build_bank(
    tracks: list[Track], sample_rate: int, cache, min_seconds: float = 0.5, channels: int = 1
) -> Bank:
    """Decode ``tracks`` at ``sample_rate``, in one or two channels, into ``cache``, or find them there.

    Recordings that are unreadable, silent, not finite or shorter than ``min_seconds`` are skipped
    and listed. The name of the cached file follows from the recordings' names, sizes and times of
    change, so another set never meets an old file.
    """
    folder = Path(cache).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    stem = folder / _fingerprint(tracks, sample_rate, channels)
    audio_path, index_path = stem.with_suffix(".f32"), stem.with_suffix(".json")
    index = _index(audio_path, index_path)
    if index is None:
        _decode(tracks, sample_rate, channels, min_seconds, audio_path, index_path)
        index = json.loads(index_path.read_text())
    if not index["names"]:
        reasons = "\n  ".join(index["skipped"][:5])
        raise UserError(f"none of the {len(tracks)} recordings can be used:\n  {reasons}")
    lengths = np.array(index["lengths"])
    shape = (int(lengths.sum()), len(tracks[0].sources), channels)
    return Bank(
        names=index["names"],
        starts=np.concatenate([[0], np.cumsum(lengths)[:-1]]),
        lengths=lengths,
        audio=np.memmap(audio_path, np.float32, "r", shape=shape),
        sample_rate=sample_rate,
        skipped=index["skipped"],
        tracks=[tracks[i] for i in index["used"]],
        content=index["content"],
    )


def _index(audio_path, index_path):
    """What the index of a decoded set says, None where there is none or the audio is not all there."""
    try:
        index = json.loads(index_path.read_text())
        whole = audio_path.stat().st_size == index["bytes"] and len(index["used"]) == len(index["names"])
        return index if whole else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _decode(tracks, sample_rate, channels, min_seconds, audio_path, index_path):
    index: dict[str, Any] = {"names": [], "used": [], "lengths": [], "skipped": []}
    content = hashlib.sha256()
    handle, part = tempfile.mkstemp(dir=audio_path.parent, prefix=f"{audio_path.stem}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            for i, track in enumerate(tracks):
                try:
                    with SignalsLater(signal.SIGINT, signal.SIGTERM):
                        audio = _read_track(track, sample_rate, channels, min_seconds)
                except (UserError, ValueError) as error:
                    index["skipped"].append(f"{track.name}: {error}")
                    continue
                file.write(np.ascontiguousarray(np.moveaxis(audio, -1, 0)).tobytes())
                index["names"].append(track.name)
                index["used"].append(i)
                index["lengths"].append(audio.shape[-1])
                for path in sorted({signal.file for signals in track.sources for signal in signals}):
                    content.update(Path(path).read_bytes())
            index |= {"content": content.hexdigest(), "bytes": file.tell()}
        os.replace(part, audio_path)
    finally:
        Path(part).unlink(missing_ok=True)
    write_atomically(index_path, json.dumps(index).encode())


def _read_track(track, sample_rate, channels, min_seconds):
    """Return ``(sources, channels, samples)`` float32, or raise with the reason."""
    signals = {signal for part in track.sources for signal in part}
    streams = {(signal.file, signal.stream) for signal in signals}
    files = {(file, stream): _read(file, stream, sample_rate) for file, stream in sorted(streams, key=str)}
    samples = {audio.shape[-1] for audio in files.values()}
    if max(samples) - min(samples) > sample_rate // 10:
        raise UserError(f"its files have different lengths ({sorted(samples)} samples)")
    length = min(samples)

    def channels_of(signal):
        return _channels(signal, files[signal.file, signal.stream][:, :length], channels)

    audio = np.stack([sum(channels_of(signal) for signal in part) for part in track.sources])
    if length < min_seconds * sample_rate:
        raise UserError(f"{length / sample_rate:.2f} s is shorter than {min_seconds} s")
    if not np.any(audio):
        raise UserError("it is silent")
    return audio.astype(np.float32)


def _read(file, stream, sample_rate):
    """Decode a file, or one of its streams."""
    return read_audio(file, sample_rate, stream=stream)


def _channels(signal, audio, channels):
    """The channel that a signal names, or all, as ``(channels, samples)``."""
    path, channel = signal.file, signal.channel
    if channel is None and channels == 1:
        return audio.mean(axis=0, keepdims=True)
    if channel is None:
        if audio.shape[0] > channels:
            raise UserError(f"{path}: has {audio.shape[0]} channels, at most {channels} are wanted")
        return np.broadcast_to(audio, (channels, audio.shape[1]))
    if channel >= audio.shape[0]:
        raise UserError(f"{path}: has {audio.shape[0]} channels, channel {channel + 1} is wanted")
    return np.broadcast_to(audio[channel], (channels, audio.shape[1]))


def _fingerprint(tracks, sample_rate, channels):
    digest = hashlib.sha256(f"{channels} {sample_rate}".encode())
    for track in tracks:
        digest.update(os.fsencode(f"\n{track.name}"))
        for part in track.sources:
            for path, channel, stream in part:
                which = f"{channel}" if stream is None else f"{channel} {stream}"
                digest.update(os.fsencode(f"|{path} {which} {_stamp(path)}"))
    return digest.hexdigest()[:24]


def _stamp(path):
    """Size and time of change of a file that may not be there."""
    try:
        stat = os.stat(path)
    except OSError:
        return "not there"
    return f"{stat.st_size} {stat.st_mtime_ns}"
