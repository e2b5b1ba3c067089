"""Examples made on the device: the recordings lie there, the host sends what it drew, a pure function mixes.

Mixing on the host costs tens of milliseconds of CPU an example, and an accelerator starves. So examples that
can be placed give, beside random access, ``placed(budget)``, which returns a :class:`Placed`. Recordings
beyond the budget stay on the host, which then sends the windows that it drew from.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsep.augment import in_room, pan_gains, play_back, room_response
from train.data.excerpts import Excerpts
from train.data.generators.synthesis import LONGEST_ROOM, room_figures
from train.data.mixtures import LEVEL_DB, Mixtures, Part


@dataclass(frozen=True)
class Placed:
    """Examples whose sources are computed where the step is.

    Args:
      arrays: what lies on every device.
      draw: number of an example -> small arrays, a function of (seed, number) alone; ``track`` among them.
      render: ``(arrays, drawn) -> (sources, channels, length)`` float32, a pure function of one example.
      count: examples of the run.
    """

    arrays: Any
    draw: Callable[[int], dict[str, np.ndarray]]
    render: Callable[[Any, Any], jax.Array]
    count: int

    @property
    def nbytes(self) -> int:
        """Size of the arrays."""
        return sum(leaf.nbytes for leaf in jax.tree.leaves(self.arrays))

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> dict[str, Any]:
        drawn = self.draw(int(i))
        return {"track": drawn.pop("track"), "drawn": drawn}


def place_excerpts(examples: Excerpts, budget: int) -> Placed | None:
    """Excerpts cut on the device; None where the recordings exceed ``budget`` bytes.

    What is cut on the host is then all that there is to send.
    """
    bank = examples.bank
    if bank.audio.nbytes > budget or len(bank.audio) > np.iinfo(np.int32).max:
        return None
    begins, lengths = bank.starts.astype(np.int32), bank.lengths.astype(np.int32)

    def draw(i):
        track, start = examples.drawn(i)
        start = np.asarray(start) % lengths[track]
        figures = {"begin": begins[track], "length": lengths[track], "start": start.astype(np.int32)}
        return {"track": track, **figures}

    def render(audio, drawn):
        place = (drawn["start"][:, None] + jnp.arange(examples.length)) % drawn["length"][:, None]
        source = jnp.arange(audio.shape[1])[:, None]
        return jnp.swapaxes(audio[drawn["begin"][:, None] + place, source], 1, 2)

    return Placed(np.asarray(bank.audio), draw, render, len(examples))


def place_mixtures(examples: Mixtures, budget: int, pool: int) -> Placed:
    """Mixtures of clips, with all that happens to them, on the device.

    Args:
      examples: the mixtures.
      budget: bytes of audio on a device; of more, the host sends windows.
      pool: generated clips of each source, which are made once and lie on the device, too.
    """
    return _PlacedMixtures(examples, pool).placed(budget)


class _PlacedMixtures:
    """Clips as rows of frames, without the pauses that are left out, and what is drawn of them."""

    def __init__(self, examples: Mixtures, pool: int):
        self.examples, self.pool = examples, pool
        recipe, sources = examples.recipe, examples.sources
        self.slots = [s for s, name in enumerate(sources) for _ in range(recipe.overlay.get(name, 1))]
        fastest = np.floor(64 * 2 ** (recipe.speed_semitones / 12)) / 64
        self.frames = examples.frames(fastest)
        self.generated = [s for s, name in enumerate(sources) if recipe.generated.get(name, 0.0)]
        self.clips = [
            *range(len(examples.bank.names)),
            *(("pool", s, k) for s in self.generated for k in range(pool)),
        ]
        self._source = {name: s for s, name in enumerate(sources)}
        kept = [self._kept(clip) for clip in self.clips]
        self.counts = np.array([len(rows) for rows, _ in kept], np.int32)
        self.begins = np.concatenate([[0], np.cumsum(self.counts)[:-1]]).astype(np.int32)
        self.levels = np.array([level for _, level in kept], np.float32)
        jump = [np.concatenate([[True], np.diff(rows) != 1]) for rows, _ in kept]
        self.jump = np.concatenate(jump) if jump else np.zeros(0, bool)
        self._kept_rows = [rows for rows, _ in kept]
        self.index = {clip: i for i, clip in enumerate(self.clips)}
        self._made = cache(self.rows)

    def _kept(self, clip):
        """The frames of a clip that are left, and its level."""
        if isinstance(clip, tuple):  # generated: as long as an example, of level 1
            return np.arange(-(-self.examples.length // self.examples.size)), 1.0
        known = self.examples.clip(clip, self._source[self.examples.bank.tracks[clip].label])
        return known.frames, known.level

    def rows(self, i):
        """``(frames, channels, size)`` of clip i."""
        clip, examples = self.clips[i], self.examples
        channels, size = examples.bank.audio.shape[2], examples.size
        if isinstance(clip, tuple):
            _, source, number = clip
            audio = np.broadcast_to(examples.generate(number, source), (channels, examples.length))
            audio = np.pad(audio, ((0, 0), (0, -examples.length % size)))
            return np.swapaxes(audio.reshape(channels, -1, size), 0, 1)
        kept = self._kept_rows[i]
        begin, end = int(examples.bank.starts[clip]), (int(kept.max()) + 1) * size
        audio = examples.bank.audio[begin : begin + end, 0]
        return np.swapaxes(audio.reshape(-1, size, channels)[kept], 1, 2)

    def placed(self, budget):
        """The whole, on the device or by windows."""
        examples = self.examples
        channels, size = examples.bank.audio.shape[2], examples.size
        options = dict(frames=self.frames, length=examples.length, size=size)
        options |= dict(rate=examples.bank.sample_rate, slots=tuple(self.slots))
        options |= dict(sources=len(examples.sources), rooms=bool(examples.recipe.reverb))
        if 4 * int(self.counts.sum()) * channels * size > budget:
            return Placed((), partial(self.draw, windows=True), partial(_mix, **options), len(examples))
        audio = np.empty((int(self.counts.sum()), channels, size), np.float32)
        for i, (begin, count) in enumerate(zip(self.begins, self.counts, strict=True)):
            audio[begin : begin + count] = self.rows(i)
        arrays = {"audio": audio, "jump": self.jump}
        return Placed(arrays, self.draw, partial(_mix, **options), len(examples))

    def draw(self, i, windows=False):
        """What mixture i is drawn from, a row for each clip that may sound; of gain 0 where none does."""
        examples = self.examples
        places: defaultdict[int, list[int]] = defaultdict(list)
        for slot, source in enumerate(self.slots):
            places[source].append(slot)
        count, channels = len(self.slots), examples.bank.audio.shape[2]
        drawn: dict[str, Any] = {name: np.zeros(count, np.int32) for name in ("begin", "count", "start")}
        drawn |= {name: np.zeros(count, np.float32) for name in ("gain", "speed", "cutoff", "pan")}
        drawn["gains_db"] = np.zeros((count, 9), np.float32)
        if examples.recipe.reverb:
            kinds = {"tail": np.int32, "amount": np.float32, "noise": np.uint32}
            drawn |= {name: np.zeros((count, channels), kind) for name, kind in kinds.items()}
        drawn["count"][:], drawn["speed"][:] = 1, 1
        track = np.full(count, -1)
        for number, part in enumerate(examples.draw(i)):
            track[number] = part.clip
            self._fill(drawn, places[part.source].pop(0), part)
        if windows:
            drawn |= self._windows(drawn)
        return {"track": track, **drawn}

    def _fill(self, drawn, slot, part: Part):
        generated = part.clip < 0
        clip = self.index["pool", part.source, part.start % self.pool] if generated else part.clip
        drawn["begin"][slot], drawn["count"][slot] = self.begins[clip], self.counts[clip]
        drawn["start"][slot] = 0 if generated else part.start
        drawn["gain"][slot] = 10 ** ((LEVEL_DB + part.gain_db) / 20) / self.levels[clip]
        drawn["speed"][slot], drawn["cutoff"][slot] = part.speed, part.cutoff
        drawn["pan"][slot] = part.pan
        if part.equalizer:
            drawn["gains_db"][slot] = self.examples.equalizer(part.equalizer)
        if part.room:
            for channel in range(drawn["tail"].shape[1]):
                figures = room_figures(self.examples.room(part.room, channel), self.examples.bank.sample_rate)
                for name, value in zip(("tail", "amount", "noise"), figures, strict=True):
                    drawn[name][slot, channel] = value

    def _windows(self, drawn):
        """The frames that the rows of ``drawn`` begin with, and where they jump."""
        shape = (len(self.slots), self.frames, self.examples.bank.audio.shape[2], self.examples.size)
        frames, jump = np.zeros(shape, np.float32), np.zeros(shape[:2], bool)
        for slot in np.flatnonzero(drawn["gain"]):
            begin, count = int(drawn["begin"][slot]), int(drawn["count"][slot])
            place = (int(drawn["start"][slot]) + np.arange(self.frames)) % count
            clip = int(np.searchsorted(self.begins, begin, side="right")) - 1
            frames[slot] = self._read(clip, place)
            jump[slot] = self.jump[begin + place]
        return {"frames": frames, "jump": jump}

    def _read(self, i, place):
        """Frames ``place`` of clip i, read where they lie."""
        if isinstance(self.clips[i], tuple):
            return self._made(i)[place]
        bank, size = self.examples.bank, self.examples.size
        begin = int(bank.starts[self.clips[i]])
        kept = self._kept_rows[i]
        audio = bank.audio[begin : begin + (int(kept.max()) + 1) * size, 0].reshape(
            -1, size, bank.audio.shape[2]
        )
        return np.swapaxes(audio[kept[place]], 1, 2)


def _mix(arrays, drawn, *, frames, length, size, rate, slots, sources, rooms):
    """One mixture's sources ``(sources, channels, length)``, as :meth:`Mixtures.render` makes them."""
    one = partial(_clip, frames=frames, length=length, size=size, rate=rate, rooms=rooms)
    clips = jax.vmap(partial(one, arrays))(drawn)
    return jax.ops.segment_sum(clips, jnp.array(slots), num_segments=sources)


