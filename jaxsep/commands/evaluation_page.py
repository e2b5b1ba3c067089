"""The page of an evaluation: what was heard, what was made of it, and the scores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from jaxsep.evaluation import read_track
from jaxsep.evaluation.folders import find_references, find_tracks
from jaxsep.figures import Sound, plot_learning_curve
from jaxsep.files import read_json_lines, write_atomically
from jaxsep.report import PageTrack, listening_page
from jaxsep.separator import find_model


def write_page(options, estimates, name: str, result) -> None:
    """Write ``--html FILE``: players, spectrograms and scores of the first tracks, and the summary."""
    wanted = find_references(options.references)
    found = {} if callable(estimates) else find_tracks(estimates)
    tracks = []
    for track in list(result.tracks)[: options.html_tracks]:
        rate, references = read_track(wanted[track], sanitize=options.sanitize)
        if callable(estimates):
            given = estimates(references, rate)
        else:
            given = read_track(found[track], sanitize=options.sanitize)[1]
        tracks.append(_page_track(track, rate, references, given, result, options.html_seconds))
    curve, config = _training(options.model) if options.model else (None, "")
    page = listening_page(
        f"Scores of {name or options.estimates}",
        tracks,
        text=f"{len(result.tracks)} tracks of {options.references}; the first {len(tracks)} can be heard.",
        summary=_rows(result.summary(), result.figures),
        curve=curve,
        config=config,
    )
    write_atomically(Path(options.html), page)


def _page_track(track, rate, references, estimates, result, seconds):
    """Mixture, references and estimates side by side, cut to where most sounds."""
    mono = {stem: x.mean(axis=0) for stem, x in references.items()}
    mixture = np.sum(list(mono.values()), axis=0)
    at = _loudest(mixture, round(seconds * rate))
    sounds = [Sound("mixture", mixture[at], "what there is to separate")]
    for stem, reference in mono.items():
        if stem in estimates:
            sounds.append(Sound(stem, estimates[stem].mean(axis=0)[at], "estimate"))
        sounds.append(Sound(f"{stem} (reference)", reference[at], "what went into the mixture"))
    return PageTrack(track, sounds, rate, _rows(result.tracks[track], result.figures))


def _loudest(x, length):
    """The slice of that length with the most energy."""
    if len(x) <= length:
        return slice(None)
    energy = np.concatenate([[0.0], np.cumsum(np.square(x, dtype=np.float64))])
    start = int(np.argmax(energy[length:] - energy[:-length]))
    return slice(start, start + length)


def _rows(scores, figures):
    return [
        {"stem": stem, **{f"{f}, dB": "-" if row[f] is None else f"{row[f]:.2f}" for f in figures}}
        for stem, row in scores.items()
    ]


def _training(model):
    """The learning curve of the run that made a model, where its log is there, and its config."""
    folder = find_model(model)
    config = json.loads((folder / "config.json").read_text())
    log = folder.parent / "log.jsonl"
    curve = None
    if log.is_file():
        curve = plot_learning_curve(read_json_lines(log))
    return curve, json.dumps(config, indent=2)
