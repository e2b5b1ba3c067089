"""Scores on validation recordings, whole, as a user would separate them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import tee

import jax
import jax.numpy as jnp
import numpy as np

from jaxsep.errors import UserError
from jaxsep.evaluation import mute_inaudible
from jaxsep.evaluation.lengths import pad
from jaxsep.inference import separate_each
from jaxsep.live import Live, LiveStream, why_not_live
from jaxsep.metrics import si_sdr_improvement, weighted_mean
from jaxsep.system import System
from train.data.recipes import Recordings
from train.hosts import gathered

#: Improvement of a silent stem of a source that is not.
_SILENT_DB = -60.0


@dataclass(frozen=True)
class Validation:
    """What validation found."""

    score: float
    """dB: SI-SDR improvement, mean over sources, weighted by length over recordings; -60 where the stem of a
    source that sounds is silent."""
    mean: dict[str, float]
    """The same for each source."""
    examples: dict[str, dict[str, np.ndarray]]
    """Recording -> mixture and stems, ``(channels, samples)`` float32."""


@jax.jit
def _all_finite(variables):
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(variables)]))


@partial(jax.jit, static_argnums=(0, 1))
def _separate(system: System, mesh, variables, windows):
    """A batch of windows, spread over this host's devices."""
    if mesh.size == 1:
        return system.separate_channels(variables, windows)
    whole, parts = jax.sharding.PartitionSpec(), jax.sharding.PartitionSpec("windows")
    own = jax.shard_map(system.separate_channels, mesh=mesh, in_specs=(whole, parts), out_specs=parts)
    return own(variables, windows)


def validate(
    system: System, variables, recordings: Recordings, examples: int = 0, stop: object = False
) -> Validation | None:
    """Separate every recording and score it, those of several hosts by turns.

    Windows of whichever recordings are separated in batches of one size, spread over a host's devices.

    None as soon as ``stop`` is true; several hosts finish what they began together.

    Raises:
      UserError: a variable is not finite: masks may hide it, but such a model has no score.
    """
    if not _all_finite(variables):
        raise UserError("the model's parameters are not finite: no score, and nothing to publish")
    mesh = jax.sharding.Mesh(np.array(jax.local_devices()), ("windows",))
    everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    variables = jax.device_put(jax.tree.map(_here, variables), everywhere)
    shares = jax.process_count()
    own = range(jax.process_index(), len(recordings.names), shares)  # the others are other hosts'
    rows: list[np.ndarray] = []
    kept: dict[str, dict[str, np.ndarray]] = {}
    tracks, again = tee(recordings.track(i) for i in own)
    mixtures = (sources.sum(axis=0) for sources in tracks)
    if why_not_live(system.config):
        separated = separate_each(
            partial(_separate, system, mesh, variables),
            mixtures,
            num_sources=len(system.config.sources),
            segment=system.segment,
            overlap=system.overlap,
            windows=mesh.size * (4 if jax.default_backend() == "cpu" else 32),
        )
    else:  # as it is used: frame by frame, on one device
        separated = map(partial(_going_on, Live(system, jax.tree.map(_here, variables))), mixtures)
    for i, sources, stems in zip(own, again, separated, strict=True):
        if stop and shares == 1:
            return None
        mixture = sources.sum(axis=0)
        stems = _closed(stems, mixture, system.residual)
        rows.append(_improvement(*pad(sources, stems, mixture)))
        if len(kept) < examples:  # of the first host's, which alone logs them
            named = dict(zip(system.config.sources, stems, strict=True))
            kept[recordings.names[i]] = {"mixture": mixture, **named}
    lengths = recordings.lengths.astype(np.float32)
    mean = np.nan_to_num(weighted_mean(_of_all(rows, len(lengths), len(system.config.sources)).T, lengths))
    names = dict(zip(system.config.sources, (round(float(v), 3) for v in mean), strict=True))
    return Validation(float(mean.mean()), names, kept)


def _going_on(live, mixture):
    """The stems of a whole recording."""
    stream = LiveStream(live, len(mixture))
    return np.concatenate([stream.push(mixture), stream.finish()], axis=-1)


def _here(leaf):
    """What is the same on every device, on one of this host's."""
    return leaf.addressable_data(0) if isinstance(leaf, jax.Array) else leaf


def _of_all(rows, count, sources):
    """The rows of every recording, from the hosts that scored every k-th of them."""
    shares, most = jax.process_count(), -(-count // jax.process_count())
    own = np.full((most, sources), np.nan, np.float32)
    own[: len(rows)] = np.array(rows, np.float32).reshape(len(rows), sources)
    every = gathered(own).reshape(shares, most, sources)
    return np.swapaxes(every, 0, 1).reshape(-1, sources)[:count]


def _closed(stems, mixture, residual):
    """Stems of which the residual is what the others leave of the mixture, as a separator gives it."""
    stems = np.array(stems)
    stems[residual] = 0
    stems[residual] = mixture - stems.sum(axis=0)
    return stems


def _improvement(sources, stems, mixture):
    """SI-SDR improvement of each source in dB, mean over the channels in which it is not silent."""
    references, estimates = (np.swapaxes(x, 0, 1) for x in (mute_inaudible(sources), stems))
    gains = np.asarray(si_sdr_improvement(references, estimates, mixture)).T
    silent = ~np.any(estimates, axis=-1) & np.any(references, axis=-1)
    gains = np.where(silent.T, _SILENT_DB, gains)
    return gains[:, 0] if gains.shape[1] == 1 else weighted_mean(gains, np.ones(gains.shape[1]))
