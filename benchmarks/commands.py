"""``python -m benchmarks.commands [NAME ...] [--minutes 1 10 60]``: commands' peak memory, by length.

Every command runs in a process of its own, on stereo noise at 44.1 kHz (for `evaluate` two stems of it and
their estimates). Printed are the largest resident set of that process and the time, start included.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.record import command_line, environment, peak_bytes

_RESULTS = Path(__file__).parent / "results" / "commands.json"
_RATE = 44100


def _separate(folder, minutes, model="vocals"):
    return ["separate", "-q", "-m", model, "-o", folder / "out", _noise(folder / "song.flac", minutes, 0)]


def _ica(folder, minutes):
    mics = [_noise(folder / f"mic{i}.flac", minutes, i) for i in range(2)]
    return ["ica", "-q", "-o", folder / "out", *mics]


def _evaluate(folder, minutes):
    for i, stem in enumerate(("vocals", "accompaniment")):
        _noise(folder / "references" / "song" / f"{stem}.flac", minutes, i)
        _noise(folder / "estimates" / "song" / f"{stem}.flac", minutes, i + 2)
    return ["evaluate", folder / "references", folder / "estimates"]


COMMANDS: dict[str, Callable] = {
    "separate": _separate,
    "separate -m sounds": partial(_separate, model="sounds"),
    "separate -m speech_live": partial(_separate, model="speech_live"),
    "ica": _ica,
    "evaluate": _evaluate,
}


def measure(name: str, minutes: float) -> dict:
    """Run a command on so many minutes of sound; its row."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = COMMANDS[name](Path(folder), minutes)
        begun = time.perf_counter()
        command = [sys.executable, "-m", "jaxsep", *arguments]
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - begun
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"jaxsep {name}: ended with {child.returncode}")
    row = {"command": f"jaxsep {name}", "minutes": minutes, "peak_gb": round(peak_bytes(usage) / 1e9, 2)}
    return {**row, "seconds": round(seconds, 1)}


def _noise(path, minutes, seed):
    """Noise of so many minutes, written piece by piece: this process stays small."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng, left = np.random.default_rng(seed), round(minutes * 60 * _RATE)
    with soundfile.SoundFile(path, "w", _RATE, 2) as file:
        while left > 0:
            count = min(left, 1_000_000)
            file.write(0.1 * rng.standard_normal((count, 2), np.float32))
            left -= count
    return path


def main() -> int:
    """Measure, print, and with ``--record`` keep the rows."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.commands", description=__doc__)
    parser.add_argument("names", metavar="NAME", nargs="*", help=f"some of {', '.join(COMMANDS)}")
    parser.add_argument("--minutes", type=float, nargs="+", default=[1.0, 10.0, 60.0])
    parser.add_argument("--record", action="store_true", help=f"put the rows into {_RESULTS.name}")
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in COMMANDS]:
        parser.error(f"{unknown[0]}: expected some of {', '.join(COMMANDS)}")
    for name in options.names or COMMANDS:
        for minutes in options.minutes:
            row = measure(name, minutes)
            print("{command}, {minutes:g} minutes: {peak_gb} GB, {seconds} s".format(**row), flush=True)
            if options.record:
                by = command_line(
                    "benchmarks.commands", shlex.quote(name), "--minutes", f"{minutes:g}", "--record"
                )
                _keep({**row, "recorded by": by, **environment()})
    return 0


def _keep(row):
    """Put a row into the record, in place of an earlier one of the same command and length."""
    rows = json.loads(_RESULTS.read_text()) if _RESULTS.exists() else []
    same = (row["command"], row["minutes"])
    rows = [other for other in rows if (other["command"], other["minutes"]) != same]
    _RESULTS.write_text(json.dumps([*rows, row], indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
