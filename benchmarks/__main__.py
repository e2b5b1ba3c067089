"""``python -m benchmarks [NAME ...]``: ours beside each peer, in one process, called in turn.

Rows go to ``--out`` (a folder, ``benchmarks-out`` here unless said otherwise) as JSON lines, each with
date, revision, processor, versions and the spread of its timings; rows by another version of JAX stay there.
``--record`` writes them to benchmarks/results/, the record that the documents quote. ``--compare OLD`` says
what changed since another folder's or file's rows, ``--plot FILE`` draws the ratios. ``gpu`` is run alone and
by its name only: all that an accelerator is for, on the one that is here.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import traceback
from dataclasses import asdict
from importlib.metadata import version
from math import isnan
from pathlib import Path

from benchmarks.record import compared, cores, environment, plot, read_rows, write_rows
from jaxsep.errors import UserError

NAMES = (
    "stft",
    "stft_alone",
    "train_step",
    "train_step_bound",
    "step_memory",
    "sweep",
    "augment",
    "input",
    "fastica",
    "auxiva",
    "bss_eval",
    "spleeter",
    "separation",
)
#: Those that run on one device; others simulate one for each core, over which our functions spread.
ONE_DEVICE = (
    "stft_alone",
    "train_step",
    "train_step_bound",
    "sweep",
    "augment",
    "input",
    "spleeter",
    "separation",
)
RECORD = Path(__file__).parent / "results"


def main(arguments: list[str]) -> int:
    """Run the named benchmarks, or all; return the exit status."""
    options = _parser().parse_args(arguments)
    if options.list:
        for name in NAMES:
            print(f"{name:12} {_purpose(name)}")
        print(f"{'gpu':12} {_purpose('gpu')}")
        return 0
    if options.names == ["gpu"]:
        gpu = importlib.import_module("benchmarks.gpu")
        return 0 if all(row.get("agrees", True) for row in gpu.main()["rows"]) else 1
    unknown = [name for name in options.names if name not in NAMES]
    if unknown:
        print(f"benchmarks: {unknown[0]}: expected some of {', '.join(NAMES)}, or gpu alone", file=sys.stderr)
        return 2
    folder = RECORD if options.record else Path(options.out)
    before = read_rows(options.compare) if options.compare else []
    before = _by_this_jax(before) or before
    folder.mkdir(parents=True, exist_ok=True)
    done = [name for name in options.names or NAMES if _apart(name, folder) == 0]
    failed = len(done) < len(options.names or NAMES)
    rows = [row for name in done for row in _by_this_jax(read_rows(folder / f"{name}.jsonl"))]
    for line in compared(before, rows):
        print(line)
    if options.plot:
        plot(rows, options.plot)
    print(f"rows: {folder}")
    return 1 if failed else 0


def _by_this_jax(rows):
    return [row for row in rows if row.get("jax") == version("jax")]


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", metavar="NAME", nargs="*", help="some of --list (default: all but gpu)")
    parser.add_argument("--list", action="store_true", help="say what there is")
    parser.add_argument("--out", default="benchmarks-out", metavar="FOLDER", help="where rows go")
    parser.add_argument("--record", action="store_true", help="write to the repository's record instead")
    parser.add_argument("--compare", metavar="OLD", help="say what changed since a folder's or a file's rows")
    parser.add_argument("--plot", metavar="FILE", help="draw the ratios to a PNG")
    return parser


def _purpose(name):
    """The first line of a benchmark's documentation, read without importing it."""
    text = (Path(__file__).parent / f"{name}.py").read_text()
    line = text.split('"""')[1].split("\n")[0]
    return line.rsplit("``: ", 1)[-1]


def _apart(name, folder):
    """Run a benchmark in a process of its own, as many devices as it wants; return its status."""
    pid = os.fork() if hasattr(os, "fork") else 0
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    # One simulated device a core: XLA's CPU FFT runs on one core per device.
    devices = 1 if name in ONE_DEVICE else cores()
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices}"
    try:
        _run(name, folder)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    sys.stdout.flush()
    os._exit(0)


def _run(name, folder):
    def say(text):
        print(f"  {text}", flush=True)

    head = {"command": f"python -m benchmarks {name}", **environment()}
    print(f"{name}: jax {head['jax']}, {head['device']}, {head['processor']}", flush=True)
    results = importlib.import_module(f"benchmarks.{name}").run(say)
    rows = []
    for result in results:
        print(
            f"  {result.case:40} {result.peer:18} ours {result.ours_ms:8.2f} ms  "
            f"peer {result.peer_ms:8.2f} ms  {result.ratio:6.2f}x  error {result.error:.1e}"
        )
        row = {k: None if isinstance(v, float) and isnan(v) else v for k, v in asdict(result).items()}
        rows.append({**head, **row})
    write_rows(folder / f"{name}.jsonl", rows)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        sys.exit(f"benchmarks: {error}")
