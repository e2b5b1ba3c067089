"""``python -m benchmarks.experiments.figures [--runs FOLDER] -o OUT``: figures of one's own runs.

Of synthesis: the waveforms, spectra and spectrograms of a tone and a snare hit, and a song's mel
spectrogram beside what Griffin-Lim brings back. Of every run in FOLDER (that
``python -m benchmarks.experiments`` trained): its learning curve, the layers of its network, and the
waveforms and spectrograms of a mixture that it was not trained on, of its estimates and of the sources.
Of all experiments in results/experiments.json: scores for each source, a bar for each model.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from benchmarks.experiments.table import parameter_count
from jaxsep.codecs import Codec, Direct, GriffinLim, Mel
from jaxsep.errors import UserError
from jaxsep.examples import song
from jaxsep.figures import (
    Sound,
    plot_learning_curve,
    plot_scores,
    plot_spectra,
    plot_spectrograms,
    plot_text,
    plot_waveforms,
)
from jaxsep.hub import flatten
from jaxsep.parts import from_dict
from jaxsep.separator import Separator
from train.config import TrainConfig
from train.data.recipes import open_part
from train.log import read_log

_SCORES = Path(__file__).parents[1] / "results" / "experiments.json"
_RATE = 22050


def main(arguments: list[str]) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.experiments.figures", description=__doc__)
    parser.add_argument("--runs", default="runs/experiments", metavar="FOLDER")
    parser.add_argument("-o", "--out", default="figures", metavar="OUT")
    options = parser.parse_args(arguments)
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    try:
        draw_synthesis(out)
        for log in sorted(Path(options.runs).glob("*/log.jsonl")):
            if (log.parent / "best").is_dir():
                draw_run(log.parent, out)
        if _SCORES.exists():
            draw_scores(json.loads(_SCORES.read_text()), out)
    except UserError as error:
        print(f"benchmarks.experiments.figures: {error}", file=sys.stderr)
        return 2
    print(f"{len(list(out.glob('*.png')))} figures in {out}")
    return 0


def draw_synthesis(out: Path) -> None:
    """Draw a tone, a snare hit, and a song that went through mel bands and back."""
    sounds = [Sound("tone, 440 Hz", _tone()), Sound("snare hit", _snare())]
    plot_waveforms(sounds, _RATE, out / "tone-and-snare-waveforms.png")
    plot_spectra(sounds, _RATE, out / "tone-and-snare-spectra.png")
    plot_spectrograms(sounds, _RATE, out / "tone-and-snare-spectrograms.png")
    whole = np.sum(list(song(6.0, _RATE).values()), axis=0)
    codec = Codec(Mel(sample_rate=_RATE), head=Direct(), inversion=GriffinLim())
    encoded = codec.encode(jnp.asarray(whole[None, None]))
    back = codec.decode(encoded, codec.perfect_outputs(encoded), len(whole))
    inverted = np.asarray(back.waveforms[0, 0, 0] * encoded.level[0])
    pair = [Sound("song", whole), Sound("from 512 mel bands by Griffin-Lim", inverted)]
    plot_spectrograms(pair, _RATE, out / "mel-reconstruction.png")


def draw_run(run: Path, out: Path) -> None:
    """Draw what a training run learnt, and what its model makes of a mixture it has not heard."""
    plot_learning_curve(read_log(run), out / f"{run.name}-learning-curve.png")
    config = from_dict(TrainConfig, json.loads((run / "config.json").read_text()))
    separator = Separator.from_pretrained(run)
    plot_text(_layers(separator), out / f"{run.name}-layers.png")
    names, rate = config.system.sources, config.system.sample_rate
    recordings = config.data.recipe.validation(config.data, open_part(config, "valid"), names)
    sources = np.asarray(recordings.track(0)[:, 0, : 6 * rate], np.float32)
    mixture = sources.sum(axis=0)
    stems = separator(mixture, rate)
    sounds = [Sound("mixture", mixture)]
    for name, source in zip(names, sources, strict=True):
        sounds += [Sound(f"{name}, estimate", stems[name]), Sound(f"{name}, source", source)]
    plot_spectrograms(sounds, rate, out / f"{run.name}-spectrograms.png")
    plot_waveforms(sounds, rate, out / f"{run.name}-waveforms.png")


def draw_scores(rows: dict[str, dict], out: Path) -> None:
    """Draw SDR, SIR and SAR for each source, of the experiments that separate the same sources."""
    groups: dict[tuple, dict] = {}
    for name, row in rows.items():
        groups.setdefault(tuple(sorted(row["scores"])), {})[name] = row
    for sources, group in groups.items():
        for figure in ("sdr", "sir", "sar", "si_sdri"):
            bars = {name: {s: x[figure] for s, x in row["scores"].items()} for name, row in group.items()}
            bars["oracle mask"] = {s: x[figure] for s, x in next(iter(group.values()))["oracle"].items()}
            label = "SI-SDR improvement, dB" if figure == "si_sdri" else f"{figure.upper()}, dB"
            plot_scores(bars, label, out / f"{'-'.join(sources)}-{figure}.png")


def _layers(separator):
    """The network's weights, a line each, from input to output as they are stored."""
    config = separator.system.config
    arrays = flatten(separator.variables["params"])
    lines = [f"{name:60} {'x'.join(map(str, array.shape)):>18}" for name, array in arrays.items()]
    head = f"{config.network.name}: {', '.join(config.sources)}; {parameter_count(separator)} parameters"
    return "\n".join([head, "", *lines])


def _tone():
    time = np.arange(_RATE) / _RATE
    return (0.5 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)


def _snare():
    """A drum's two modes and the rattle of its wires."""
    time = np.arange(_RATE) / _RATE
    modes = np.sin(2 * np.pi * 185 * time) + 0.7 * np.sin(2 * np.pi * 330 * time)
    wires = np.random.default_rng(0).standard_normal(_RATE)
    return (0.35 * modes * np.exp(-time * 30) + 0.25 * wires * np.exp(-time * 18)).astype(np.float32)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
