"""``python -m benchmarks [NAME ...]``: print a table and write JSON lines to benchmarks/results/.

``gpu`` is run alone and by its name only: all that an accelerator is for, on the one that is here.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import sys
import traceback
from dataclasses import asdict
from math import isnan
from pathlib import Path

NAMES = (
    "stft",
    "train_step",
    "step_memory",
    "sweep",
    "augment",
    "input",
    "fastica",
    "auxiva",
    "bss_eval",
    "spleeter",
)


def main(names: list[str]) -> int:
    """Run the named benchmarks, or all."""
    if names == ["gpu"]:
        gpu = importlib.import_module("benchmarks.gpu")
        return 0 if all(row.get("agrees", True) for row in gpu.main()["rows"]) else 1
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        print(f"benchmarks: {unknown[0]}: expected some of {', '.join(NAMES)}, or gpu alone", file=sys.stderr)
        return 2
    # One simulated device a core: XLA's CPU FFT runs on one core per device.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    failed = False
    for name in names or NAMES:
        pid = os.fork() if hasattr(os, "fork") else 0
        if pid:
            failed |= os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0
            continue
        devices = 1 if name in ("train_step", "sweep", "augment", "input", "spleeter") else cores
        os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices}"
        try:
            _run(name)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return 1 if failed else 0


def _run(name):
    import jax

    def say(text):
        print(f"  {text}", flush=True)

    device = f"{jax.device_count()} x {jax.devices()[0].device_kind}"
    print(f"{name}: jax {jax.__version__}, {device}, {platform.machine()}", flush=True)
    load = round(os.getloadavg()[0], 2)
    results = importlib.import_module(f"benchmarks.{name}").run(say)
    folder = Path(__file__).parent / "results"
    folder.mkdir(exist_ok=True)
    head = {
        "command": f"python -m benchmarks {name}",
        "jax": jax.__version__,
        "device": device,
        "load": load,
    }
    with open(folder / f"{name}.jsonl", "w") as file:
        for result in results:
            print(
                f"  {result.case:40} {result.peer:18} ours {result.ours_ms:8.2f} ms  "
                f"peer {result.peer_ms:8.2f} ms  {result.ratio:6.2f}x  error {result.error:.1e}"
            )
            file.write(
                json.dumps({**head, **asdict(result), "error": None if isnan(result.error) else result.error})
                + "\n"
            )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
