"""THE training step: one pure function for every network, on one device or many.

A complete run on arrays::

    system = System(SystemConfig(network=LSTMMaskConfig(layers=1, width=64)))
    optimizer = make_optimizer(OptimizerConfig(learning_rate=1e-3))
    state = init_state(system, optimizer, seed=0)
    step = jax.jit(partial(train_step, system=system, loss=LossConfig(), optimizer=optimizer))
    for sources in batches:                       # (batch, sources, samples) float32
        state, metrics = step(state, make_batch(sources))
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from jaxsep import losses
from jaxsep.augment import AugmentConfig, augment
from jaxsep.codec.domains import Domain
from jaxsep.system import System, SystemConfig


@dataclass(frozen=True)
class OptimizerConfig:
    """An Optax optimiser and its schedule."""

    name: Literal["adam", "adamw", "adadelta", "sgd"] = "adam"
    learning_rate: float = 1e-3
    """Learning rate at its highest."""
    schedule: Literal["constant", "cosine", "exponential"] = "constant"
    """After the warm-up: stay, fall to zero along a cosine, or fall by ``decay_rate`` a run."""
    warmup_steps: int = 0
    """Steps of linear rise from zero."""
    total_steps: int = 0
    """Steps over which ``cosine`` and ``exponential`` fall; the run's own when 0."""
    decay_rate: float = 0.1
    """What ``exponential`` falls to, as a share of ``learning_rate``."""
    clip_norm: float = 0.0
    """Scale gradients down to this global norm; 0 to leave them."""
    weight_decay: float = 0.0
    """Decoupled weight decay of ``adamw``."""
    beta1: float = 0.9
    beta2: float = 0.999
    rho: float = 0.9
    """Decay of ``adadelta``."""
    epsilon: float = 1e-8


@dataclass(frozen=True)
class LossConfig:
    """Which loss, by the name it has in this table, and its options."""

    name: Literal[
        "magnitude_mse", "magnitude_mae", "discriminative", "feature_mse", "feature_mae",
        "mask_mse", "waveform_mse", "waveform_mae", "si_sdr", "snr",
    ] = "discriminative"  # fmt: skip
    gamma: float = 0.5
    """Weight of the second term of ``discriminative``."""
    target: Literal["binary", "ratio", "wiener", "phase_sensitive"] = "ratio"
    """The ideal masks that ``mask_mse`` compares with."""
    floor_db: float | None = None
    """Of ``snr``, for sources that fall silent: errors this far below the mixture hardly count; None for
    no such floor."""


#: Name of a loss -> the estimates that it reads, and its function of estimate and reference.
LOSSES: dict[str, tuple[Domain, Callable]] = {
    "magnitude_mse": ("magnitudes", losses.magnitude_mse),
    "magnitude_mae": ("magnitudes", losses.magnitude_mae),
    "discriminative": ("magnitudes", losses.discriminative),
    "feature_mse": ("features", losses.magnitude_mse),
    "feature_mae": ("features", losses.magnitude_mae),
    "mask_mse": ("masks", losses.mask_mse),
    "waveform_mse": ("waveforms", losses.waveform_mse),
    "waveform_mae": ("waveforms", losses.waveform_mae),
    "si_sdr": ("waveforms", losses.negative_si_sdr),
    "snr": ("waveforms", losses.negative_snr),
}


def check_loss(loss: LossConfig, config: SystemConfig) -> None:
    """Raise ValueError when ``loss`` reads what the estimates of such a system do not have.

    Example:
      >>> check_loss(LossConfig("snr"), SystemConfig())
    """
    domain, codec = LOSSES[loss.name][0], config.codec
    if domain not in codec.domains:
        fitting = sorted(name for name, (read, _) in LOSSES.items() if read in codec.domains)
        raise ValueError(
            f"loss.name={loss.name!r}: reads {domain}, which codec.name={codec.name!r} with these "
            f"options does not estimate; fitting losses are {', '.join(fitting)}"
        )
    if loss.name == "mask_mse" and loss.target == "phase_sensitive" and codec.name == "mel":
        raise ValueError("loss.target='phase_sensitive': mel bands have no phase; take another target")
    if loss.floor_db is not None and (loss.name != "snr" or loss.floor_db <= 0):
        raise ValueError(
            f"loss.floor_db={loss.floor_db} with loss.name={loss.name!r}: expected dB above 0, of 'snr' alone"
        )
    if loss.name == "discriminative":
        losses.check_gamma("loss.gamma", loss.gamma, len(config.sources))


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
    """Statistics of batch normalisation; may be empty."""
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


def make_schedule(config: OptimizerConfig, total_steps: int = 0) -> optax.Schedule:
    """Return the learning rate as a function of the step."""
    rate, warmup = config.learning_rate, config.warmup_steps
    total = max(1, (config.total_steps or total_steps) - warmup)
    after = {
        "constant": optax.constant_schedule(rate),
        "cosine": optax.cosine_decay_schedule(rate, total),
        "exponential": optax.exponential_decay(rate, total, config.decay_rate),
    }[config.schedule]
    if not warmup:
        return after
    return optax.join_schedules([optax.linear_schedule(0.0, rate, warmup), after], [warmup])


