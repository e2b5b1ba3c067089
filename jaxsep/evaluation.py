"""Scores of files: references and estimates matched by the names of tracks and stems."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from jaxsep.audio import AUDIO_SUFFIXES, AudioReader, read_audio, show
from jaxsep.errors import UserError
from jaxsep.metrics import si_sdr

#: What is reported of each stem, dB. ``nsdr`` and ``si_sdri`` are improvements over the mixture.
FIGURES = ("sdr", "sir", "sar", "nsdr", "si_sdr", "si_sdri")


def score_track(references: np.ndarray, estimates: Any) -> list[dict]:
    """Score the sources of one track in the order given.

    Args:
      references: ``(sources, channels, samples)`` floats; their sum is taken as the mixture.
      estimates: a sequence with ``(channels, samples)`` floats for each source, or None where there
        is no estimate.

    Returns:
      One dict per source: :data:`FIGURES` in dB, the mean over channels, and ``silent``:
      ``"reference"`` or ``"estimate"`` where that is silent (or missing) and every figure is None.

    References:
      E. Vincent, R. Gribonval, C. Févotte, "Performance measurement in blind audio source
      separation", IEEE TASLP 14(4), 2006, computed by mir_eval with its filter of 512 taps.
    """
    mixture = references.sum(axis=0)
    everywhere = np.broadcast_to(mixture, references.shape)
    heard = np.array([e is not None and bool(np.any(e)) for e in estimates])
    # Each source is judged on its own: the mixture stands in for an estimate that is not there.
    given = np.stack([e if h else mixture for e, h in zip(estimates, heard, strict=True)])
    figures = {name: np.full(references.shape[:2], np.nan) for name in FIGURES}
    for c in range(references.shape[1]):
        ours = _bss_eval(references[:, c], given[:, c])
        base = _bss_eval(references[:, c], everywhere[:, c])
        for name, values in zip(("sdr", "sir", "sar"), ours, strict=True):
            figures[name][:, c] = values
        figures["nsdr"][:, c] = ours[0] - base[0]
    figures["si_sdr"] = np.asarray(si_sdr(references, given))
    figures["si_sdri"] = figures["si_sdr"] - np.asarray(si_sdr(references, everywhere))
    rows: list[dict] = []
    for i, reference in enumerate(references):
        row = {name: _mean_or_none(values[i]) if heard[i] else None for name, values in figures.items()}
        silent = "reference" if not np.any(reference) else None if heard[i] else "estimate"
        rows.append({**row, "silent": silent})
    return rows


def evaluate_folders(references, estimates, jobs: int = 1) -> tuple[dict, list[str]]:
    """Score every track of ``references`` that ``estimates`` has.

    Args:
      references, estimates: folders of ``TRACK/STEM.*`` files.
      jobs: tracks scored at once.

    Returns:
      ``{track: {stem: {figure: dB}}}`` (with ``seconds``), and a line for each thing missing.

    Raises:
      UserError: a folder is missing, or nothing in the two matches.
    """
    wanted, found = _tracks(references), _tracks(estimates)
    problems = [f"{show(estimates)}: lacks the track {t}" for t in wanted if t not in found]
    names = [t for t in wanted if t in found]
    with ThreadPoolExecutor(max(1, jobs)) as pool:
        results = list(pool.map(lambda t: _score_files(t, wanted[t], found[t]), names))
    tracks = {}
    for name, (scores, lines) in zip(names, results, strict=True):
        problems += lines
        if scores:
            tracks[name] = scores
    if not tracks:
        raise UserError(
            f"{show(references)} and {show(estimates)}: no track and stem of the same name can be "
            f"scored ({problems[0] if problems else 'no audio'}); expected TRACK/STEM.wav on both sides"
        )
    return tracks, problems


def summarise(tracks: dict) -> dict[str, dict]:
    """Means over tracks, weighted by length (so ``nsdr`` is GNSDR), for each stem."""
    summary = {}
    for stem in sorted({s for stems in tracks.values() for s in stems}):
        rows = [stems[stem] for stems in tracks.values() if stem in stems]
        summary[stem] = {name: _weighted(rows, name) for name in FIGURES}
        summary[stem]["tracks"] = len(rows)
        for which in ("reference", "estimate"):
            summary[stem][f"silent {which}s"] = sum(row["silent"] == which for row in rows)
    return summary


def _weighted(rows, name):
    pairs = [(row[name], row["seconds"]) for row in rows if row[name] is not None]
    if not pairs:
        return None
    values, weights = np.array(pairs).T
    return round(float((values * weights).sum() / weights.sum()), 4)


def _tracks(folder):
    """``{track: {stem: file}}`` of a folder."""
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{show(folder)}: there is no such folder")
    tracks: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.glob("*/*")):
        if path.suffix.lower() in AUDIO_SUFFIXES and not path.name.startswith("."):
            tracks.setdefault(path.parent.name, {})[path.stem] = path
    if not tracks:
        raise UserError(f"{show(folder)}: holds no TRACK/STEM audio files")
    return tracks


def _score_files(track, references, estimates):
    """Scores of one track's files, and a line for each thing that is wrong with them."""
    stems = [s for s in references if s in estimates]
    lines = [f"{track}: no estimate of {s}" for s in references if s not in estimates]
    if not stems:
        return {}, lines
    try:
        rate, reference = _stack([references[s] for s in references])
        estimate_rate, estimate = _stack([estimates[s] for s in stems])
    except UserError as error:
        return {}, [*lines, str(error)]
    if (rate, reference.shape[1:]) != (estimate_rate, estimate.shape[1:]):
        return {}, [
            *lines,
            f"{track}: references have {rate} Hz, (channels, samples) {reference.shape[1:]}, estimates "
            f"{estimate_rate} Hz, {estimate.shape[1:]}; they must be equal",
        ]
    given = dict(zip(stems, estimate, strict=True))
    scores = score_track(reference, [given.get(s) for s in references])
    seconds = reference.shape[-1] / rate
    rows = {s: {**row, "seconds": seconds} for s, row in zip(references, scores, strict=True)}
    return {s: rows[s] for s in stems}, lines


def _stack(paths):
    rates = set()
    audio = []
    for path in paths:
        reader = AudioReader(path)
        rates.add(reader.sample_rate)
        reader.close()
        audio.append(read_audio(path))
    if len(rates) > 1 or len({a.shape for a in audio}) > 1:
        names = ", ".join(Path(p).name for p in paths)
        raise UserError(f"{show(Path(paths[0]).parent)}: {names} differ in rate, channels or length")
    return rates.pop(), np.stack(audio)


def _bss_eval(references, estimates):
    """SDR, SIR and SAR of each source; NaN for silent references, the others as without them."""
    import mir_eval.separation

    scores = np.full((3, len(references)), np.nan)
    heard = np.flatnonzero(np.any(references, axis=-1))
    if heard.size and np.any(estimates[heard], axis=-1).all():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            result = mir_eval.separation.bss_eval_sources(
                references[heard].astype(np.float64), estimates[heard].astype(np.float64), False
            )
        scores[:, heard] = result[:3]
    return scores


def _mean_or_none(values):
    values = values[np.isfinite(values)]
    return round(float(values.mean()), 4) if values.size else None
