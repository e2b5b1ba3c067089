"""The compiled step of a run, or of several at once, and what it learns from."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding, PartitionSpec

from jaxsep.compilation import compiler_options
from jaxsep.distillation import as_student, teacher_of
from jaxsep.errors import UserError
from jaxsep.fsdp import spread_dimensions, spread_shardings, spread_specs
from jaxsep.hub import find_model, load_model
from jaxsep.system import System
from jaxsep.training import apply_gradient, batch_gradient, train_step
from train.clock import Clock, operations
from train.config import TrainConfig
from train.data.placed import Placed
from train.hosts import several

_ARRAYS = ("sources", "weight", "id", "drawn")


class Program:
    """The compiled step: of one run, spread over the devices; of several, stacked on the first axis."""

    def __init__(self, configs: list[TrainConfig], placed: Placed | None = None):
        config, self.count = configs[0], len(configs)
        self._stop: Any = None
        self._next_stop: Any = None
        self._compiled: Any
        self.flops: float | None = None
        """Floating-point operations of a step on one device, as XLA counts them; None before the first."""
        options = compiler_options(config.system.network)
        teacher, variables = _teacher(config)
        #: What every device is given whole beside the state: the teacher's variables, the recordings.
        self._given: Any = {"teacher": variables, "audio": placed.arrays if placed else ()}
        render = placed.render if placed else None
        if self.count > 1 and config.fsdp:
            raise UserError("fsdp=True: several runs at once are trained on one device; set it to False")
        if self.count > 1:
            self.rates = jnp.array([c.optimizer.learning_rate for c in configs], jnp.float32)
            step = partial(stacked_step, config, teacher)
            self._compiled = jax.jit(step, donate_argnums=0, compiler_options=options)
            return
        mesh = jax.sharding.Mesh(np.array(jax.devices()), ("batch",))
        if config.accumulate > 1 and config.batch_size % (config.accumulate * mesh.size):
            raise UserError(  # a part of padding alone has no statistics
                f"accumulate={config.accumulate}: expected batch_size={config.batch_size} to be a multiple "
                f"of it times the {mesh.size} devices"
            )
        whole, parts = PartitionSpec(), PartitionSpec("batch")
        self._mesh, self._spreads = mesh, config.fsdp
        self._whole, self._parts = NamedSharding(mesh, whole), NamedSharding(mesh, parts)
        self._gather = jax.jit(lambda tree: tree, out_shardings=self._whole)
        self._given = jax.device_put(self._given, self._whole)
        step = partial(plain_step, config, teacher, render)
        if config.fsdp:
            step = partial(spread_step, config, teacher, render, mesh)
        elif mesh.size > 1:
            own, specs = partial(step, axis_name="batch"), (whole, parts, whole)
            step = jax.shard_map(own, mesh=mesh, in_specs=specs, out_specs=whole)
        self._compiled = jax.jit(step, donate_argnums=0, compiler_options=options)

    def place(self, state):
        """The state on every device, or spread over them."""
        if self.count > 1:
            return state
        if self._spreads:
            return jax.device_put(state, spread_shardings(state, self._mesh, "batch"))
        return jax.device_put(state, self._whole)

    def gathered(self, tree):
        """The same arrays, whole on every device."""
        if self.count > 1 or not self._spreads:
            return tree
        return self._gather(tree)

    def put(self, each: list[dict], stop: bool = False):
        """The runs' batches, stacked; or a part of the only one a device, and whether this host stops."""
        if self.count > 1:
            return {k: np.stack([batch[k] for batch in each]) for k in _ARRAYS if k in each[0]}
        put = partial(jax.make_array_from_process_local_data, self._parts)
        stops = {"stop": put(np.full(jax.local_device_count(), stop, np.float32))} if several() else {}
        return {k: jax.tree.map(put, each[0][k]) for k in _ARRAYS if k in each[0]} | stops

    def memory(self) -> str:
        """What the compiled step takes of a device, in words."""
        found = self._compiled.memory_analysis()
        parts = {"arguments": "argument", "intermediate results": "temp"} if found else {}
        sizes = {what: getattr(found, f"{name}_size_in_bytes") / 2**20 for what, name in parts.items()}
        return ", ".join(f"{what} {size:.1f} MiB" for what, size in sizes.items()) or "memory unknown"

    def stops(self, stop) -> bool:
        """Whether the run stops behind this step: of a signal to this host, or to any of several."""
        if not several():
            return bool(stop)
        return self._stop is not None and float(self._stop) > 0

    def step(self, state, batch, clock: Clock):
        """Take a step of every run, on all devices of all hosts; the first one compiles."""
        rates = (self.rates,) if self.count > 1 else ()
        arguments = (state, batch, *rates, self._given)
        if self.flops is None:
            with clock.at("compiling"):
                self._compiled = self._compiled.lower(*arguments).compile()
            self.flops = operations(self._compiled)
        state, metrics = self._compiled(*arguments)
        # Read a step late, so that reading does not wait for the step.
        self._stop, self._next_stop = self._next_stop, metrics.pop("stop", None)
        return state, metrics

    def one(self, tree, i: int):
        """What belongs to run i."""
        return jax.tree.map(lambda leaf: leaf[i], tree) if self.count > 1 else tree


