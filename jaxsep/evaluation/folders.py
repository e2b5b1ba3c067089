"""Folders of ``TRACK/STEM.*`` files, matched by name and scored in parallel."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from jaxsep.audio import AudioReader, audio_files, show
from jaxsep.errors import UserError
from jaxsep.evaluation.estimators import Estimator
from jaxsep.evaluation.track import (
    FIGURES,
    FRAME_FIGURES,
    INAUDIBLE_DB,
    Frames,
    Judge,
    score_track,
    summarize,
)
from jaxsep.evaluation.voiced import VOICED_FIGURES, voiced_samples


@dataclass
class Evaluation:
    """Scores of tracks."""

    figures: tuple[str, ...] = FIGURES
    """Names of what was measured."""
    tracks: dict[str, dict[str, dict]] = field(default_factory=dict)
    """``{track: {stem: row}}``; a row holds the figures in dB, ``silent`` and ``seconds``."""
    problems: list[UserError] = field(default_factory=list)
    """Each thing that is missing or wrong."""
    inputs: dict[str, str] = field(default_factory=dict)
    """Track -> a digest of what its scores follow from."""

    def summary(self) -> dict[str, dict]:
        """One figure of all tracks, for each stem: see :func:`jaxsep.evaluation.summarize`."""
        return summarize(self.tracks, self.figures)


def evaluate_folders(
    references,
    estimates: str | Path | Estimator,
    *,
    name: str = "",
    version: str = "",
    jobs: int = 1,
    window: float | None = None,
    hop: float | None = None,
    judge: Judge = "jaxsep",
    voiced: str = "",
    sanitize: bool = False,
    known: Evaluation | None = None,
    progress: Callable[[Evaluation], None] = lambda _: None,
) -> Evaluation:
    """Score every track of ``references``.

    Args:
      references: a folder of ``TRACK/STEM.*`` files, whose sum is the track's mixture; a file named
        ``mixture`` beside others is none of them.
      estimates: such a folder, or a function from references to estimates.
      name, version: of that function; what another version made is not taken from ``known``.
      jobs: tracks scored at once.
      window, hop: seconds of the frames to score one by one and between their starts; None for the
        whole.
      judge: whose BSS Eval scores whole tracks; see :func:`score_track`.
      voiced: a stem: samples where its reference has a pitch are also scored apart from the others; see
        :func:`jaxsep.evaluation.voiced.voiced_samples`.
      sanitize: replace NaN and infinite samples by zero, instead of leaving their track out.
      known: scores from before: tracks whose files have not changed since are taken from there.
      progress: called with what there is after each track.

    Raises:
      UserError: a folder is missing, or nothing can be scored.
    """
    figures = FIGURES if window is None else FRAME_FIGURES
    result = Evaluation(figures + VOICED_FIGURES if voiced else figures)
    wanted = find_references(references, result.problems.append)
    found = {} if callable(estimates) else find_tracks(estimates, result.problems.append)
    missing = [] if callable(estimates) else [t for t in wanted if t not in found]
    wanted = {t: stems for t, stems in wanted.items() if t not in missing}

    def score(track):
        files = [*wanted[track].values(), *found.get(track, {}).values()]
        try:
            digest = _digest(files, name + version, window, hop, INAUDIBLE_DB, judge, voiced, sanitize)
        except OSError as error:
            return "", {}, [UserError(f"{show(error.filename)}: cannot be read ({error.strerror})")]
        if known and known.inputs.get(track) == digest:
            return digest, known.tracks.get(track, {}), []
        given = estimates if callable(estimates) else found[track]
        return digest, *_score_files(track, wanted[track], given, window, hop, judge, voiced, sanitize)

    with ThreadPoolExecutor(max(1, jobs)) as pool:
        running = {pool.submit(score, track): track for track in wanted}
        for future in as_completed(running):
            digest, rows, lines = future.result()
            result.problems += lines
            if rows:
                result.tracks[running[future]] = rows
                if not lines:  # what went wrong is said again
                    result.inputs[running[future]] = digest
            progress(result)
    result.problems += [UserError(f"{show(estimates)}: lacks the track {show(t)}") for t in missing]
    result.tracks = {track: result.tracks[track] for track in wanted if track in result.tracks}
    if not result.tracks:
        what = name or show(estimates)
        raise UserError(
            f"{show(references)} and {what}: no track and stem of the same name can be scored "
            f"({'; '.join(map(str, result.problems[:5])) or 'no audio'}); expected TRACK/STEM.wav"
        )
    return result


def find_references(folder, refused=None) -> dict[str, dict[str, Path]]:
    """:func:`find_tracks`, without the file of a track that is named ``mixture`` and stands beside its
    sources, as in MUSDB18: it is their sum, not one of them."""
    tracks = find_tracks(folder, refused)
    return {
        track: {stem: path for stem, path in stems.items() if stem != "mixture" or len(stems) == 1}
        for track, stems in tracks.items()
    }


def find_tracks(folder, refused=None) -> dict[str, dict[str, Path]]:
    """``{track: {stem: file}}`` of a folder; ``refused`` as in :func:`jaxsep.audio.audio_files`.

    A track with two files of one stem, as of two formats, is given to ``refused``, too, and left out.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{show(folder)}: there is no such folder")
    tracks: dict[str, dict[str, Path]] = {}
    twice: dict[str, UserError] = {}
    for path in audio_files(folder, 1, refused):
        if len(path.relative_to(folder).parts) == 2:
            first = tracks.setdefault(path.parent.name, {}).setdefault(path.stem, path)
            if first != path:
                text = f"{show(first)} and {show(path.name)}: two files of one stem; leave the one to score"
                twice[path.parent.name] = UserError(text)
    for track, problem in twice.items():
        del tracks[track]
        if refused:
            refused(problem)
    if not tracks and not twice:
        raise UserError(f"{show(folder)}: holds no TRACK/STEM audio files")
    return tracks


