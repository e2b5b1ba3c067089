"""``python -m benchmarks.vocals FOLDER [-m MODEL]``: voice GNSDR of a model on MIR-1K clips.

FOLDER holds stereo clips, left accompaniment, right voice. Each is mixed to mono as left + right,
separated by ``jaxsep separate``, and scored by ``jaxsep evaluate`` against its channels. The same
table is printed for the ideal ratio mask of squared magnitudes, the ceiling of masks; the mixture
as its own estimate is 0 by definition.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from jaxsep.audio import AudioWriter, read_audio, write_together
from jaxsep.baselines import oracle
from jaxsep.cli import main as jaxsep

_RATE, _STEMS = 16000, ("accompaniment", "vocals")


def main(arguments: list[str]) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.vocals", description=__doc__)
    parser.add_argument("folder", metavar="FOLDER")
    parser.add_argument("-m", "--model", default="vocals")
    parser.add_argument("--json", default=str(Path(__file__).parent / "results" / "vocals.json"))
    options = parser.parse_args(arguments)
    clips = sorted(p for p in Path(options.folder).iterdir() if p.suffix in (".flac", ".ogg", ".wav"))
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        for clip in clips:
            _prepare(clip, work)
        mixtures = [str(p) for p in sorted((work / "mixtures").iterdir())]
        jaxsep(["separate", "-q", "-m", options.model, "-o", str(work / "separated"), "--", *mixtures])
        model = next((work / "separated").iterdir())
        results = {}
        for title, folder in (("model", model), ("ideal ratio mask", work / "oracle")):
            print(f"{title}, {len(clips)} clips")
            status = jaxsep(
                ["evaluate", str(work / "references"), str(folder), "--json", str(work / "s.json")]
            )
            if status:
                return status
            results[title] = json.loads((work / "s.json").read_text())["summary"]
    summary = {
        "command": f"python -m benchmarks.vocals FOLDER -m {options.model}",
        "clips": len(clips),
        "summary": results["model"],
        "ideal ratio mask": results["ideal ratio mask"],
    }
    Path(options.json).write_text(json.dumps(summary, indent=2) + "\n")
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
