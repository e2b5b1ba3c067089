"""``python -m benchmarks.experiments.round_trip [FILE ...]``: what representations lose before any model.

Every file (or, without one, a song of synthesis) is encoded and decoded as its own only source.
Printed for each representation: SNR and SI-SDR of the waveform that comes back, and how near its
spectrogram is (blind to phase), in dB, the mean over files. What is lost here, no training brings
back. With the mixture's phase a source alone comes back whole, in few mel bands too: what masks
lose of several sources, ``jaxsep evaluate --baseline irm`` says.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from jaxsep.codecs import (
    CMVN,
    STFT,
    Codec,
    Decibels,
    Direct,
    Frames,
    GriffinLim,
    Inverse,
    Log,
    Mel,
    MinMax,
    Waveform,
    round_trip_loss,
)
from jaxsep.errors import UserError
from jaxsep.evaluation import read_track
from jaxsep.examples import song

_RESULTS = Path(__file__).parents[1] / "results" / "round_trip.json"
_LONG = STFT(n_fft=2048, hop_length=512)


def _direct(transform, **options):
    return Codec(transform, head=Direct(), **options)


def _inverted(transform, iterations=32, **options):
    return _direct(transform, inversion=GriffinLim(iterations=iterations), **options)


#: Title -> codec for a sample rate.
CODECS: dict[str, Callable[[int], object]] = {
    "waveform": lambda _: Codec(Waveform(), head=Direct(), inversion=Inverse()),
    "frames of 1024, overlapped by half": lambda _: Codec(
        Frames(size=1024), head=Direct(), inversion=Inverse()
    ),
    "STFT 1024 / 256, mixture phase": lambda _: _direct(STFT()),
    "STFT 2048 / 512, mixture phase": lambda _: _direct(_LONG),
    "STFT 2048 / 512, log": lambda _: _direct(_LONG, scale=Log()),
    "STFT 2048 / 512, dB": lambda _: _direct(_LONG, scale=Decibels(-100)),
    "STFT 2048 / 512, dB, MIN-MAX": lambda _: _direct(_LONG, scale=Decibels(-100), normalizer=MinMax()),
    "STFT 2048 / 512, dB, CMVN": lambda _: _direct(_LONG, scale=Decibels(-100), normalizer=CMVN()),
    "STFT 2048 / 512, Griffin-Lim 32": lambda _: _inverted(_LONG),
    "STFT 2048 / 512, Griffin-Lim 100": lambda _: _inverted(_LONG, 100),
    "128 mel bands, mixture phase": lambda rate: _direct(Mel(sample_rate=rate, n_mels=128)),
    "512 mel bands, mixture phase": lambda rate: _direct(Mel(sample_rate=rate)),
    "128 mel bands, Griffin-Lim 32": lambda rate: _inverted(Mel(sample_rate=rate, n_mels=128)),
    "512 mel bands, Griffin-Lim 32": lambda rate: _inverted(Mel(sample_rate=rate)),
    "512 mel bands, dB, Griffin-Lim 32": lambda rate: _inverted(Mel(sample_rate=rate), scale=Decibels(-100)),
    "512 mel bands, Griffin-Lim 100": lambda rate: _inverted(Mel(sample_rate=rate), 100),
}


def main(arguments: list[str]) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.experiments.round_trip", description=__doc__)
    parser.add_argument("files", metavar="FILE", nargs="*")
    parser.add_argument("--seconds", type=float, default=15.0, help="of each file, from its start")
    parser.add_argument("--json", default=str(_RESULTS))
    options = parser.parse_args(arguments)
    try:
        sounds = [_read(path, options.seconds) for path in options.files]
    except UserError as error:
        print(f"benchmarks.experiments.round_trip: {error}", file=sys.stderr)
        return 2
    if not sounds:
        sounds = [(sum(song(options.seconds, 22050).values()), 22050)]
    rows = measure(sounds)
    print(f"{'dB':38}{'SNR':>8}{'SI-SDR':>8}{'spectrum':>10}")
    for title, row in rows.items():
        print(f"{title:38}{row['snr']:8.1f}{row['si_sdr']:8.1f}{row['spectral']:10.1f}")
    saved = {
        "command": "python -m benchmarks.experiments.round_trip [FILE ...]",
        "sounds": [Path(f).name for f in options.files] or ["jaxsep.examples.song"],
        "results": rows,
    }
    Path(options.json).write_text(json.dumps(saved, indent=2) + "\n")
    return 0


def measure(sounds: list[tuple[np.ndarray, int]]) -> dict[str, dict[str, float]]:
    """Mean figures, dB, of every representation over ``(samples, Hz)`` sounds."""
    rows = {}
    for title, make in CODECS.items():
        losses = [round_trip_loss(make(rate), sound) for sound, rate in sounds]
        figures = {f: np.mean([float(getattr(x, f)) for x in losses]) for f in losses[0]._fields}
        rows[title] = {f: round(float(value), 2) for f, value in figures.items()}
    return rows


def _read(path, seconds):
    """The start of a file, mixed down, and its Hz."""
    rate, audio = read_track({"sound": Path(path)})
    return audio["sound"].mean(axis=0)[: round(seconds * rate)], rate


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