def plain_step(config: TrainConfig, teacher: System | None, render, state, batch, given, axis_name=None):
    """The step of one run; ``given`` are the teacher's variables and the recordings to ``render`` from."""
    options = config.step_options() | _taught(config, teacher, given) | {"axis_name": axis_name}
    batch = _rendered(render, batch, given)
    stop = batch.pop("stop", None)
    state, metrics = train_step(state, batch, optimizer=config.optimizer(config.steps), **options)
    if stop is not None:  # all hosts hear of a signal to one, in the same step
        metrics["stop"] = jax.lax.psum(jnp.sum(stop), axis_name)
    return state, metrics


def spread_step(config: TrainConfig, teacher: System | None, render, mesh, state, batch, given):
    """The step of one run whose state is spread over the devices (:mod:`jaxsep.fsdp`).

    The gradient is computed under ``shard_map``, each device from its part of the batch; what follows of it
    goes array by array, and XLA lets each device do its own part.
    """
    whole, parts = PartitionSpec(), PartitionSpec("batch")
    options, specs = config.step_options(), spread_specs(state.params, mesh, "batch")
    ema_decay, tuning = options.pop("ema_decay"), options["tuning"]
    states = replace(jax.tree.map(lambda _: whole, state), params=specs, opt_state=(), ema={})

    dimensions = spread_dimensions(state.params, mesh.size)

    def gradient(state, batch, given):
        more = _taught(config, teacher, given) | {"axis_name": "batch", "spread": dimensions}
        return batch_gradient(state, _rendered(render, batch, given), **options, **more)

    batch = dict(batch)
    stop = batch.pop("stop", None)
    own = jax.shard_map(gradient, mesh=mesh, in_specs=(states, parts, whole), out_specs=(specs, whole, whole))
    found = own(replace(state, opt_state=(), ema={}), batch, given)
    network, optimizer = config.system.network, config.optimizer(config.steps)
    new, metrics = apply_gradient(
        state, *found, network=network, optimizer=optimizer, tuning=tuning, ema_decay=ema_decay
    )
    placed = spread_shardings(state, mesh, "batch")
    new = jax.lax.with_sharding_constraint(new, placed)
    if stop is not None:
        metrics["stop"] = jnp.sum(stop)
    return new, jax.lax.with_sharding_constraint(metrics, NamedSharding(mesh, whole))


def _teacher(config):
    """The system and the variables of the model that a run learns from, if any."""
    if not config.distillation.model:
        return None, {}
    system, variables, _ = load_model(find_model(config.distillation.model))
    try:
        if config.distillation.network == "student":
            system = System(config.system)
            variables = as_student(system, variables)
        config.distillation.check(system.config, config.system)
        if not system.config.fits(config.excerpt_samples):
            seconds = system.config.segment / system.config.sample_rate
            raise ValueError(
                f"distillation.model={config.distillation.model}: takes windows of {seconds:.6g} s alone, "
                f"not data.seconds={config.data.seconds}"
            )
    except ValueError as error:
        raise UserError(str(error)) from error
    return system, variables


def _taught(config, teacher, given):
    """The option of a step that learns from a teacher."""
    if teacher is None:
        return {}
    return {"teacher": teacher_of(teacher, given["teacher"], config.distillation.share)}


def _rendered(render, batch, given):
    """A batch with its sources, made of what was drawn where they are not there."""
    if render is None:
        return dict(batch)
    sources = jax.vmap(partial(render, given["audio"]))(batch["drawn"])
    return {"sources": sources, **{name: batch[name] for name in batch if name != "drawn"}}


def rated_optimizer(config: TrainConfig, rate) -> optax.GradientTransformation:
    """The optimizer of ``config`` at another learning rate, which may be traced.

    It multiplies the update of an optimizer of rate 1, which Adam, AdamW, ADADELTA and SGD all allow.
    """
    unit = replace(config.optimizer, learning_rate=1.0)(config.steps)
    return optax.chain(unit, optax.scale(rate))


def rated_step(config: TrainConfig, options, state, batch, rate):
    """The step of one run at a learning rate that may be traced."""
    return train_step(state, batch, optimizer=rated_optimizer(config, rate), **options)


def stacked_step(config, teacher, states, batches, rates, given):
    """An accelerator computes the runs at once; a CPU takes them in turn, which its caches prefer."""
    step = partial(rated_step, config, config.step_options() | _taught(config, teacher, given))
    if jax.default_backend() != "cpu":
        return jax.vmap(step)(states, batches, rates)
    return jax.lax.map(lambda one: step(*one), (states, batches, rates))
