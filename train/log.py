"""Run logging: lines on the terminal, ``log.jsonl``, and the boards of :mod:`train.boards`."""

from __future__ import annotations

import contextlib
import datetime
import json
import platform
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxsep.errors import UserError
from jaxsep.files import read_json_lines, write_atomically
from jaxsep.parts import to_dict
from train.boards import Board, boards
from train.clock import Clock, matmul_peak
from train.config import TrainConfig
from train.hosts import first


class Log:
    """The log of a run; a resumed run's holds each step once."""

    def __init__(self, out: Path, config: TrainConfig):
        self._out, self._config = out, config
        self._pending: list[tuple[int, dict, list[str]]] = []
        self._bad, self._last_good, self._clock = 0, 0, (0, 0.0)
        self._writes = first()
        self._peak: float | None = None
        self._progress: Any = None
        self._task: Any = None
        self._boards: list[Board] = []

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if self._progress:
            self._progress.stop()
        for board in self._boards:
            board.close(kind is not None)

    def say(self, text: str) -> None:
        """Print a line; on the first host alone."""
        if not self._writes:
            return
        (self._progress.console if self._progress else self).print(text)

    def print(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def start(self, step: int, total: int, clock: Clock, program: Any) -> None:
        """Begin (again) after ``step``: forget what was logged of later steps."""
        self._time, self._program = clock, program
        self._clock, self._last_good = (step, time.perf_counter()), step
        if not self._writes:
            return
        for name, value in (("config", to_dict(self._config)), ("environment", environment())):
            write_atomically(self._out / f"{name}.json", (json.dumps(value, indent=2) + "\n").encode())
        self._boards = boards(self._out, step, self._config.wandb, to_dict(self._config))
        path = self._out / "log.jsonl"
        if path.exists():
            lines = [x for x in path.read_text().splitlines() if _step_of(x) <= step]
            write_atomically(path, "".join(f"{x}\n" for x in lines).encode())
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress

            self._progress = Progress(console=Console(stderr=True))
            self._progress.start()
            self._task = self._progress.add_task("training", total=total, completed=step)

    def step(self, number: int, metrics: dict, tracks: list[str]) -> None:
        """Note the metrics of a step; every ``log_every`` steps read and write them."""
        self._pending.append((number, metrics, tracks))
        if self._progress:
            self._progress.update(self._task, completed=number)
        if number % self._config.log_every == 0:
            self.flush()

    def flush(self) -> None:
        """Read the noted metrics from the device, write their means, stop a run gone bad."""
        if not self._pending:
            return
        values = [{k: float(v) for k, v in metrics.items()} for _, metrics, _ in self._pending]
        self._check(values)
        number = self._pending[-1][0]
        self._pending = []
        good = [v for v in values if v["finite"]] or values
        row = {k: float(np.mean([v[k] for v in good])) for k in values[0] if k != "finite"}
        before, clock = self._clock
        self._clock = (number, time.perf_counter())
        seconds = (self._clock[1] - clock) / max(1, number - before)
        skipped = len(values) - sum(v["finite"] for v in values)
        row = {"step": number, **row, "skipped": int(skipped), "seconds_per_step": seconds}
        self._write(row | self._speed(number - before))
        if self._progress:
            self._progress.update(self._task, description=f"training, loss {row['loss']:.4f}")
        left = (self._config.steps - number) * seconds
        if not self._progress:
            total = self._config.steps
            self.say(
                f"step {number}/{total}  loss {row['loss']:.4f}  {seconds:.2f} s/step  {_clock(left)} left"
            )

    def _speed(self, steps):
        """Where the time went since the last row, and how much was done in it."""
        config, lap = self._config, self._time.lap(self._clock[0])
        examples = config.batch_size * steps / max(1e-9, lap["stepping"] + lap.get("waiting", 0.0))
        row = {f"seconds/{what}": value for what, value in lap.items()}
        row |= {"examples_per_second": examples, "audio_per_second": examples * config.data.seconds}
        if self._program.flops and lap["stepping"]:
            self._peak = self._peak or matmul_peak()
            row["flops_per_second"] = self._program.flops * steps / lap["stepping"]
            row["share_of_matmul_peak"] = row["flops_per_second"] / self._peak
        schedule = getattr(config.optimizer, "schedule", None)
        if schedule is not None:
            rate = schedule(config.optimizer.learning_rate, config.steps)
            row["learning_rate"] = float(rate(self._clock[0]))
        return row

    def validation(self, number: int, result) -> None:
        """Write the scores of a validation, and its audio and spectrograms."""
        self.flush()
        scores = {f"valid/{name}": value for name, value in result.mean.items()}
        share = self._time.share("validating")
        row = {"step": number, "valid/score": result.score, **scores}
        self._write({**row, "valid/share_of_time": round(share, 4)})
        text = ", ".join(f"{name} {value:+.2f}" for name, value in result.mean.items())
        self.say(f"step {number}: SI-SDR improvement on validation {result.score:+.2f} dB ({text})")
        self._clock = (number, time.perf_counter())
        rate = self._config.system.sample_rate
        for name, signals in result.examples.items() if self._boards else ():
            for stem, audio in signals.items():
                peak = max(1.0, float(np.max(np.abs(audio))))
                for board in self._boards:
                    board.sound(number, f"{name}/{stem}", audio / peak, rate)

    def _check(self, values):
        for (number, _, tracks), value in zip(self._pending, values, strict=True):
            if value["finite"]:
                self._bad, self._last_good = 0, number
                continue
            self._bad += 1
            self.say(f"step {number}: loss, gradient or update not finite; it changes nothing")
            if self._bad >= self._config.max_bad_steps:
                raise UserError(
                    f"{self._out}: loss, gradient or update not finite in steps {self._last_good + 1} "
                    f"to {number}; the last good step is {self._last_good}; recordings of step "
                    f"{number}: {', '.join(sorted(set(tracks))[:8])}; lower "
                    "optimizer.learning_rate or set optimizer.clip_norm, then start again with "
                    "--allow-changes: it goes on from the last checkpoint, which is finite"
                )

    def _write(self, row):
        if not self._writes:
            return
        with open(self._out / "log.jsonl", "a") as file:
            file.write(json.dumps(row) + "\n")
        for board in self._boards:
            board.scalars(row["step"], {key: value for key, value in row.items() if key != "step"})


def environment() -> dict[str, Any]:
    """What a run runs on: git revision, versions, devices, hosts and date."""
    versions = {"python": platform.python_version()}
    for package in ("jaxsep", "jax", "jaxlib", "flax", "optax", "numpy", "orbax-checkpoint", "grain"):
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = version(package)
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40"]
    with contextlib.suppress(OSError):
        versions["git"] = subprocess.run(git, capture_output=True, text=True).stdout.strip()
    devices = jax.devices()
    return {
        "versions": versions,
        "devices": f"{len(devices)} x {devices[0].device_kind} ({devices[0].platform})",
        "hosts": jax.process_count(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def read_log(out: Path) -> list[dict[str, Any]]:
    """Return the entries of a run's ``log.jsonl``; none before there is one."""
    return read_json_lines(out / "log.jsonl")


def _step_of(line):
    """The step of a log line; a line cut short by a crash counts as later than any."""
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError):
        return sys.maxsize


def _clock(seconds):
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