def make_optimizer(config: OptimizerConfig, total_steps: int = 0) -> optax.GradientTransformation:
    """Return the Optax optimiser that ``config`` describes.

    Example:
      >>> _ = make_optimizer(OptimizerConfig("adamw", schedule="cosine"), total_steps=100)
    """
    rate = make_schedule(config, total_steps)
    betas = dict(b1=config.beta1, b2=config.beta2, eps=config.epsilon)
    rule = {
        "adam": lambda: optax.adam(rate, **betas),
        "adamw": lambda: optax.adamw(rate, **betas, weight_decay=config.weight_decay),
        "adadelta": lambda: optax.adadelta(rate, rho=config.rho, eps=config.epsilon),
        "sgd": lambda: optax.sgd(rate),
    }[config.name]()
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), rule) if config.clip_norm else rule


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
      sources: ``(batch, sources, samples)`` float32 waveforms; their sum is the mixture.
      weight: ``(batch,)`` weights in loss and statistics, 0 for padding; 1 when None.
      example_id: ``(batch,)`` uint32, different within the batch; randomness of an example
        follows from it. Its place in the batch when None.
    """
    size = sources.shape[0]
    return {
        "sources": jnp.asarray(sources, jnp.float32),
        "weight": jnp.ones(size) if weight is None else jnp.asarray(weight, jnp.float32),
        "id": jnp.arange(size, dtype=jnp.uint32)
        if example_id is None
        else jnp.asarray(example_id, jnp.uint32),
    }


def train_step(
    state: TrainState,
    batch: dict[str, jax.Array],
    *,
    system: System,
    loss: LossConfig,
    optimizer: optax.GradientTransformation,
    augmentation: AugmentConfig = AugmentConfig(),
    length: int | None = None,
    ema_decay: float = 0.0,
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
      axis_name: mapped device axis (``shard_map``, ``pmap``); None under plain ``jit``, sharded
        or not. All four give the same gradients.

    Returns:
      The state after, and scalars: ``loss``, ``grad_norm``, ``param_norm``, ``update_norm``,
      ``finite``.
    """
    gradients, value, model_state = batch_gradient(
        state,
        batch,
        system=system,
        loss=loss,
        augmentation=augmentation,
        length=length,
        axis_name=axis_name,
    )

    def updates():
        with jax.numpy_dtype_promotion("standard"):
            return optimizer.update(gradients, state.opt_state, state.params)

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


def batch_gradient(state, batch, *, system, loss, augmentation=AugmentConfig(), length=None, axis_name=None):
    """Return the gradient of the weighted mean loss, the loss and the new model state."""
    keys = example_keys(state.seed, state.step, batch["id"])
    length = length or batch["sources"].shape[-1]
    change = partial(augment, augmentation, length=length)
    sources = jax.vmap(lambda key, x: change(key, x))(keys[:, 0], batch["sources"])
    weight = batch["weight"]
    total_weight = jnp.maximum(_sum(jnp.sum(weight), axis_name), jnp.finfo(weight.dtype).tiny)

    def objective(params):
        variables = {"params": params, "batch_stats": state.model_state}
        estimates, encoded, model_state = system.forward(
            variables,
            jnp.sum(sources, axis=1),
            train=True,
            key=keys[:, 1],
            mask=weight,
            axis_name=axis_name,
        )
        each = example_loss(loss, system, estimates, encoded, sources)
        return jnp.sum(jnp.where(weight > 0, weight * each, 0.0)) / total_weight, model_state

    params = state.params
    if axis_name is not None:
        # Without this, shard_map's gradient of replicated parameters is already summed over the
        # devices, and summing or averaging it again is silently wrong.
        params = jax.tree.map(lambda p: jax.lax.pcast(p, axis_name, to="varying"), params)
    (value, model_state), gradients = jax.value_and_grad(objective, has_aux=True)(params)
    gradients = jax.tree.map(lambda g: _sum(g, axis_name), gradients)
    return gradients, _sum(value, axis_name), model_state


def example_keys(seed, step, ids: jax.Array) -> jax.Array:
    """Keys ``(batch, 2)`` of the examples ``ids`` of a step: for augmentation, and for the network.

    Example:
      >>> example_keys(0, 5, jnp.arange(4)).shape
      (4, 2)
    """
    step_key = jax.random.fold_in(jax.random.key(seed), step)
    return jax.vmap(lambda i: jax.random.split(jax.random.fold_in(step_key, i)))(ids)


def example_loss(loss: LossConfig, system: System, estimates, encoded, sources) -> jax.Array:
    """``(batch,)`` losses of estimates against ``(batch, sources, samples)`` sources.

    Args:
      loss, system: what is trained for what.
      estimates, encoded: what :meth:`System.forward` returned.
      sources: in the unit of the mixture.

    Raises:
      ValueError: the system's estimates lack what the loss reads.
    """
    check_loss(loss, system.config)
    domain, function = LOSSES[loss.name]
    reference = system.config.codec.reference(encoded, sources / encoded.level[:, None, None])
    if loss.name == "mask_mse":
        return function(estimates.masks, reference.spectra, loss.target)
    options: dict[str, float | None] = {}
    if loss.name == "discriminative":
        options = {"gamma": loss.gamma}
    elif loss.name == "snr":
        options = {"floor_db": loss.floor_db}
    return function(getattr(estimates, domain), getattr(reference, domain), **options)


def eval_step(
    state: TrainState, batch, *, system: System, loss: LossConfig, axis_name: str | None = None
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


def _sum(x, axis_name):
    return x if axis_name is None else jax.lax.psum(x, axis_name)


def _average(state, variables, decay):
    """Moving average that follows closely at first: its decay rises to ``decay``."""
    if not state.ema:
        return state.ema
    warm = (1.0 + state.step) / (10.0 + state.step)
    decay = jnp.minimum(decay, warm)
    return jax.tree.map(lambda a, v: decay * a + (1 - decay) * v, state.ema, variables)
