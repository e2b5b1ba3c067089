"""``python -m benchmarks.experiments.voice_over_piano [MODEL ...]``: a singing voice over a piano alone.

Voices of MIR-1K's validation clips (``--voices``, right channels) over piano pieces that the manifest of
``--pianos`` keeps for validation, rendered from scores, each cut to the clip's length and set to the voice's
level. Listed are the improvements of both stems, beside the ideal ratio mask; the mixture as its own
estimate is 0 by definition. Intervals hold 95 % of 1000 draws of the mixtures.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from benchmarks.experiments.models import open_model
from benchmarks.experiments.songs import say, score, summarize
from benchmarks.record import command_line
from jaxsep.audio import audio_files, read_audio
from jaxsep.errors import UserError
from jaxsep.evaluation import baseline_estimator, model_estimator
from train.data.listing import data_folder, plain_name, read_manifest

_RESULTS = Path(__file__).parents[1] / "results" / "voice_over_piano.json"
_RATE = 16000


def main(arguments: list[str]) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.experiments.voice_over_piano", description=__doc__
    )
    parser.add_argument("models", metavar="MODEL", nargs="*", default=["vocals"], help="name, or folder")
    parser.add_argument("--voices", default="$JAXSEP_DATA/mir1k/valid", metavar="FOLDER")
    parser.add_argument("--pianos", default="$JAXSEP_DATA/duets_piano_violin", metavar="FOLDER")
    parser.add_argument("--mixtures", type=int, default=22)
    parser.add_argument("--json", default=str(_RESULTS))
    options = parser.parse_args(arguments)
    try:
        folders = data_folder(options.voices, "voices"), data_folder(options.pianos, "pianos")
        mixed = mixtures(*folders, options.mixtures)
        estimators = {"ideal ratio mask": baseline_estimator("irm")}
        estimators |= {m: model_estimator(open_model(m)) for m in options.models}
    except UserError as error:
        print(f"benchmarks.experiments.voice_over_piano: {error}", file=sys.stderr)
        return 2
    path = Path(options.json)
    results = json.loads(path.read_text()) if path.exists() else {}
    for title, estimate in estimators.items():
        scores = {name: score(estimate, references, _RATE) for name, references in mixed.items()}
        models = [title] if title in options.models else []
        results[title] = {
            "command": command_line("benchmarks.experiments.voice_over_piano", *models),
            "summary": summarize(list(scores.values())),
            "sections": scores,
        }
        say(title, results[title])
    path.write_text(json.dumps(results, indent=2) + "\n")
    return 0


def mixtures(voices: Path, pianos: Path, count: int) -> dict[str, dict[str, np.ndarray]]:
    """Voices over pianos: name -> ``{"vocals": (1, samples), "accompaniment": (1, samples)}`` of 16 kHz.

    Args:
      voices: stereo clips with the voice on the right.
      pianos: folders with ``piano.*``, and a manifest.
      count: mixtures; voices are evenly spread over the clips, pianos taken by turns.
    """
    listed = read_manifest(pianos)
    kept = {name for name, (_, part) in listed.items() if part == "valid"}
    pieces = [p for p in audio_files(pianos) if p.stem == "piano"]
    pieces = [p for p in pieces if plain_name(p.relative_to(pianos).as_posix()) in kept]
    clips = audio_files(voices, depth=0)
    if not pieces or len(clips) < count:
        raise UserError(f"{pianos if not pieces else voices}: holds too few recordings for {count} mixtures")
    found = {}
    for i, at in enumerate(np.linspace(0, len(clips) - 1, count).astype(int)):
        voice = read_audio(clips[at], _RATE)[1]
        piano = read_audio(pieces[i % len(pieces)], _RATE).mean(axis=0)
        start = (i // len(pieces)) * len(voice) % max(1, len(piano) - len(voice))
        piano = piano[start : start + len(voice)]
        piano = piano * np.sqrt(np.mean(voice**2) / np.mean(piano**2))
        found[f"{clips[at].stem} over {pieces[i % len(pieces)].parent.name}"] = {
            "vocals": voice[None, : len(piano)],
            "accompaniment": piano[None],
        }
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
