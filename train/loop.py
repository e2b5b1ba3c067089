"""The training loop: read a batch, take THE step, log, validate, save; stop and resume exactly."""

from __future__ import annotations

import dataclasses
import signal
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from jaxsep.compilation import compiler_options
from jaxsep.config import from_dict, to_dict
from jaxsep.errors import UserError
from jaxsep.separator import find_model
from jaxsep.store import Checkpoints, load_model, run_lock, save_model
from jaxsep.system import System
from jaxsep.training import init_state, make_optimizer, train_step
from train.batches import batches, make_examples, make_validation
from train.config import TrainConfig, changed_fields
from train.log import Log
from train.recipes import open_part
from train.validate import validate


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


def run(config: TrainConfig) -> int:
    """Train as ``config`` says; return the exit status."""
    out = Path(config.out).expanduser()
    with run_lock(out), Log(out, config) as log:
        system = System(config.system)
        train_bank = part_bank(config, "train", log)
        valid_bank = part_bank(config, "valid", log)
        with Stop() as stop:
            return _train(config, out, system, train_bank, valid_bank, log, stop)


def _train(config, out, system, train_bank, valid_bank, log, stop) -> int:
    """Take the steps that are left; save, validate and stop between them."""
    optimizer = make_optimizer(config.optimizer, config.steps)
    checkpoints = Checkpoints(out, config.keep)
    place = _Placement(config.batch_size)
    state, notes = _start(config, system, optimizer, checkpoints, train_bank, valid_bank, log)
    state = place.state(state)
    step = jax.jit(
        partial(train_step, optimizer=optimizer, **config.step_options()),
        donate_argnums=0,
        compiler_options=compiler_options(config.system.network),
    )
    sources, count = config.system.sources, config.steps * config.batch_size
    examples = make_examples(train_bank, config.data, sources, config.seed, config.read_samples, count)
    recordings = make_validation(valid_bank, config.data, sources)
    number = first = int(state.step)
    log.start(first, config.steps)

    def validate_if_due():
        due = number and (number % config.valid_every == 0 or number == config.steps)
        if due and notes["validated"] != number:
            validate_run(config, out, system, state, recordings, notes, log, stop)

    def save():
        log.flush()
        checkpoints.save(number, state, {"config": to_dict(config), "notes": notes})

    if notes["validated"] != first:  # the validation that a signal cut short
        validate_if_due()
        if notes["validated"] == first > 0:
            save()
    for number, batch in enumerate(
        batches(examples, config.batch_size, first, config.data.threads), first + 1
    ):
        state, metrics = step(state, place.batch(batch))
        log.step(number, metrics, track_names(train_bank, batch))
        validate_if_due()
        if number % config.save_every == 0 or number == config.steps or stop:
            save()
        if stop:
            log.say(f"stopped at step {number}; the same command goes on from here")
            return 128 + stop.signal
    checkpoints.close()
    log.say(f"done: {number} steps; the model is in {out / 'best'}")
    return 0


class _Placement:
    """Puts the state on every device and a part of the batch on each."""

    def __init__(self, batch_size: int):
        devices = jax.devices()
        if batch_size % len(devices):
            raise UserError(f"batch_size={batch_size}: expected a multiple of the {len(devices)} devices")
        mesh = jax.sharding.Mesh(np.array(devices), ("batch",))
        self._whole = NamedSharding(mesh, PartitionSpec())
        self._parts = NamedSharding(mesh, PartitionSpec("batch"))

    def state(self, state):
        return jax.device_put(state, self._whole)

    def batch(self, batch):
        arrays = {k: batch[k] for k in ("sources", "weight", "id")}
        put = partial(jax.make_array_from_process_local_data, self._parts)
        return jax.tree.map(put, arrays)


def track_names(bank, batch):
    """Names of the recordings of a batch."""
    return [bank.names[i] for i in batch["track"].ravel() if i >= 0]


def part_bank(config, name, log):
    """Decode the recordings of one folder, and list what could not be used."""
    option = f"data.{name}"
    bank = open_part(config, name)
    minutes = bank.lengths.sum() / bank.sample_rate / 60
    log.say(f"{option}: {len(bank.names)} recordings, {minutes:.1f} minutes")
    for line in bank.skipped:
        log.say(f"{option}: skipped {line}")
    return bank


def _start(config, system, optimizer, checkpoints, train_bank, valid_bank, log):
    """The state to start from, of the newest whole checkpoint, another model, or fresh; and notes."""
    state = init_state(system, optimizer, config.seed, ema=config.ema_decay > 0)
    data = {"train": train_bank.digest(), "valid": valid_bank.digest()}
    notes = {"score": None, "validated": 0, "data": data}
    newest = checkpoints.newest_whole(log.say)
    if newest is None:
        return (_fine_tuned(config, system, state, log) if config.init_from else state), notes
    saved = checkpoints.config(newest)
    before = to_dict(from_dict(TrainConfig, saved["config"]))  # with the fields that are newer
    changes = changed_fields(before, to_dict(config))
    if saved["notes"]["data"]["train"] != data["train"]:
        changes.append("the recordings to train on")
    if changes and not config.allow_changes:
        raise UserError(
            f"{config.out}: was trained with another config ({'; '.join(changes[:4])}); "
            "give another --out, or --allow-changes"
        )
    log.say(f"resuming at step {newest}")
    if saved["notes"]["data"]["valid"] == data["valid"]:
        notes = {**saved["notes"], "data": data}
    return checkpoints.state(newest, state), notes


def _fine_tuned(config, system, state, log):
    """The fresh state with the weights of ``config.init_from``."""
    other, variables, _ = load_model(find_model(config.init_from))
    same = other.config.sources == system.config.sources and other.config.codec == system.config.codec
    wanted = {"params": state.params, "batch_stats": state.model_state}
    given = {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}
    if not same or jax.tree.map(jnp.shape, wanted) != jax.tree.map(jnp.shape, given):
        raise UserError(
            f"init_from={config.init_from}: has another network, codec or sources than this config "
            f"(its sources are {', '.join(other.config.sources)})"
        )
    log.say(f"starting from the weights of {config.init_from}")
    params = jax.tree.map(jnp.asarray, given["params"])
    ema = jax.tree.map(jnp.copy, given) if state.ema else {}
    return dataclasses.replace(state, params=params, ema=ema, model_state=given["batch_stats"])


def validate_run(config, out, system, state, recordings, notes, log, stop):
    """Score the validation recordings; publish the model to ``best/`` when none was better."""
    number = int(state.step)
    result = validate(system, state.variables(), recordings, config.examples, stop)
    if result is None:
        return
    log.validation(number, result)
    notes["validated"] = number
    if notes["score"] is not None and result.score <= notes["score"]:
        return
    notes["score"] = result.score
    scores = {
        stem: {"si_sdri": value, "tracks": len(recordings.names)} for stem, value in result.mean.items()
    }
    info = {"name": out.name, "step": number, "scores": {"validation": scores}}
    save_model(out / "best", system, jax.device_get(state.variables()), info=info)
