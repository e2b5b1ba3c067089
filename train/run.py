"""The training loop: read a batch, take THE step, log, validate, save; stop and resume exactly.

One run, or several of one shape at once: runs that differ in seed and learning rate alone are stacked and
trained as one program, because small networks do not fill an accelerator. On several hosts all of them go
through this together; the first writes (:mod:`train.hosts`). Read :func:`train` top to bottom.
"""

from __future__ import annotations

import functools
import hashlib
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxsep.checkpoints import Checkpoints, run_lock
from jaxsep.errors import UserError
from jaxsep.hub import save_model
from jaxsep.parts import to_dict
from jaxsep.system import System
from train import hosts
from train.clock import Clock
from train.config import TrainConfig
from train.data.batches import batches
from train.data.placed import Placed
from train.data.recipes import open_part
from train.log import Log
from train.program import Program
from train.start import starting_state
from train.validate import validate


def run(config: TrainConfig) -> int:
    """Train as ``config`` says; return the exit status.

    Raises:
      UserError: something that the user can mend, such as a run that went bad.
    """
    status, failed = run_together([config])
    if failed:
        raise UserError(failed[config.out])
    return status


def run_together(configs: list[TrainConfig]) -> tuple[int, dict[str, str]]:
    """Train runs of one shape; return the exit status, and why runs failed, by their folder.

    Each run leaves its log and its best model in its own folder. The checkpoints of one run are there too;
    those of several at once are in a folder beside them. The same call goes on from there.
    """
    if len(configs) > 1 and hosts.several():
        raise UserError(f"{len(configs)} runs at once: stacked runs are trained on one host")
    with ExitStack() as stack:
        outs = [Path(c.out).expanduser() for c in configs]
        for out in outs:
            hosts.held(run_lock(out), stack)
        logs = [stack.enter_context(Log(out, c)) for out, c in zip(outs, configs, strict=True)]
        runs = Runs(configs, outs, logs)
        with Stop() as stop:
            status = train(runs, stop)
    return status, runs.failed


def train(runs: Runs, stop: Stop) -> int:
    """Take the steps that are left of every run; save, validate and stop between them."""
    config, program = runs.config, Program(runs.configs, runs.placed)
    checkpoints = Checkpoints(runs.folder, config.keep)
    state = program.place(starting_state(runs, checkpoints, program.place))
    number = first = int(np.max(state.step))
    trace = tracer(config)
    clock = Clock()
    for log in runs.logs:
        log.start(first, config.steps, clock, program)

    def save():
        runs.flush()
        with clock.at("saving"):
            checkpoints.save(number, state, runs.saved())

    def validate():
        with clock.at("validating"):
            return _validate_if_due(runs, program, state, number, stop)

    try:
        # A signal may have cut the validation of the last step short; it comes before the next step.
        # Its step is saved already; what it found is with the next save, or found again.
        if first and first != runs.validated:
            validate()
        if stop and not hosts.several():
            return 128 + stop.signal
        for number, batch in enumerate(clock.waiting(runs.batches(first)), first + 1):
            if runs.settled:  # as a run that is started again may be
                break
            trace(number, state)
            # The arrays of a step are still being computed when the next batch is read.
            state, metrics = program.step(state, program.put(batch, bool(stop)), clock)
            runs.log(number, metrics, batch)
            validate()
            stopping = program.stops(stop)  # a signal that comes while this saves stops the next step
            if number % config.save_every == 0 or number == config.steps or stopping or runs.settled:
                save()
            if not runs.alive:
                break
            if stopping:
                checkpoints.wait()
                runs.logs[0].say(f"stopped at step {number}; the same command goes on from here")
                return 128 + (stop.signal or signal.SIGTERM)
    finally:
        trace(-1, state)
        checkpoints.close()
    number = int(np.max(state.step))
    if runs.settled:
        runs.logs[0].say(f"stopped at step {number}: validation has not improved for {config.patience}")
    for i in runs.alive:
        runs.logs[i].say(f"done: {number} steps; the model is in {runs.outs[i] / 'best'}")
    return 0


def tracer(config: TrainConfig):
    """A function of the step that profiles ``config.profile``'s steps into the run folder; -1 ends it."""
    start, stop = config.profile
    running = False

    def trace(number, state):
        nonlocal running
        if running == (start <= number < stop):
            return
        jax.block_until_ready(state)  # so that the trace holds these steps and no others
        if not running:
            jax.profiler.start_trace(Path(config.out).expanduser() / "profile")
            running = True
        else:
            jax.profiler.stop_trace()
            running = False

    return trace


class Stop:
    """Notes SIGTERM and SIGINT, so that the loop saves before it ends."""

    def __init__(self):
        self.signal = 0

    def __enter__(self):
        handled = (signal.SIGTERM, signal.SIGINT)
        self._before = {s: signal.signal(s, self._note) for s in handled}
        return self

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number, _frame):
        self.signal = number

    def __bool__(self):
        return self.signal != 0