def _clip(arrays, drawn, *, frames, length, size, rate, rooms):
    """One clip ``(channels, length)`` with all that happens to it."""
    count = jnp.arange(frames)
    if "frames" in drawn:
        audio, jump = drawn["frames"], drawn["jump"]
    else:
        rows = drawn["begin"] + (drawn["start"] + count) % drawn["count"]
        audio, jump = arrays["audio"][rows], arrays["jump"][rows]
    samples = jnp.ceil(length * drawn["speed"]).astype(jnp.int32)
    used = -(-samples // size)
    audio = _faded(audio, jump & (count > 0) & (count < used), rate // 500)
    x = jnp.swapaxes(audio, 0, 1).reshape(audio.shape[1], -1)
    x = jnp.where(jnp.arange(x.shape[1]) < samples, x, 0)
    options = dict(speed=drawn["speed"], cutoff=drawn["cutoff"], gains_db=drawn["gains_db"])
    x = play_back(x, length, sample_rate=rate, **options)
    if rooms:
        x = jnp.where(drawn["tail"][:, None] > 0, _in_rooms(x, drawn, rate), x)
    x = x * pan_gains(drawn["pan"])[: len(x), None] if len(x) == 2 else x
    return drawn["gain"] * x


def _faded(audio, seam, fade):
    """``(frames, channels, size)`` faded out before and in behind where they jump."""
    rise = np.linspace(0, 1, fade, dtype=np.float32)
    end = jnp.concatenate([seam[1:], jnp.zeros(1, bool)])
    audio = audio.at[..., :fade].multiply(jnp.where(seam[:, None, None], rise, 1))
    return audio.at[..., audio.shape[-1] - fade :].multiply(jnp.where(end[:, None, None], rise[::-1], 1))


def _in_rooms(x, drawn, rate):
    """Each channel in its room, at the level that it had."""
    taps = round(10**LONGEST_ROOM * rate)

    def one(x, tail, amount, noise):
        y = in_room(x, room_response(x, taps, jnp.maximum(tail, 1), amount, noise))
        return y * jnp.sqrt(jnp.mean(jnp.square(x)) / (jnp.mean(jnp.square(y)) + 1e-12))

    return jax.vmap(one)(x, drawn["tail"], drawn["amount"], drawn["noise"])
