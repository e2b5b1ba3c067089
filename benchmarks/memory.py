"""``python -m benchmarks.memory [CASE ...]``: peak memory beyond input and result, of long input.

Each case runs in a process of its own on noise of the length said; printed are the arrays that it is
given and gives back, and by how much the process grew beyond them at its peak, compilation included.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.record import environment, peak_bytes

_RESULTS = Path(__file__).parent / "results" / "memory.json"


def _bss_eval():
    from jaxsep.metrics import bss_eval_images

    s = _noise(4, 2, 600 * 44100)
    e = s + 0.1 * s[::-1]
    return [s, e], lambda: bss_eval_images(s, e, permute=False, window=44100, hop=44100, dtype="float64")


def _separate():
    from jaxsep.separator import Separator

    separator = Separator.from_pretrained("vocals")
    x = _noise(2, 600 * 44100)
    return [x], lambda: separator(x, 44100)


def _fastica():
    import jax

    from jaxsep import fastica

    x = jax.device_put(_noise(8, 600 * 44100))
    return [x], lambda: fastica(x)


def _infomax():
    import jax

    from jaxsep.bss import infomax

    x = jax.device_put(_noise(8, 600 * 44100))
    return [x], lambda: infomax(x, max_iter=5)


#: Name -> (title, function that makes the arrays and the call).
CASES: dict[str, tuple[str, Callable]] = {
    "bss_eval": ("BSS Eval of images, 10 min, 4 stereo sources, 44.1 kHz, frames of 1 s, float64", _bss_eval),
    "separate": ("Separator('vocals'), 10 min of stereo, 44.1 kHz", _separate),
    "fastica": ("FastICA, 10 min of 8 channels, 44.1 kHz", _fastica),
    "infomax": ("Infomax, 5 steps over 10 min of 8 channels, 44.1 kHz", _infomax),
}


def main(arguments: list[str]) -> int:
    """Run the cases, each in its own process."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("names", metavar="CASE", nargs="*", help=f"of {', '.join(CASES)}; all when none")
    names = parser.parse_args(arguments).names
    if unknown := [name for name in names if name not in CASES]:
        print(f"benchmarks.memory: {unknown[0]}: expected some of {', '.join(CASES)}", file=sys.stderr)
        return 2
    rows = []
    for name in names or CASES:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.memory", "--child", name],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            env={**os.environ, "JAX_PLATFORMS": "cpu"},
        )
        rows.append(json.loads(done.stdout))
        print("{title}: arrays {arrays_gb} GB, {beyond_gb} GB beyond them, {seconds} s".format(**rows[-1]))
    if not names:
        _RESULTS.write_text(json.dumps([{**row, **environment()} for row in rows], indent=1) + "\n")
    return 0


def _measure(name):
    title, make = CASES[name]
    arrays, call = make()
    start = time.perf_counter()
    import jax

    results = jax.block_until_ready(call())
    seconds = time.perf_counter() - start
    size = sum(x.nbytes for x in [*arrays, *jax.tree.leaves(results)])
    peak = peak_bytes(resource.getrusage(resource.RUSAGE_SELF))
    return {
        "command": f"python -m benchmarks.memory {name}",
        "title": title,
        "arrays_gb": round(size / 1e9, 2),
        "beyond_gb": round((peak - size) / 1e9, 2),
        "seconds": round(seconds, 1),
    }


def _noise(*shape):
    return np.random.default_rng(0).standard_normal(shape, np.float32)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(_measure(sys.argv[2])))
    else:
        sys.exit(main(sys.argv[1:]))
