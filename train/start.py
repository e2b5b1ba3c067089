"""The state that a run starts from: of its newest whole checkpoint, another model's weights, or fresh."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp

from jaxsep.errors import UserError
from jaxsep.fine_tuning import start_from
from jaxsep.hub import find_model, load_model
from jaxsep.parts import from_dict, to_dict
from jaxsep.training import init_state
from train import hosts
from train.config import TrainConfig, changed_fields
from train.program import rated_optimizer


def starting_state(runs, checkpoints, place):
    """The state to start from: of the newest whole checkpoint, another model's weights, or fresh."""
    newest = hosts.told(lambda: checkpoints.newest_whole(runs.logs[0].say))
    # One step without checksums is a first save that was cut short; several have lost them.
    if newest is None and (checkpoints.steps() or len(checkpoints.unchecked()) > 1):
        hosts.told(lambda: _start_over(runs, checkpoints))
    checkpoints.reload()
    if len(runs.configs) > 1:
        return _start_stacked(runs, checkpoints, newest)
    config, log = runs.config, runs.logs[0]
    state = init_state(runs.system, config.optimizer(config.steps), config.seed, ema=config.ema_decay > 0)
    _check_fine_tuning(config, state)
    if newest is None:
        return _fine_tuned(config, state, log) if config.init_from else state
    saved = checkpoints.config(newest)
    _resume(runs, 0, saved["config"], saved["notes"])
    log.say(f"resuming at step {newest}")
    return checkpoints.state(newest, place(state))


def _start_over(runs, checkpoints):
    """Move damaged checkpoints and the models that came of them aside, where that was asked for."""
    steps = checkpoints.steps() + checkpoints.unchecked()
    if not runs.config.from_scratch:
        raise UserError(
            f"{runs.folder}: none of its {len(steps)} checkpoints is whole; put back a copy of them, give "
            "another --out, or start over with --from-scratch, which moves them aside"
        )
    for step in steps:
        place = checkpoints.set_aside(step)
    for out in runs.outs:
        if (out / "best").exists():
            (out / "best").rename(place.parent / f"best of {out.name} before {place.name}")
    runs.logs[0].say(f"starting over; the damaged checkpoints are in {place.parent}")


def _resume(runs, i, saved_config, notes):
    """Take up the notes of run i; refuse another config or other recordings, unless changes are allowed."""
    config = runs.configs[i]
    try:
        before = to_dict(from_dict(TrainConfig, saved_config))  # with the fields that are newer
    except ValueError as error:
        raise UserError(
            f"{config.out}: the config in its checkpoint cannot be read ({error}); give another --out"
        ) from error
    changes = changed_fields(before, to_dict(config))
    if notes["data"]["train"] != runs.data["train"]:
        changes.append("the recordings to train on")
    if changes and not config.allow_changes:
        raise UserError(
            f"{config.out}: was trained with another config ({'; '.join(changes[:4])}); "
            "give another --out, or --allow-changes"
        )
    if notes["data"]["valid"] == runs.data["valid"]:
        runs.notes[i] = {**notes, "data": runs.data}


def _start_stacked(runs, checkpoints, newest):
    config = runs.config
    optimizer = rated_optimizer(config, 1.0)
    each = [init_state(runs.system, optimizer, c.seed, ema=config.ema_decay > 0) for c in runs.configs]
    _check_fine_tuning(config, each[0])
    if newest is None and config.init_from:
        each = [_fine_tuned(*run) for run in zip(runs.configs, each, runs.logs, strict=True)]
    states = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
    if newest is None:
        return states
    saved = checkpoints.config(newest)
    for i, (config, notes) in enumerate(zip(saved["configs"], saved["notes"], strict=True)):
        _resume(runs, i, config, notes)
    runs.failed = dict(saved["failed"])
    return checkpoints.state(newest, states)


def _check_fine_tuning(config, state):
    try:
        config.fine_tuning.check(state.params)
    except ValueError as error:
        raise UserError(f"{config.out}: {error}") from error


def _fine_tuned(config, state, log):
    """The fresh state with those weights of ``config.init_from`` that fit."""
    system, other, _ = load_model(find_model(config.init_from))
    start = start_from({"params": state.params, "batch_stats": state.model_state}, other)
    if len(start.fresh) == len(jax.tree.leaves(start.variables)):
        raise UserError(
            f"init_from={config.init_from}: none of its arrays fits this network by name and shape "
            f"(it has {', '.join(start.unused[:3])}, ...)"
        )
    log.say(f"starting from the weights of {config.init_from}")
    if system.config.sources != config.system.sources:
        log.say(f"  its sources are {', '.join(system.config.sources)}")
    for title, names in (("fresh", start.fresh), ("not used", start.unused)):
        if names:
            log.say(f"  {title}: {len(names)} arrays: {', '.join(names[:6])}{', ...' * (len(names) > 6)}")
    ema = jax.tree.map(jnp.copy, start.variables) if state.ema else {}
    return replace(
        state, params=start.variables["params"], ema=ema, model_state=start.variables["batch_stats"]
    )