def read_track(stems: dict[str, Path], sanitize: bool = False) -> tuple[int, dict[str, np.ndarray]]:
    """Read the files of a track: Hz, and ``{stem: (channels, samples)}`` float32, all of one shape."""
    rates, audio = set(), {}
    for stem, path in stems.items():
        reader = AudioReader(path, sanitize=sanitize)
        rates.add(reader.sample_rate)
        audio[stem] = reader.read()
    if len(rates) > 1 or len({a.shape for a in audio.values()}) > 1:
        paths = list(stems.values())
        names = ", ".join(p.name for p in paths)
        raise UserError(f"{show(paths[0].parent)}: {names} differ in rate, channels or length")
    return rates.pop(), audio


def _score_files(track, files, given, window, hop, judge, voiced, sanitize):
    """Scores of one track, and each thing that is wrong with it."""
    try:
        rate, references = read_track(files, sanitize)
        if callable(given):
            estimate_rate, estimates = rate, given(references, rate)
        else:
            there = {s: given[s] for s in files if s in given} or given
            estimate_rate, estimates = read_track(there, sanitize)
        where = _voiced(references, voiced, rate) if voiced else None
    except (UserError, ValueError, OSError) as error:
        return {}, [UserError(f"{show(track)}: {error}", getattr(error, "option", ""))]
    stems = [s for s in references if s in estimates]
    lines = [UserError(f"{show(track)}: no estimate of {show(s)}") for s in references if s not in estimates]
    if not stems:
        return {}, lines
    shape, estimate_shape = (next(iter(x.values())).shape for x in (references, estimates))
    if (rate, shape) != (estimate_rate, estimate_shape):
        return {}, [
            *lines,
            UserError(
                f"{show(track)}: references have {rate} Hz, (channels, samples) {shape}, estimates "
                f"{estimate_rate} Hz, {estimate_shape}; they must be equal"
            ),
        ]
    frames = None
    if window is not None:
        frames = Frames(max(1, round(window * rate)), max(1, round((hop or window) * rate)))
    names = list(references)
    ordered = [estimates.get(s) for s in names]
    together = np.empty((len(names), *shape), np.float32)
    for row, name in zip(together, names, strict=True):
        row[:] = references.pop(name)  # so that they are never there twice
    scores = score_track(together, ordered, frames, judge, where)
    rows = {s: {**row, "seconds": shape[-1] / rate} for s, row in zip(names, scores, strict=True)}
    return {s: rows[s] for s in stems}, lines


def _voiced(references, stem, rate):
    """Where a stem has a pitch; its channels are heard as one voice."""
    if stem not in references:
        raise UserError(f"no reference of {stem}, whose pitch decides what is voiced", "voiced")
    return voiced_samples(references[stem].mean(axis=0), rate)


def _digest(paths, *settings):
    """A text that changes when a file or a setting does."""
    digest = hashlib.sha256(repr(settings).encode())
    for path in paths:
        stat = path.stat()
        name = os.fsencode(f"{path.parent.name}/{path.name}")
        digest.update(b"|%b %d %d" % (name, stat.st_size, stat.st_mtime_ns))
    return digest.hexdigest()[:16]
