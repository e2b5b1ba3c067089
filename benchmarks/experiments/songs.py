"""``python -m benchmarks.experiments.songs MODEL [MODEL ...]``: voice and band, section by section.

The sections are those of FOLDER (``$JAXSEP_DATA/multitrack``) that its manifest keeps for validation: a
folder each, with ``vocals`` and the files whose sum is the accompaniment. For both stems the improvements
of SI-SDR and of BSS Eval's SDR over the mixture are listed, beside the ideal ratio mask; the mixture as its
own estimate is 0 by definition. ``--voice-level DB`` sets how much louder than the accompaniment the voice
is, instead of what it was; the row ``vocals, one speed`` is of a folder of that name, the shipped model with
no ``speeds`` in its config.json; ``vocals@0.5`` is the model as ``jaxsep live --every 0.5`` hears it.
Intervals hold 95 % of 1000 draws of the sections: they are of one song.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from benchmarks.experiments.intervals import mean_and_interval
from benchmarks.experiments.models import open_model, title_of
from benchmarks.record import command_line
from jaxsep.audio import AudioReader, read_audio
from jaxsep.errors import UserError
from jaxsep.evaluation import baseline_estimator, model_estimator, score_track
from jaxsep.evaluation.estimators import Estimator
from train.config import DataConfig
from train.data.listing import data_folder
from train.data.recipes import SongFolders, find_tracks

_RESULTS = Path(__file__).parents[1] / "results" / "songs.json"
_DATA = "$JAXSEP_DATA/multitrack"
_FILES = {"vocals": ("vocals.*",), "accompaniment": ("drums.*", "bass.*", "other.*", "accompaniment.*")}
#: What is listed -> its name among the scores of a track.
_FIGURES = {"si_sdri": "si_sdri", "sdri": "nsdr"}


def main(arguments: list[str]) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.experiments.songs", description=__doc__)
    parser.add_argument("models", metavar="MODEL", nargs="*", help="a model's name, or a folder")
    parser.add_argument("--data", default=_DATA, metavar="FOLDER")
    parser.add_argument("--voice-level", type=float, metavar="DB")
    parser.add_argument("--json", default=str(_RESULTS))
    options = parser.parse_args(arguments)
    try:
        sections = read_sections(data_folder(options.data, "data"), options.voice_level)
        estimators = {"ideal ratio mask": baseline_estimator("irm")}
        estimators |= {title_of(m): model_estimator(open_model(m)) for m in options.models}
    except UserError as error:
        print(f"benchmarks.experiments.songs: {error}", file=sys.stderr)
        return 2
    path = Path(options.json)
    results = json.loads(path.read_text()) if path.exists() else {}
    for title, estimate in estimators.items():
        scores = {name: score(estimate, *section) for name, section in sections.items()}
        key = title if options.voice_level is None else f"{title}, voice {options.voice_level:+g} dB"
        models = [title] if title in map(title_of, options.models) else []
        level = [] if options.voice_level is None else ["--voice-level", f"{options.voice_level:g}"]
        data = [] if options.data == _DATA else ["--data", options.data]
        command = command_line("benchmarks.experiments.songs", *models, *level, *data)
        results[key] = {"command": command, "summary": summarize(list(scores.values())), "sections": scores}
        say(key, results[key])
    path.write_text(json.dumps(results, indent=2) + "\n")
    return 0


def read_sections(
    folder: Path, voice_level: float | None = None, files: dict[str, tuple[str, ...]] = _FILES
) -> dict[str, tuple[dict, int]]:
    """The validation sections: name -> ``{stem: (1, samples)}`` and their rate.

    Args:
      folder: holds a folder for each section.
      voice_level: dB of the voice above the accompaniment; as it was when None.
      files: stem -> patterns of the files whose sum it is.
    """
    config = DataConfig(SongFolders(files=files), train=str(folder), valid=str(folder))
    found = {}
    for track in find_tracks(config, folder, tuple(files), "valid"):
        reader = AudioReader(track.sources[0][0].file)
        rate = reader.sample_rate
        reader.close()
        stems = {
            stem: sum(read_audio(s.file, rate).mean(axis=0, keepdims=True) for s in signals)
            for stem, signals in zip(files, track.sources, strict=True)
        }
        if voice_level is not None:
            power = {stem: np.mean(np.square(x, dtype=np.float64)) for stem, x in stems.items()}
            gain = np.sqrt(power["accompaniment"] / power["vocals"]) * 10 ** (voice_level / 20)
            stems["vocals"] = (gain * stems["vocals"]).astype(np.float32)
        found[track.name] = (stems, rate)
    return found


def score(estimate: Estimator, references: dict[str, np.ndarray], rate: int) -> dict[str, dict[str, float]]:
    """Improvements of a section's stems over its mixture, dB."""
    stems = estimate(references, rate)
    rows = score_track(np.stack([references[s] for s in _FILES]), [stems[s] for s in _FILES])
    return {
        stem: {figure: round(row[name], 2) for figure, name in _FIGURES.items()}
        for stem, row in zip(_FILES, rows, strict=True)
    }


def summarize(scores: list[dict], draws: int = 1000) -> dict[str, dict[str, list[float]]]:
    """Mean and interval of each figure over the sections: ``[mean, low, high]``."""
    summary: dict[str, dict[str, list[float]]] = {}
    for stem in _FILES:
        summary[stem] = {}
        for figure in _FIGURES:
            summary[stem][figure] = mean_and_interval([s[stem][figure] for s in scores], draws)
    return summary


def say(title: str, rows: dict) -> None:
    """Print an estimator's rows: sections, mean and interval."""
    print(f"{title}: vocals, accompaniment: improvement of SI-SDR and SDR, dB")
    for name, section in rows["sections"].items():
        print(f"  {name:24}" + "".join(f"{section[s][f]:8.2f}" for s in _FILES for f in _FIGURES))
    mean = [rows["summary"][s][f] for s in _FILES for f in _FIGURES]
    print("  mean                    " + "".join(f"{m:8.2f}" for m, _, _ in mean))
    print("  interval                " + "  ".join(f"{low:.2f} to {high:.2f}" for _, low, high in mean))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
