"""``python .ci/peak.py [--limit GB] COMMAND ...``: run a command, print its time and its peak memory.

Memory is the sum of the proportional set sizes (shared pages counted once) of the command and all its
descendants, sampled every second. Where /proc has none (macOS), the command is only run and
timed. The exit status is the command's, or 1 when it passed but needed more than ``--limit``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=float, metavar="GB")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    start = time.monotonic()
    process = subprocess.Popen(options.command)
    peak = 0
    while process.poll() is None:
        peak = max(peak, sum(map(memory, family(process.pid))))
        time.sleep(1)
    minutes, seconds = divmod(round(time.monotonic() - start), 60)
    print(f"{minutes}:{seconds:02} minutes, peak of all processes {peak / 1e9:.2f} GB", flush=True)
    if process.returncode == 0 and options.limit and peak > options.limit * 1e9:
        print(f"more than {options.limit} GB", file=sys.stderr)
        return 1
    return process.returncode


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    found = [pid]
    for parent in found:  # grows while it is read
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += map(int, task.read_text().split())
            except OSError:  # ended meanwhile
                continue
    return found


def memory(pid: int) -> int:
    """Proportional set size in bytes."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


if __name__ == "__main__":
    sys.exit(main())
