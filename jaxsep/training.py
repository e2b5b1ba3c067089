"""THE training step: one pure function for every network, on one device or many.

A complete run on arrays::

    system = System(SystemConfig(network=LSTMMask(layers=1, width=64)))
    optimizer = Adam(learning_rate=1e-3)()
    state = init_state(system, optimizer, seed=0)
    step = jax.jit(partial(train_step, system=system, loss=SNR(), optimizer=optimizer))
    for sources in batches:         # (batch, sources, channels, samples) float32
        state, metrics = step(state, make_batch(sources))
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxsep._checks import as_float, standard_promotion
from jaxsep._sharding import step_on_each_device
from jaxsep.augment import AugmentConfig, augment
from jaxsep.fine_tuning import FineTuning, map_named
from jaxsep.fsdp import gathered
from jaxsep.losses import domains_of, loss_of
from jaxsep.parts import find, names
from jaxsep.precision import Precision, network_in
from jaxsep.system import System, SystemConfig


def check_loss(loss: Any, config: SystemConfig) -> None:
    """Raise ValueError when ``loss`` reads what the estimates of such a system do not have.

    Example:
      >>> from jaxsep.losses import SNR
      >>> check_loss(SNR(), SystemConfig())
    """
    missing = sorted(domains_of(loss) - config.codec.domains)
    if missing:
        reads = {name: getattr(find("loss", name), "reads", None) for name in names("loss")}
        fitting = [
            name for name, read in reads.items() if isinstance(read, str) and read in config.codec.domains
        ]
        raise ValueError(
            f"loss.name={loss.name!r}: reads {', '.join(missing)}, which the codec of this config does not "
            f"estimate; fitting losses are {', '.join(fitting)}"
        )
    getattr(loss, "requires", lambda system: None)(config)


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["step", "params", "model_state", "opt_state", "ema", "skipped", "seed"],
    meta_fields=[],
)
@dataclass(frozen=True)
class TrainState:
    """All that changes in training, and the seed: what a checkpoint holds."""

    step: jax.Array
    """int32: steps taken."""
    params: Any
    model_state: Any
    """Statistics of batch normalization; may be empty."""
    opt_state: Any
    ema: Any
    """The network's variables with the exponential moving average of the parameters, and of the
    statistics, which belong to the parameters of their time; empty when it is off."""
    skipped: jax.Array
    """int32: steps in which something was not finite, and which changed nothing."""
    seed: jax.Array = field(default_factory=lambda: jnp.uint32(0))
    """uint32: all randomness of a step follows from it and from ``step``."""

    def variables(self, average: bool = True) -> dict:
        """Variables for the network: of the averaged parameters where there are any."""
        now = {"params": self.params, "batch_stats": self.model_state}
        return self.ema if average and self.ema else now


def init_state(system: System, optimizer, seed: int = 0, ema: bool = False) -> TrainState:
    """Return the state before the first step, drawn from ``seed``."""
    variables = system.init(jax.random.key(seed))
    params, statistics = variables["params"], variables.get("batch_stats", {})
    average = {"params": params, "batch_stats": statistics}
    return TrainState(
        step=jnp.int32(0),
        params=params,
        model_state=statistics,
        opt_state=optimizer.init(params),
        ema=jax.tree.map(jnp.copy, average) if ema else {},
        skipped=jnp.int32(0),
        seed=jnp.uint32(seed),
    )


def make_batch(sources, weight=None, example_id=None) -> dict[str, jax.Array]:
    """Return the batch that :func:`train_step` takes.

    Args:
      sources: ``(batch, sources, channels, samples)`` float32 waveforms, whose sum is the mixture; or
        ``(batch, sources, samples)`` of one channel.
      weight: ``(batch,)`` weights in loss and statistics, 0 for padding; 1 when None.
      example_id: ``(batch,)`` uint32, different within the batch; randomness of an example
        follows from it. Its place in the batch when None.

    Raises:
      ValueError: integers.
    """
    sources = as_float("sources", sources)
    size = sources.shape[0]
    return {
        "sources": sources[:, :, None] if sources.ndim == 3 else sources,
        "weight": jnp.ones(size, jnp.float32) if weight is None else jnp.asarray(weight, jnp.float32),
        "id": jnp.arange(size, dtype=jnp.uint32)
        if example_id is None
        else jnp.asarray(example_id, jnp.uint32),
    }


@standard_promotion
@step_on_each_device
def train_step(
    state: TrainState,
    batch: dict[str, jax.Array],
    *,
    system: System,
    loss: Any,
    optimizer: optax.GradientTransformation,
    augmentation: AugmentConfig = AugmentConfig(),
    length: int | None = None,
    ema_decay: float = 0.0,
    tuning: FineTuning = FineTuning(),
    teacher: Callable[[jax.Array], jax.Array] | None = None,
    precision: Precision = "float32",
    accumulate: int = 1,
    remat: bool = False,
    axis_name: str | None = None,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """Take one training step.

    Mixes, encodes, estimates, and follows the gradient of the weighted mean of the loss over the
    whole batch. A step is counted and changes nothing else when its loss, its gradient, its update or
    its statistics of batch norm are not finite (or the square of their norm is not, in float32).

    Args:
      state: the state before.
      batch: what :func:`make_batch` returns; under ``axis_name`` this device's part of it.
      system, loss, optimizer, augmentation: what is trained, for what, how.
      length: samples that are left of the sources after augmentation; all when None.
      ema_decay: decay of the moving average of the parameters, for a state made with ``ema``.
      tuning: what of the network is trained, and how fast.
      teacher: what the estimates are compared with, given the ``(batch, sources, channels, samples)``
        sources; the sources themselves when None. See :mod:`jaxsep.distillation`.
      precision, remat: in which numbers the network is computed, and whether to compute again in the reverse
        pass what is cheap; see :mod:`jaxsep.precision`.
      accumulate: parts that the batch is cut into, one computed after another, whose gradients are summed:
        that of the whole batch in a part of the memory. Batch norm sees each part on its own.
      axis_name: mapped device axis (``shard_map``, ``pmap``); None under plain ``jit``, sharded
        or not. All four give the same gradients. A batch that is spread over explicit mesh axes runs
        under ``shard_map`` by itself; a ``teacher`` must then not close over traced arrays.

    Returns:
      The state after, and scalars: ``loss``, ``grad_norm``, ``param_norm``, ``update_norm``,
      ``finite``.
    """
    task = dict(system=system, loss=loss, augmentation=augmentation, length=length, teacher=teacher)
    how = dict(tuning=tuning, precision=precision, accumulate=accumulate, remat=remat, axis_name=axis_name)
    found = batch_gradient(state, batch, **task, **how)
    own = dict(network=system.config.network, optimizer=optimizer, tuning=tuning, ema_decay=ema_decay)
    return apply_gradient(state, *found, **own)


@standard_promotion
def apply_gradient(
    state: TrainState,
    gradients,
    value,
    model_state,
    *,
    network: Any,
    optimizer: optax.GradientTransformation,
    tuning: FineTuning = FineTuning(),
    ema_decay: float = 0.0,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """The second half of :func:`train_step`: follow what :func:`batch_gradient` returned.

    Args:
      state: the state before.
      gradients, value, model_state: of the whole batch, over all devices.
      network: the part, which says what of it is never trained.
      optimizer, tuning, ema_decay: as :func:`train_step` takes them.
    """
    rate = _rates(network, tuning)

    def updates():
        change, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        return map_named(lambda name, leaf: rate(name) * leaf, change), opt_state

    # Twice, here for its norm alone: what is kept for a step that may not count costs more.
    norms = {
        "grad_norm": optax.tree.norm(gradients),
        "param_norm": optax.tree.norm(state.params),
        "update_norm": optax.tree.norm(updates()[0]),
    }
    # Finite norms before and of the change bound every parameter after it.
    finite = jnp.isfinite(sum(norms.values()) + value + optax.tree.norm(model_state))

    def update(_):
        change, opt_state = updates()
        params = optax.apply_updates(state.params, change)
        ema = _average(state, {"params": params, "batch_stats": model_state}, ema_decay)
        return params, model_state, opt_state, ema

    def keep(_):
        return state.params, state.model_state, state.opt_state, state.ema

    params, model_state, opt_state, ema = jax.lax.cond(finite, update, keep, None)
    skipped = state.skipped + jnp.where(finite, 0, 1).astype(jnp.int32)
    new = TrainState(state.step + 1, params, model_state, opt_state, ema, skipped, state.seed)
    metrics = {"loss": value, **norms, "finite": finite}
    return new, metrics


@standard_promotion
@step_on_each_device
def batch_gradient(
    state,
    batch,
    *,
    system,
    loss,
    augmentation=AugmentConfig(),
    length=None,
    tuning=FineTuning(),
    teacher=None,
    precision="float32",
    accumulate=1,
    remat=False,
    axis_name=None,
    spread=None,
):
    """Return the gradient of the weighted mean loss, the loss and the new model state.

    ``spread``, by parameter, is the dimension by which ``state.params`` are spread over ``axis_name``, or
    -1 (:mod:`jaxsep.fsdp`); their gradients come back spread alike. All are whole when it is None.
    """
    rate, apply = _rates(system.config.network, tuning), network_in(system.network, precision, remat)
    length = length or batch["sources"].shape[-1]
    total = jnp.sum(batch["weight"])
    total_weight = jnp.maximum(_sum(total, axis_name), jnp.finfo(total.dtype).tiny)

    def objective(params, statistics, batch):
        keys, weight = example_keys(state.seed, state.step, batch["id"]), batch["weight"]
        sources = jax.vmap(partial(augment, augmentation, length=length))(keys[:, 0], batch["sources"])
        reference = sources if teacher is None else teacher(sources)
        whole = params if spread is None else gathered(params, spread, axis_name)
        trained = map_named(lambda n, leaf: leaf if rate(n) else jax.lax.stop_gradient(leaf), whole)
        variables = {"params": trained, "batch_stats": statistics}
        estimates, encoded, model_state = system.forward(
            variables,
            jnp.sum(sources, axis=1),
            train=tuning.statistics == "batch",
            key=keys[:, 1],
            mask=weight,
            axis_name=axis_name,
            apply=apply,
        )
        each = example_loss(loss, system, estimates, encoded, reference)
        return jnp.sum(jnp.where(weight > 0, weight * each, 0.0)) / total_weight, model_state

    params = state.params
    parts = spread or jax.tree.map(lambda _: -1, params)
    if axis_name is not None:
        # Without this, shard_map's gradient of replicated parameters is already summed over the
        # devices, and summing or averaging it again is silently wrong.
        varying = partial(jax.lax.pcast, axis_name=axis_name, to="varying")
        params = jax.tree.map(lambda p, part: varying(p) if part < 0 else p, params, parts)
    gradient = jax.value_and_grad(objective, has_aux=True)
    (value, model_state), gradients = _in_parts(
        partial(gradient, params), state.model_state, batch, accumulate
    )
    gradients = jax.tree.map(lambda g, part: _sum(g, axis_name) if part < 0 else g, gradients, parts)
    return gradients, _sum(value, axis_name), model_state


def _in_parts(gradient, statistics, batch, count):
    """Sum ``gradient(statistics, part)`` over parts of a batch, each with the statistics the last left."""
    size = len(batch["weight"])
    if count == 1:
        return gradient(statistics, batch)
    if size % count:
        raise ValueError(f"accumulate={count}: expected a divisor of the {size} examples of a device")
    parts = jax.tree.map(lambda x: x.reshape(count, size // count, *x.shape[1:]), batch)
    first, rest = jax.tree.map(lambda x: x[0], parts), jax.tree.map(lambda x: x[1:], parts)

    def add(carry, part):
        (value, statistics), gradients = carry
        (more, statistics), further = gradient(statistics, part)
        return ((value + more, statistics), jax.tree.map(jnp.add, gradients, further)), None

    # XLA's CPU compiler takes its slow convolutions inside a loop: 17 times as long for a U-Net.
    unroll = count - 1 if jax.default_backend() == "cpu" else 1
    return jax.lax.scan(add, gradient(statistics, first), rest, unroll=unroll)[0]


def example_keys(seed, step, ids: jax.Array) -> jax.Array:
    """Keys ``(batch, 2)`` of the examples ``ids`` of a step: for augmentation, and for the network.

    Example:
      >>> example_keys(0, 5, jnp.arange(4)).shape
      (4, 2)
    """
    step_key = jax.random.fold_in(jax.random.key(seed), step)
    return jax.vmap(lambda i: jax.random.split(jax.random.fold_in(step_key, i)))(ids)


def example_loss(loss: Any, system: System, estimates, encoded, sources) -> jax.Array:
    """``(batch,)`` losses of estimates against ``(batch, sources, channels, samples)`` sources.

    Args:
      loss, system: what is trained for what.
      estimates, encoded: what :meth:`System.forward` returned.
      sources: in the unit of the mixture.

    Raises:
      ValueError: the system's estimates lack what the loss reads.
    """
    check_loss(loss, system.config)
    reference = system.config.codec.reference(encoded, sources / encoded.level[:, None, None, None])
    return loss_of(loss, estimates, reference)


@standard_promotion
@step_on_each_device
def eval_step(
    state: TrainState, batch, *, system: System, loss: Any, axis_name: str | None = None
) -> dict[str, jax.Array]:
    """Return the loss of a batch under the averaged parameters, without augmentation or dropout.

    Returns:
      ``loss`` (weighted sum over the batch and ``axis_name``) and ``weight`` (its divisor).
    """
    sources, weight = batch["sources"], batch["weight"]
    estimates, encoded, _ = system.forward(state.variables(), jnp.sum(sources, axis=1))
    each = example_loss(loss, system, estimates, encoded, sources)
    total = jnp.sum(jnp.where(weight > 0, weight * each, 0.0))
    return {"loss": _sum(total, axis_name), "weight": _sum(jnp.sum(weight), axis_name)}


def _rates(network, tuning):
    """What the learning rate of a parameter is multiplied by, by its name; 0 where it is frozen.

    The update is multiplied, not the gradient: weight decay would move frozen parameters too.
    """
    frozen = getattr(network, "frozen", lambda name: False)
    return lambda name: 0.0 if frozen(name) else tuning.rate(name)


def _sum(x, axis_name):
    return x if axis_name is None else jax.lax.psum(x, axis_name)


def _average(state, variables, decay):
    """Moving average that follows closely at first: its decay rises to ``decay``."""
    if not state.ema:
        return state.ema
    warm = (1.0 + state.step) / (10.0 + state.step)
    decay = jnp.minimum(decay, warm)
    return jax.tree.map(lambda a, v: decay * a + (1 - decay) * v, state.ema, variables)
