"""``python -m benchmarks.growth [OPERATION ...] [-o FOLDER] [--record]``: how cost grows.

Each operation is timed warm, in turn over the sizes of one axis at a time: length, batch, channels (of one
problem, or rows of a batch) and devices, of which one is simulated for each core. The exponent is the slope
of time over size in the last half of the sizes: 1 where twice as much takes twice as long. Written are
FOLDER/OPERATION.png, and with ``--record`` benchmarks/results/growth.json.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.record import cores, environment

_RESULTS = Path(__file__).parent / "results" / "growth.json"
_RATE = 22050
#: Timings of a size, after a warm call; their median counts.
_ROUNDS = 5


def _noise(*shape):
    import jax

    return jax.device_put(np.random.default_rng(0).standard_normal(shape, np.float32))


def _seconds(amount):
    return round(amount * _RATE)


def _transform(name, *, length=3, batch=8, channels=1):
    """A transform of ``(batch, channels, samples)``."""
    import jaxsep

    x = _noise(batch, channels, _seconds(length))
    if name == "stft":
        return jaxsep.stft, x
    if name == "mel":
        return partial(jaxsep.melspectrogram, sample_rate=_RATE), x
    spectrum = jaxsep.stft(x)
    if name == "istft":
        return partial(jaxsep.istft, length=x.shape[-1]), spectrum
    return partial(jaxsep.griffin_lim, n_iter=8, length=x.shape[-1]), abs(spectrum)


def _ica(name, *, length=3, batch=4, channels=4):
    """Blind separation of mixtures, by a fixed number of steps."""
    from jaxsep.bss import auxiva, fastica, infomax

    call = {
        "fastica": lambda x: fastica(x, tol=1e-12, max_iter=20).sources,
        "infomax": lambda x: infomax(x, tol=1e-12, max_iter=20).sources,
        "auxiva": partial(auxiva, n_iter=5),
    }[name]
    return call, _noise(batch, channels, _seconds(length))


def _bss_eval(*, length=3, batch=2, channels=2):
    """Scores of so many sources."""
    import jax.numpy as jnp

    from jaxsep.metrics import bss_eval_sources

    s = _noise(batch, channels, _seconds(length))
    pair = jnp.stack([s, s + 0.1 * s[:, ::-1]], axis=1)
    return (lambda pair: bss_eval_sources(pair[:, 0], pair[:, 1], permute=False).sdr), pair


def _separation(*, length=12, batch=1, channels=1):
    """The masks and waveforms of ``speech_live``, on waveforms of its rate."""
    from jaxsep.separator import Separator

    separator = Separator.from_pretrained("speech_live")
    samples = round(length * separator.sample_rate)
    return partial(separator.system.separate_channels, separator.variables), _noise(batch * channels, samples)


_TIMES, _BATCHES = (1, 2, 4, 8, 16), (1, 2, 4, 8, 16)
#: Operation -> (what makes the call and its argument, sizes by axis). Devices share the largest batch.
OPERATIONS: dict[str, tuple[Callable, dict[str, tuple[int, ...]]]] = {
    **{
        name: (partial(_transform, name), {"length": _TIMES, "batch": _BATCHES, "channels": (1, 2, 4, 8)})
        for name in ("stft", "istft", "mel", "griffin_lim")
    },
    **{
        name: (partial(_ica, name), {"length": _TIMES, "batch": _BATCHES, "channels": (2, 3, 4, 6, 8)})
        for name in ("fastica", "infomax")
    },
    "auxiva": (
        partial(_ica, "auxiva"),
        {"length": (1, 2, 4, 8), "batch": (1, 2, 4, 8), "channels": (2, 3, 4)},
    ),
    "bss_eval": (_bss_eval, {"length": _TIMES, "batch": (1, 2, 4, 8), "channels": (2, 3, 4, 5)}),
    "separation": (_separation, {"length": (6, 12, 24, 48), "batch": (1, 2, 4)}),
}
_UNITS = {"length": "length, s", "batch": "batch", "channels": "channels or sources", "devices": "devices"}


def measure(name: str, axis: str, sizes: tuple[int, ...]) -> dict:
    """Time an operation over the sizes of an axis; its row.

    Example:
      >>> row = measure("stft", "batch", (1, 2))
      >>> row["operation"], row["sizes"], len(row["ms"])
      ('stft', [1, 2], 2)
    """
    make = OPERATIONS[name][0]
    calls = [_on_devices(make, n) if axis == "devices" else _jitted(*make(**{axis: n})) for n in sizes]
    times: list[list[float]] = [[] for _ in calls]
    for call in calls:
        call()
    for _ in range(_ROUNDS):
        for call, found in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            found.append(time.perf_counter() - start)
    ms = [round(1e3 * float(np.median(t)), 3) for t in times]
    return {"operation": name, "axis": axis, "sizes": list(sizes), "ms": ms, "exponent": exponent(sizes, ms)}


def exponent(sizes, times) -> float:
    """Slope of log time over log size in the last half of the sizes.

    Example:
      >>> exponent([1, 2, 4, 8], [5.0, 6.0, 8.0, 32.0])
      2.0
    """
    from_half = (len(sizes) - 1) // 2 + (len(sizes) > 2 and len(sizes) % 2 == 0)
    x, y = np.log(sizes[from_half:]), np.log(times[from_half:])
    return round(float(np.polyfit(x, y, 1)[0]), 2)


def _jitted(call, x):
    import jax

    program = jax.jit(call)
    return lambda: jax.block_until_ready(program(x))


def _on_devices(make, count):
    """The largest batch, spread over so many devices."""
    import jax

    from benchmarks.timing import over_devices

    call, x = make(batch=16)
    program, spread = over_devices(call, count), over_devices(lambda x: x, count)(x)
    return lambda: jax.block_until_ready(program(spread))


def draw(name: str, rows: list[dict], path: Path) -> None:
    """Draw the rows of an operation: time over size, an axis each, with its exponent."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.9 * len(rows), 2.6), layout="constrained")
    for place, row in zip(np.atleast_1d(figure.subplots(1, len(rows))), rows, strict=True):
        place.loglog(row["sizes"], row["ms"], marker=".")
        place.set_title(f"{name}, exponent {row['exponent']:.2f}", fontsize=9)
        place.set_xlabel(_UNITS[row["axis"]])
        place.set_ylabel("ms")
    figure.savefig(path, dpi=110)


