"""Examples overlaid of clips, one class a source: each a function of (seed, number) alone."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from jaxsep.augment import in_room, pan_gains, play_back
from jaxsep.errors import UserError
from train.data.bank import Bank
from train.data.generators.synthesis import draw_room, level
from train.data.silence import frame_length, shorten_pauses, silent_frames, sounding_starts

#: Level of a clip's sound before its gain, dBFS.
LEVEL_DB = -23.0


class Part(NamedTuple):
    """One clip in a mixture."""

    source: int
    """Index of the source that it is a part of."""
    clip: int
    """Index of the clip in the bank; -1 for one that is generated."""
    start: int
    """First frame (of 30 ms) of the clip, its pauses shortened; what a generated clip is drawn from."""
    gain_db: float
    """Level relative to -23 dBFS."""
    cutoff: float = 0.0
    """Hz above which it is low-passed; 0 for nowhere."""
    speed: float = 1.0
    """What its pitch and tempo are multiplied by, in steps of 1/64."""
    equalizer: int = 0
    """What its equalizer is drawn from; 0 for none."""
    room: int = 0
    """What the room that it sounds in is drawn from; 0 for none."""
    pan: float = 0.0
    """Where it is between the channels: -1 left, 1 right."""


class Clip(NamedTuple):
    """What is known of a clip once it has been listened to."""

    frames: np.ndarray
    """Frames that are left once pauses are shortened."""
    silent: np.ndarray
    """Which of those are silence."""
    level: float
    """RMS of the others."""


class Mixtures:
    """Random access: mixture i of the whole run, drawn from (seed, i).

    Recordings are drawn alike however many clips they were cut into.
    """

    def __init__(
        self,
        bank: Bank,
        recipe: Any,
        sources: tuple[str, ...],
        seed: int,
        length: int,
        count: int,
    ):
        self.bank, self.recipe, self.sources = bank, recipe, sources
        self.seed, self.length, self.count = seed, length, count
        self.size = frame_length(bank.sample_rate)
        self.names = [f"mixture{i:04d}" for i in range(count)]
        self.lengths = np.full(count, length)
        if recipe.pan and bank.audio.shape[2] != 2:
            raise UserError(f"data.recipe.pan={recipe.pan}: expected a system of two channels, not of one")
        self._recordings = [[_grouped(bank, s, extra) for extra in (False, True)] for s in sources]
        self.clip = cache(self._listen)
        self._starts = cache(self._sounding)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> dict[str, np.ndarray]:
        parts = self.draw(i)
        slots = sum(self.recipe.overlay.get(source, 1) for source in self.sources)
        track = np.full(slots, -1)
        track[: len(parts)] = [part.clip for part in parts]
        return {"sources": self.render(parts), "track": track}

    def track(self, i: int) -> np.ndarray:
        """Mixture i, ``(sources, channels, samples)``."""
        return self.render(self.draw(i))

    def describe(self, i: int) -> list[dict]:
        """What mixture i is made of: for each clip its source, name, start in seconds, gain in dB,
        cutoff in Hz, speed, what its equalizer and its room are drawn from, and its place."""
        return [
            {
                "source": part.source,
                "clip": self.bank.names[part.clip] if part.clip >= 0 else "generated",
                "start": round(part.start * self.size / self.bank.sample_rate, 3) if part.clip >= 0 else 0.0,
                "gain_db": round(part.gain_db, 2),
                "cutoff": round(part.cutoff, 1),
                "speed": part.speed,
                "equalizer": part.equalizer,
                "room": part.room,
                "pan": round(part.pan, 2),
            }
            for part in self.draw(i)
        ]

    def draw(self, i: int) -> list[Part]:
        """Draw the clips of mixture i."""
        rng = np.random.Generator(np.random.Philox(key=[self.seed, int(i)]))
        present = rng.random(len(self.sources)) >= self.recipe.absent
        present[rng.integers(len(self.sources))] |= not present.any()
        return [
            self._part(rng, s)
            for s, source in enumerate(self.sources)
            if present[s]
            for _ in range(self.recipe.overlay.get(source, 1))
        ]

    def render(self, parts: list[Part]) -> np.ndarray:
        """Return the sources that ``parts`` sum to, ``(sources, channels, length)`` float32."""
        channels = self.bank.audio.shape[2]
        audio = np.zeros((len(self.sources), channels, self.length), np.float32)
        for part in parts:
            gain = np.float32(10 ** ((LEVEL_DB + part.gain_db) / 20))
            if part.clip < 0:
                clip = np.broadcast_to(self.generate(part.start, part.source), (channels, self.length))
            else:
                clip = np.stack([self._excerpt(part, channel) for channel in range(channels)])
            audio[part.source] += gain * self._changed(part, clip)
        return audio

    def _changed(self, part, clip):
        """A clip ``(channels, samples)`` at its speed, low-passed, equalized, in its room and its place."""
        rate = self.bank.sample_rate
        if part.cutoff or part.speed != 1 or part.equalizer:
            options = dict(speed=part.speed, cutoff=part.cutoff, gains_db=self.equalizer(part.equalizer))
            same = (clip == clip[:1]).all()
            played = play_back(clip[:1] if same else clip, self.length, sample_rate=rate, **options)
            clip = np.broadcast_to(played, (len(clip), self.length))
        if part.room:
            clip = np.stack([self._in_room(part.room, k, channel) for k, channel in enumerate(clip)])
        if part.pan:
            clip = clip * np.asarray(pan_gains(part.pan))[:, None]
        return clip

    def _in_room(self, room, channel, clip):
        """One channel in a room, whose tail is another in each, at the level that it had."""
        response = draw_room(self.room(room, channel), self.bank.sample_rate)
        return level(in_room(clip, response)) * np.sqrt(np.mean(np.square(clip)))

    def room(self, room: int, channel: int) -> np.random.Generator:
        """What the room of a channel is drawn from."""
        return np.random.Generator(np.random.Philox(key=[room, 2 + channel]))

    def _part(self, rng, source) -> Part:
        """Draw a clip of a source: a recording first, then one of its clips, then where it starts."""
        recipe, name = self.recipe, self.sources[source]
        gain = float(rng.uniform(-recipe.gain_db, recipe.gain_db))
        cutoff = float(np.exp(rng.uniform(*np.log([2500, 10000])))) if rng.random() < recipe.low_pass else 0.0
        ratio = 2 ** (recipe.speed_semitones / 12)
        speed = int(rng.integers(np.ceil(64 / ratio), np.floor(64 * ratio) + 1)) / 64
        equalizer = int(rng.integers(1, 2**31)) if recipe.equalizer_db else 0
        room = int(rng.integers(1, 2**31)) if recipe.reverb and rng.random() < recipe.reverb else 0
        main, extra = self._recordings[source]
        if rng.random() < recipe.generated.get(name, 0.0):
            number, pan = int(rng.integers(2**62)), self._pan(rng)
            return Part(source, -1, number, gain, cutoff, equalizer=equalizer, room=room, pan=pan)
        from_extra = not main or (extra and rng.random() < recipe.share_of_extra(name))
        recordings = extra if from_extra else main
        clips = recordings[rng.integers(len(recordings))]
        clip = clips[rng.integers(len(clips))]
        starts = self._starts(clip, source, self.frames(speed))
        start = int(starts[rng.integers(len(starts))])
        return Part(source, clip, start, gain, cutoff, speed, equalizer, room, self._pan(rng))

    def _pan(self, rng) -> float:
        return float(rng.uniform(-self.recipe.pan, self.recipe.pan)) if self.recipe.pan else 0.0

    def equalizer(self, number):
        """Gains in dB of octaves from 43 Hz (at 22050 Hz) to the Nyquist frequency."""
        if not number:
            return None
        rng = np.random.Generator(np.random.Philox(key=[number, 1]))
        return rng.uniform(-self.recipe.equalizer_db, self.recipe.equalizer_db, 9)

    def frames(self, speed):
        """Frames of a clip that an excerpt takes."""
        return -(-int(np.ceil(self.length * speed)) // self.size)

    def generate(self, number: int, source: int) -> np.ndarray:
        """Generate a clip, ``(length,)``, of a source, whose sound, pauses aside, has RMS 1."""
        rng = np.random.Generator(np.random.Philox(key=[number, 0]))
        clip = self.recipe.generator(self.sources[source])(rng, self.length, self.bank.sample_rate)
        return clip / np.float32(_level(clip, silent_frames(clip, self.bank.sample_rate), self.size))

    def _excerpt(self, part, channel):
        """Cut from a clip with RMS 1, or looped; where it jumps it is faded over 2 ms."""
        known = self.clip(part.clip, part.source)
        count = np.arange(self.frames(part.speed))
        frames = known.frames[(part.start + count) % len(known.frames)]
        begin = int(self.bank.starts[part.clip])
        audio = self.bank.audio[begin : begin + (int(frames.max()) + 1) * self.size, 0, channel]
        excerpt = audio.reshape(-1, self.size)[frames].reshape(-1)
        fade = np.linspace(0, 1, self.bank.sample_rate // 500, dtype=np.float32)
        for seam in (np.flatnonzero(np.diff(frames) != 1) + 1) * self.size:
            excerpt[seam - len(fade) : seam] *= fade[::-1]
            excerpt[seam : seam + len(fade)] *= fade
        return excerpt[: int(np.ceil(self.length * part.speed))] / np.float32(known.level)

    def _listen(self, clip, source) -> Clip:
        audio = self.bank.track(clip)[0].mean(axis=0)
        silent = silent_frames(audio, self.bank.sample_rate)
        if silent.all():
            return Clip(np.arange(len(silent)), silent, 1.0)
        kept = shorten_pauses(silent, self._max_silence(source))
        return Clip(kept, silent[kept], _level(audio, silent, self.size))

    def _sounding(self, clip, source, frames):
        """Starts of excerpts of so many frames of a clip."""
        return sounding_starts(self.clip(clip, source).silent, frames, self._max_silence(source))

    def _max_silence(self, source):
        free = self.sources[source] in self.recipe.free_silence
        return 1.0 if free else self.recipe.max_silence


def _level(audio, silent, size):
    """RMS of the frames of ``size`` samples that are not silent."""
    frames = audio[: len(silent) * size].reshape(-1, size)
    return float(np.sqrt(np.mean(np.square(frames[~silent], dtype=np.float64)))) if not silent.all() else 1.0


def _grouped(bank, source, extra):
    """Indices of a class's clips, recording by recording."""
    groups: dict[str, list[int]] = {}
    for i, track in enumerate(bank.tracks):
        if track.label == source and track.extra == extra:
            groups.setdefault(track.recording, []).append(i)
    return list(groups.values())
