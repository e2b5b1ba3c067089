"""Rows of benchmarks: what they were measured on, what changed between two sets, and a picture of them."""

from __future__ import annotations

import datetime
import json
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxsep.errors import UserError


def environment() -> dict[str, Any]:
    """What a row was measured on: date, revision, versions, processor, devices, load."""
    import jax

    from train.log import environment as of_runs

    found = of_runs()
    devices = jax.devices()
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": found["versions"].get("git", ""),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "numpy": found["versions"]["numpy"],
        "processor": processor(),
        "cores": cores(),
        "device": f"{len(devices)} x {devices[0].device_kind}",
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def command_line(module: str, *arguments: object) -> str:
    """A command as records name it: a path below ``JAXSEP_DATA`` by that variable, any other by its name.

    What has spaces stands in quotes.

    Example:
      >>> command_line("benchmarks.experiments.songs", "vocals", "--voice-level", "10")
      'python -m benchmarks.experiments.songs vocals --voice-level 10'
    """
    return " ".join(["python -m", module, *(_portable(str(argument)) for argument in arguments)])


def _portable(argument):
    path, data = Path(argument), os.environ.get("JAXSEP_DATA")
    if data and path.is_absolute() and path.is_relative_to(data):
        return f"$JAXSEP_DATA/{path.relative_to(data)}"
    name = path.name if path.is_absolute() else argument
    return f'"{name}"' if " " in name else name


def cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peak_bytes(usage) -> int:
    """Largest resident set that ``resource`` or ``os.wait4`` tells of."""
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def processor() -> str:
    """The processor's name, as far as the system says it.

    Example:
      >>> bool(processor())
      True
    """
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def read_rows(path: str | Path) -> list[dict[str, Any]]:
    """Rows of a file of JSON lines, or of all such files of a folder.

    Raises:
      UserError: there is none, or it is no JSON.
    """
    path = Path(path)
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path] if path.exists() else []
    if not files:
        raise UserError(f"{path}: no rows of benchmarks; expected a folder of .jsonl files, or one of them")
    try:
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]
    except ValueError as error:
        raise UserError(f"{path}: not JSON lines ({error})") from error


def write_rows(path: str | Path, rows: list[dict[str, Any]]) -> None:
    """Write rows as JSON lines; those there that were measured by other versions of JAX stay, behind them."""
    path, versions = Path(path), {row["jax"] for row in rows}
    kept = [row for row in read_rows(path) if row.get("jax") not in versions] if path.exists() else []
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, *kept]))


def compared(before: list[dict], now: list[dict]) -> Iterator[str]:
    """Say how the ratios to the peers changed, case by case; within the spread of both nothing has.

    Example:
      >>> row = dict(case="stft", peer="librosa", ratio=2.0, spread=0.05)
      >>> list(compared([row], [dict(row, ratio=3.0)]))
      ['stft, librosa: 2.00 -> 3.00 times (+50 %)']
    """
    old = {(row["case"], row["peer"]): row for row in before}
    for row in now if before else ():
        known = old.get((row["case"], row["peer"]))
        name = f"{row['case']}, {row['peer']}"
        if known is None:
            yield f"{name}: new"
            continue
        change = row["ratio"] / known["ratio"] - 1
        spread = (row.get("spread") or 0.0) + (known.get("spread") or 0.0)
        text = f"{known['ratio']:.2f} -> {row['ratio']:.2f} times"
        yield f"{name}: {text} ({'within the spread' if abs(change) <= spread else f'{100 * change:+.0f} %'})"


def plot(rows: list[dict], path: str | Path) -> None:
    """Draw each case's ratio to its peer, with its spread, on a logarithmic axis."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1 + 0.28 * len(rows)), layout="constrained")
    axis = figure.subplots()
    labels = [f"{row['case']}  |  {row['peer']}".replace("$", r"\$") for row in rows]
    ratios = [row["ratio"] for row in rows]
    spreads = [row["ratio"] * (row.get("spread") or 0.0) for row in rows]
    axis.barh(labels, ratios, xerr=spreads, color=["tab:blue" if r >= 1 else "tab:orange" for r in ratios])
    axis.axvline(1.0, color="gray", linewidth=1)
    axis.set_xscale("log")
    axis.invert_yaxis()
    axis.set_xlabel("times as fast as the peer")
    figure.savefig(path, dpi=120)