class Runs:
    """Runs that share all but their seeds, learning rates and folders: their data, logs and notes."""

    def __init__(self, configs: list[TrainConfig], outs: list[Path], logs: list[Log]):
        self.configs, self.outs, self.logs = configs, outs, logs
        self.config, self.system = configs[0], System(configs[0].system)
        self.failed: dict[str, str] = {}
        self.bank = _open(self.config, "train", logs[0])
        valid = _open(self.config, "valid", logs[0])
        self.recordings = self.config.data.recipe.validation(
            self.config.data, valid, self.config.system.sources
        )
        self.data = {"train": self.bank.digest(), "valid": valid.digest()}
        self.notes: list[dict] = [{"score": None, "validated": 0, "data": self.data} for _ in configs]

    @functools.cached_property
    def placed(self) -> Placed | None:
        """The examples of the only run, where they are made on the device."""
        config = self.config
        place = getattr(config.data.recipe, "placed", None)
        if not config.data.on_device:
            return None
        if len(self.configs) > 1 or place is None:
            reason = "several runs at once" if len(self.configs) > 1 else f"recipe {config.data.recipe.name}"
            raise UserError(f"data.on_device=True: {reason} cannot; set it to False")
        return place(config.data, self._examples(config.seed), round(config.data.device_gib * 2**30))

    @property
    def folder(self) -> Path:
        """Where the checkpoints are: the run's folder, or one for the group."""
        if len(self.outs) == 1:
            return self.outs[0]
        names = hashlib.sha256("\n".join(out.name for out in self.outs).encode()).hexdigest()[:12]
        return self.outs[0].parent / f"together-{names}"

    @property
    def validated(self) -> int:
        """The step that every run was validated at last."""
        return min(notes["validated"] for notes in self.notes)

    @property
    def settled(self) -> bool:
        """Whether no run's best score is of the last ``patience`` validations."""
        patience = self.config.patience
        return bool(patience) and all(self.notes[i].get("since", 0) >= patience for i in self.alive)

    @property
    def alive(self) -> list[int]:
        """Runs that have not gone bad."""
        return [i for i, c in enumerate(self.configs) if c.out not in self.failed]

    def saved(self) -> dict:
        """What a checkpoint says of the runs."""
        if len(self.configs) == 1:
            return {"config": to_dict(self.config), "notes": self.notes[0]}
        return {"configs": [to_dict(c) for c in self.configs], "notes": self.notes, "failed": self.failed}

    def batches(self, first: int) -> Iterator[list[dict]]:
        """The runs' batches of each step from ``first`` on; runs of one seed share theirs."""
        config = self.config
        seeds = list(dict.fromkeys(c.seed for c in self.configs))
        places = [seeds.index(c.seed) for c in self.configs]

        def stream(seed):
            examples: Any = self.placed or self._examples(seed)
            return batches(
                examples,
                config.batch_size,
                first,
                config.data.threads,
                spread=len(self.configs) == 1,
                parts=config.accumulate,
                distinct=config.data.distinct,
            )

        for each in zip(*map(stream, seeds), strict=True):
            yield [each[place] for place in places]

    def _examples(self, seed):
        """The examples of a run, by random access."""
        config = self.config
        drawn = config.system.sources, seed, config.read_samples, config.steps * config.batch_size
        return config.data.recipe.examples(config.data, self.bank, *drawn)

    def log(self, number: int, metrics: dict, batch: list[dict]) -> None:
        """Note the metrics of a step; a run gone bad goes no further."""
        for i in self.alive:
            own = metrics if len(self.configs) == 1 else {k: v[i] for k, v in metrics.items()}
            self._guard(i, partial(self.logs[i].step, number, own, self.names(batch[i])))

    def flush(self) -> None:
        """Write what was noted."""
        for i in self.alive:
            self._guard(i, self.logs[i].flush)

    def names(self, batch: dict) -> list[str]:
        """Names of the recordings of a batch."""
        return [self.bank.names[i] for i in batch["track"].ravel() if i >= 0]

    def _guard(self, i, act):
        try:
            act()
        except UserError as error:
            if len(self.configs) == 1:
                raise
            self.failed[self.configs[i].out] = str(error)
            self.logs[i].say(str(error))


def _open(config, part, log):
    """Decode the recordings of one folder, and list what could not be used.

    The first host decodes; where the others see its cache they map it, elsewhere each decodes its own.
    """
    if hosts.several():
        hosts.told(lambda: open_part(config, part) and None)
    bank = open_part(config, part)
    hosts.same(bank.digest(), f"the recordings of data.{part}")
    minutes = bank.lengths.sum() / bank.sample_rate / 60
    log.say(f"data.{part}: {len(bank.names)} recordings, {minutes:.1f} minutes")
    longest = bank.lengths.max() / bank.sample_rate
    if part == "train" and longest < config.data.seconds:
        log.say(f"data.seconds={config.data.seconds}: longer than every recording, at most {longest:.2f} s")
    for line in bank.skipped:
        log.say(f"data.{part}: skipped {line}")
    return bank


def _validate_if_due(runs, program, state, number, stop) -> bool:
    """Score the validation recordings every so often; publish what scores best. Whether all was scored."""
    if number % runs.config.valid_every and number != runs.config.steps:
        return False
    runs.flush()
    for i in runs.alive:
        if runs.notes[i]["validated"] != number:
            validate_run(runs, i, program.gathered(program.one(state, i).variables()), number, stop)
    return runs.validated == number


def validate_run(runs: Runs, i: int, variables, number: int, stop: Stop) -> None:
    """Validate run i; publish its model to ``best/`` when none of its was better."""
    notes, out, system = runs.notes[i], runs.outs[i], runs.system
    result = validate(system, variables, runs.recordings, runs.configs[i].examples, stop)
    if result is None:
        return
    runs.logs[i].validation(number, result)
    notes["validated"] = number
    notes["since"] = notes.get("since", 0) + 1
    if notes["score"] is not None and result.score <= notes["score"]:
        return
    notes["score"], notes["since"] = result.score, 0
    if not hosts.first():
        return
    tracks = len(runs.recordings.names)
    scores = {stem: {"si_sdri": value, "tracks": tracks} for stem, value in result.mean.items()}
    info = {"name": out.name, "step": number, "scores": {"validation": scores}}
    save_model(out / "best", system, jax.device_get(variables), info=info)
