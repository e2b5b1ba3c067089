"""``python -m benchmarks.experiments.vocals FOLDER MODEL [MODEL ...]``: voice GNSDR on clips of MIR-1K.

FOLDER holds stereo clips, left accompaniment, right voice. Each is mixed to mono as left + right,
separated by ``jaxsep separate``, and scored by ``jaxsep evaluate`` against its channels. The same
table is printed for the ideal ratio mask of squared magnitudes, the ceiling of masks; the mixture
as its own estimate is 0 by definition. Intervals hold 95 % of 1000 draws of the clips, which are of
few singers. ``--every N`` takes every N-th clip. Results of other models are kept.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.experiments.intervals import drawn_means, interval
from benchmarks.record import command_line
from jaxsep.audio import AudioWriter, audio_files, read_audio, write_together
from jaxsep.baselines import oracle
from jaxsep.cli import main as jaxsep

_RATE, _STEMS = 16000, ("accompaniment", "vocals")


def main(arguments: list[str]) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.experiments.vocals", description=__doc__)
    parser.add_argument("folder", metavar="FOLDER")
    parser.add_argument("models", metavar="MODEL", nargs="*", default=["vocals"])
    parser.add_argument("--every", type=int, default=1, metavar="N")
    parser.add_argument("--json", default=str(Path(__file__).parents[1] / "results" / "vocals.json"))
    options = parser.parse_args(arguments)
    clips = audio_files(options.folder, depth=0)[:: options.every]
    path = Path(options.json)
    results = json.loads(path.read_text()) if path.exists() else {}
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        for clip in clips:
            _prepare(clip, work)
        mixtures = [str(p) for p in sorted((work / "mixtures").iterdir())]
        estimates = {"ideal ratio mask": work / "oracle"}
        for i, model in enumerate(options.models):
            out = work / f"separated{i}"
            if status := jaxsep(["separate", "-q", "-m", model, "-o", str(out), "--", *mixtures]):
                return status
            estimates[model] = next(out.iterdir())
        for title, folder in estimates.items():
            print(f"{title}, {len(clips)} clips")
            scores = ["evaluate", str(work / "references"), str(folder), "--json", str(work / "s.json")]
            if status := jaxsep(scores):
                return status
            scored = json.loads((work / "s.json").read_text())
            voice = [track["vocals"] for track in scored["tracks"].values()]
            seconds = np.array([row["seconds"] for row in voice])
            ends = interval(drawn_means(seconds * [row["nsdr"] for row in voice], seconds))
            print("voice GNSDR: 95 % of draws of the clips {:.2f} to {:.2f} dB".format(*ends))
            models = [title] if title in options.models else []
            every = ["--every", options.every] if options.every > 1 else []
            results[title] = {
                "command": command_line("benchmarks.experiments.vocals", options.folder, *models, *every),
                "clips": len(clips),
                "summary": scored["summary"],
                "voice GNSDR interval": ends,
            }
    path.write_text(json.dumps(results, indent=2) + "\n")
    return 0


def _prepare(clip, work):
    """Write the mixture, the references and the oracle's estimates of a clip."""
    sources = read_audio(clip, _RATE)
    mixture = sources.sum(axis=0)
    ideal = np.asarray(oracle(sources, "wiener"))
    _write(work / "mixtures" / f"{clip.stem}.wav", mixture)
    for stem, reference, estimate in zip(_STEMS, sources, ideal, strict=True):
        _write(work / "references" / clip.stem / f"{stem}.wav", reference)
        _write(work / "oracle" / clip.stem / f"{stem}.wav", estimate)


def _write(path, audio):
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = AudioWriter(path, _RATE, 1)
    writer.write(audio[None])
    write_together([writer])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
