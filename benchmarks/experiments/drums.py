"""``python -m benchmarks.experiments.drums MODEL [MODEL ...]``: drums of songs, also blind to phase.

The sections are those of ``--data`` that its manifest keeps for validation and that have drums within 60 dB
of the mixture. A model that makes up its phase, as a mel spectrogram with Griffin-Lim does, has no waveform
to compare: beside the improvement of SI-SDR each row has the log-spectral distance (lower is nearer) and the
correlation of mel spectrograms in dB. Rows are the models, the ideal ratio mask, the mixture as its own
estimate, and the drums themselves through 512 mel bands and Griffin-Lim, the ceiling of the mel form.
Intervals hold 95 % of 1000 draws of the sections.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from benchmarks.experiments.intervals import mean_and_interval
from benchmarks.experiments.songs import read_sections
from benchmarks.record import command_line
from jaxsep.codecs import Codec, Direct, GriffinLim, Mel
from jaxsep.errors import UserError
from jaxsep.evaluation import baseline_estimator, model_estimator
from jaxsep.evaluation.estimators import Estimator
from jaxsep.evaluation.track import mute_inaudible
from jaxsep.metrics import log_spectral_distance, mel_correlation, si_sdr
from jaxsep.separator import Separator
from train.data.listing import data_folder

_RESULTS = Path(__file__).parents[1] / "results" / "drums.json"
_DATA = "$JAXSEP_DATA/multitrack"
_FILES = {"drums": ("drums.*",), "rest": ("vocals.*", "other.*")}


def main(arguments: list[str]) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.experiments.drums", description=__doc__)
    parser.add_argument("models", metavar="MODEL", nargs="*", help="a model's name, or a folder")
    parser.add_argument("--data", default=_DATA, metavar="FOLDER")
    parser.add_argument("--json", default=str(_RESULTS))
    options = parser.parse_args(arguments)
    try:
        sections = read_sections(data_folder(options.data, "data"), files=_FILES)
        sections = {name: section for name, section in sections.items() if has_drums(section[0])}
        if not sections:
            raise UserError(f"{options.data}: no section for validation has drums")
        estimators: dict[str, Estimator] = {
            "mixture": baseline_estimator("mixture"),
            "ideal ratio mask": baseline_estimator("irm"),
            "the drums through 512 mel bands and Griffin-Lim": through_mel,
        }
        estimators |= {m: model_estimator(Separator.from_pretrained(m)) for m in options.models}
    except UserError as error:
        print(f"benchmarks.experiments.drums: {error}", file=sys.stderr)
        return 2
    path = Path(options.json)
    results = json.loads(path.read_text()) if path.exists() else {}
    print(f"{'drums':50}{'SI-SDRi':>9}{'LSD':>9}{'mel corr.':>11}")
    for title, estimate in estimators.items():
        rows = {name: score(estimate, *section) for name, section in sections.items()}
        models = [title] if title in options.models else []
        data = [] if options.data == _DATA else ["--data", options.data]
        command = command_line("benchmarks.experiments.drums", *models, *data)
        figures = next(iter(rows.values()))
        summary = {f: mean_and_interval([row[f] for row in rows.values()], digits=3) for f in figures}
        results[title] = {"command": command, "summary": summary, "sections": rows}
        mean = {figure: values[0] for figure, values in results[title]["summary"].items()}
        print(f"{title:50}{mean['si_sdri']:9.2f}{mean['distance']:9.2f}{mean['correlation']:11.3f}")
    path.write_text(json.dumps(results, indent=2) + "\n")
    return 0


def has_drums(references: dict[str, np.ndarray]) -> bool:
    """Whether the drums of a section are loud enough to be scored."""
    return bool(np.any(mute_inaudible(np.stack(list(references.values())))[list(references).index("drums")]))


def through_mel(references: dict[str, np.ndarray], rate: int) -> dict[str, np.ndarray]:
    """The references through the mel form alone: an estimator."""
    codec = Codec(Mel(sample_rate=rate), head=Direct(), inversion=GriffinLim())
    stems = {}
    for stem, x in references.items():
        encoded = codec.encode(jnp.asarray(x[None]))
        y = codec.decode(encoded, codec.perfect_outputs(encoded), x.shape[-1]).waveforms[:, 0]
        stems[stem] = np.asarray(y * encoded.level[:, None, None])[0]
    return stems


def score(estimate: Estimator, references: dict[str, np.ndarray], rate: int) -> dict[str, float]:
    """What of the drums came out of a section."""
    drums, mixture = references["drums"], sum(references.values())
    found = np.asarray(estimate(references, rate)["drums"], np.float32)
    return {
        "si_sdri": round(float(np.mean(si_sdr(drums, found) - si_sdr(drums, mixture))), 2),
        "distance": round(float(np.mean(log_spectral_distance(drums, found))), 2),
        "correlation": round(float(np.mean(mel_correlation(drums, found, sample_rate=rate))), 3),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
