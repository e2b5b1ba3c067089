"""``python -m benchmarks.experiments.silent_references [MODEL ...]``: where an SDR of -139 dB comes from.

The CNN auto-encoder's document gives -139 dB of SDR, -18.7 of SIR and 8 of SAR, beside 6.32, 13.33 and 6.52
of Open-Unmix, whose weights for the comparison are not at hand. Many of its references are silent; mir_eval,
which refuses them, was given 1e-20 in their place. Its scores of images hold an estimate against the
reference itself, so that each of these gives some -370 dB of SDR, and the mean is of them. Mixtures of
CONFIG, of whose classes a part is absent, are scored here in that way, and by ``jaxsep.metrics``, which
leaves silent references out.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from pathlib import Path

import numpy as np

from benchmarks.record import command_line
from jaxsep.errors import UserError
from jaxsep.metrics import bss_eval_images
from jaxsep.separator import Separator
from train.config import load_config
from train.data.recipes import open_part

_ROOT = Path(__file__).parents[2]
_RESULTS = _ROOT / "benchmarks" / "results" / "silent_references.json"
#: What the document added to its references.
_TINY = 1e-20
_FIGURES = ("sdr", "sir", "sar")


def main(arguments: list[str]) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.experiments.silent_references", description=__doc__
    )
    parser.add_argument("models", metavar="MODEL", nargs="*", default=["sounds"], help="name, or run folder")
    parser.add_argument("--config", default=str(_ROOT / "configs" / "cnn_autoencoder_f.yaml"))
    parser.add_argument("--examples", type=int, default=12, help="mixtures of validation recordings")
    parser.add_argument("--absent", type=float, default=0.4, help="chance of a class to be absent")
    parser.add_argument("--json", default=str(_RESULTS))
    options = parser.parse_args(arguments)
    try:
        config = load_config(options.config, ["--data.recipe.absent", str(options.absent)])
        rows = {}
        for model in options.models:
            separator = Separator.from_pretrained(model)
            scored = [score(*example) for example in estimated(config, separator, options.examples)]
            rows[model] = {"command": _command(options, model), **summary(scored)}
    except UserError as error:
        print(f"benchmarks.experiments.silent_references: {error}", file=sys.stderr)
        return 2
    Path(options.json).write_text(json.dumps(rows, indent=2) + "\n")
    print(table(rows))
    return 0


def estimated(config, separator: Separator, count: int):
    """References and estimates of mixtures of validation recordings, ``(sources, samples)`` each."""
    sources, rate = config.system.sources, config.system.sample_rate
    if missing := [s for s in sources if s not in separator.sources]:
        raise UserError(f"the model has no stem {missing[0]!r}; expected {', '.join(sources)}")
    bank = open_part(config, "valid")
    recipe, length = config.data.recipe, config.excerpt_samples
    examples = recipe.examples(config.data, bank, sources, config.seed, length, count)
    for i in range(count):
        references = np.asarray(examples[i]["sources"]).mean(axis=1)
        stems = separator(references.sum(axis=0), rate)
        yield references, np.stack([stems[s] for s in sources])


def score(references: np.ndarray, estimates: np.ndarray) -> dict[str, np.ndarray]:
    """Scores of one mixture in both ways: ``(3, sources)`` of SDR, SIR and SAR, and which sources sound.

    Args:
      references, estimates: ``(sources, samples)``; silent references are zero.
    """
    import mir_eval.separation

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sdr, _, sir, sar, _ = mir_eval.separation.bss_eval_images(
            references[..., None] + _TINY, estimates[..., None] + _TINY, False
        )
    scores = bss_eval_images(references[:, None], estimates[:, None], permute=False, dtype="float64")
    ours = [np.asarray(getattr(scores, figure)) for figure in _FIGURES]
    return {
        "filled": np.array([sdr, sir, sar]),
        "ours": np.array(ours),
        "sounds": np.any(references != 0, axis=1),
    }


def summary(scored: list[dict[str, np.ndarray]]) -> dict:
    """Means over the sources of all mixtures, by either way of scoring."""
    filled, ours = (np.concatenate([s[way] for s in scored], axis=1) for way in ("filled", "ours"))
    sounds = np.concatenate([s["sounds"] for s in scored])

    def means(scores, which):
        chosen = {f: x[which] for f, x in zip(_FIGURES, scores, strict=True)}
        # Where one source sounds alone nothing interferes, and its SIR is infinite.
        kept = {f: x[np.isfinite(x)] for f, x in chosen.items()}
        return {f: round(float(np.mean(x)), 2) if len(x) else None for f, x in kept.items()}

    return {
        "sources": len(sounds),
        "silent": int(np.sum(~sounds)),
        "silent references of 1e-20, all": means(filled, slice(None)),
        "silent references of 1e-20, those alone": means(filled, ~sounds),
        "silent references left out": means(ours, sounds),
    }


def table(rows: dict[str, dict]) -> str:
    """Rows as a Markdown table, below the document's."""
    lines = ["| model | references | SDR | SIR | SAR |", "|---" * 5 + "|"]
    lines.append("| Open-Unmix, as the document quotes it | songs | 6.32 | 13.33 | 6.52 |")
    lines.append("| CNN auto-encoder, the document's | not said | -139 | -18.7 | 8 |")
    for model, row in rows.items():
        for way in (k for k, x in row.items() if isinstance(x, dict)):
            cells = " | ".join("-" if row[way][f] is None else f"{row[way][f]:.1f}" for f in _FIGURES)
            lines.append(f"| {model} | {way} | {cells} |")
    return "\n".join(lines) + "\n"


def _command(options, model):
    given = ("--examples", options.examples, "--absent", options.absent)
    return command_line("benchmarks.experiments.silent_references", model, *given)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