def table(rows: list[dict]) -> str:
    """Exponents as a Markdown table, an operation a row."""
    lines = ["| operation | " + " | ".join(_UNITS.values()) + " |", "|---" * (1 + len(_UNITS)) + "|"]
    for name in dict.fromkeys(row["operation"] for row in rows):
        own = {row["axis"]: row["exponent"] for row in rows if row["operation"] == name}
        cells = [f"{own[axis]:.2f}" if axis in own else "-" for axis in _UNITS]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("names", metavar="OPERATION", nargs="*", help=f"of {', '.join(OPERATIONS)}; all")
    parser.add_argument("-o", "--out", default="growth", metavar="FOLDER")
    parser.add_argument("--record", action="store_true", help="write benchmarks/results/growth.json too")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.names if name not in OPERATIONS]:
        print(f"benchmarks.growth: {unknown[0]}: expected some of {', '.join(OPERATIONS)}", file=sys.stderr)
        return 2
    if options.record and options.names:
        print("benchmarks.growth: --record: keeps all operations; name none", file=sys.stderr)
        return 2
    os.environ.setdefault("XLA_FLAGS", f"--xla_force_host_platform_device_count={cores()}")
    import jax

    out, rows = Path(options.out), []
    out.mkdir(parents=True, exist_ok=True)
    devices = tuple(n for n in (1, 2, 4, 8, 16) if n <= len(jax.devices()))
    for name in options.names or OPERATIONS:
        axes = dict(OPERATIONS[name][1])
        if len(devices) > 1 and name != "separation":
            axes["devices"] = devices
        own = [measure(name, axis, sizes) for axis, sizes in axes.items()]
        jax.clear_caches()
        draw(name, own, out / f"{name}.png")
        rows += own
    if options.record:
        record = {"command": "python -m benchmarks.growth --record", **environment(), "rows": rows}
        _RESULTS.write_text(json.dumps(record, indent=1) + "\n")
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
