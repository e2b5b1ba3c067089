"""Silence in clips: found frame by frame, so that examples are made of sound."""

from __future__ import annotations

import numpy as np

#: Seconds of a frame that is either sound or silence.
FRAME_SECONDS = 0.03
#: A frame this many dB under the 95th percentile of its clip's frames is silence.
SILENCE_DB = 35.0


def frame_length(sample_rate: int) -> int:
    """Samples of a frame.

    Example:
      >>> frame_length(22050)
      662
    """
    return round(FRAME_SECONDS * sample_rate)


def silent_frames(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """Say which frames of a clip are silence: 35 dB under the 95th percentile of their levels.

    Args:
      audio: ``(samples,)`` floats; a last frame that is not whole is left out.
      sample_rate: Hz.

    Returns:
      ``(frames,)`` bool; all true for digital silence.

    Example:
      >>> clip = np.concatenate([np.ones(300), np.zeros(300)])
      >>> silent_frames(clip, 1000).mean()
      np.float64(0.5)
    """
    size = frame_length(sample_rate)
    frames = audio[: len(audio) // size * size].reshape(-1, size)
    level = 10 * np.log10(np.mean(np.square(frames, dtype=np.float64), axis=1) + 1e-20)
    if not len(level) or level.max() <= -190:
        return np.ones(len(level), bool)
    return level < np.percentile(level, 95) - SILENCE_DB


def shorten_pauses(silent: np.ndarray, max_silence: float) -> np.ndarray:
    """Choose frames so that at most a share of them is silence: all sound, and the nearest silence.

    Args:
      silent: ``(frames,)`` bool, not all true.
      max_silence: largest share of silence, 0 to 1.

    Returns:
      Indices of the frames to keep, rising; all where there is little silence anyway.

    Example:
      >>> shorten_pauses(np.array([False, True, True, True, False]), 1 / 3)
      array([0, 1, 4])
    """
    sound, pause = np.flatnonzero(~silent), np.flatnonzero(silent)
    if len(pause) <= max_silence * len(silent):
        return np.arange(len(silent))
    room = int(max_silence / (1 - max_silence) * len(sound) + 1e-9)
    after = np.searchsorted(sound, pause)
    distance = np.minimum(
        np.abs(pause - sound[np.maximum(after - 1, 0)]),
        np.abs(pause - sound[np.minimum(after, len(sound) - 1)]),
    )
    nearest = pause[np.argsort(distance, kind="stable")[:room]]
    return np.sort(np.concatenate([sound, nearest]))


def sounding_starts(silent: np.ndarray, frames: int, max_silence: float) -> np.ndarray:
    """Return the frames from which an excerpt holds no more than a share of silence.

    Excerpts wrap round the end of the clip; those that need not are preferred.

    Args:
      silent: ``(n,)`` bool, of which at most ``max_silence`` is true.
      frames: length of the excerpt.
      max_silence: largest share of silence, 0 to 1.

    Returns:
      Starts, rising; never empty, as the mean over all starts is the share in the clip.

    Example:
      >>> sounding_starts(np.array([True, False, False, False]), 2, 0.3)
      array([1, 2])
    """
    count = len(silent)
    rounds = -(-(count + frames) // count)
    total = np.concatenate([[0], np.cumsum(np.tile(silent, rounds))])
    share = (total[frames : frames + count] - total[:count]) / frames
    good = np.flatnonzero(share <= max_silence + 1e-9)
    if not len(good):
        good = np.flatnonzero(share == share.min())
    whole = good[good <= count - frames]
    return whole if len(whole) else good
