"""Shipped models' networks beside PyTorch twins of the same layers, by the windows that they separate in.

The twins have weights of their own: time is compared, not sound. ``vocals`` is Spleeter's network for the
voice; the benchmark ``spleeter`` has a twin with the same weights, and compares masks and stems.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import torch_networks
from benchmarks.timing import Result, compare, find_torch, torch_threads
from jaxsep.compilation import compiler_options
from jaxsep.separator import Separator

MODELS = ("vocals", "sounds", "speech_live")


def run(say) -> list[Result]:
    """Run every model's network on its windows; ``say`` tells of peers that are missing."""
    torch = find_torch(say)
    if torch is None:
        return []
    results: list[Result] = []
    for name in MODELS:
        separator = Separator.from_pretrained(name)
        size = magnitudes(separator)
        twin = twin_of(torch, separator.system.config).eval()
        network = separator.system.network
        options = compiler_options(separator.system.config.network)
        forward = jax.jit(lambda v, x, network=network: network.apply(v, x)[0], compiler_options=options)
        ours = partial(forward, separator.variables, jnp.asarray(size))
        given = torch.from_numpy(size if name == "vocals" else size[:, 0])
        if (theirs := _without(torch, twin, given)().shape[-2:]) != (found := ours().shape[-2:]):
            raise ValueError(f"{name}: the twin's outputs have {tuple(theirs)} bins and frames, ours {found}")
        peers = {f"torch, {n} threads": torch_threads(torch, _without(torch, twin, given), n) for n in (1, 2)}
        seconds = separator.system.segment / separator.sample_rate
        results += compare(f"{name}: network, {len(size)} x {seconds:.1f} s", ours, peers, rounds=7)
    return results


def magnitudes(separator: Separator) -> np.ndarray:
    """What the network is given: ``(windows, channels, bins, frames)`` of as many windows as go together."""
    config = separator.system.config
    frames = config.codec.frames(separator.system.segment)
    shape = (separator.windows, config.channels, config.codec.num_bins, frames)
    return np.random.default_rng(0).random(shape, np.float32)


def twin_of(torch, config) -> Any:
    """The same layers in PyTorch.

    Args:
      torch: the module.
      config: of a shipped model's system.
    """
    network, sources = config.network, len(config.sources)
    if network.name == "complement":
        return torch_networks.spleeter(torch)
    if network.name == "unet":
        return torch_networks.unet(torch, network.levels, network.filters, sources)
    if network.name == "dpcrn":
        return torch_networks.dpcrn(torch, network, config.codec.num_bins, sources)
    raise ValueError(f"network.name={network.name!r}: has no twin in PyTorch here")


def _without(torch, twin, given):
    def call():
        with torch.no_grad():
            return twin(given)

    return call
