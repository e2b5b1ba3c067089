"""``python -m train.tools.mono MODEL -o FOLDER``: Spleeter's U-Net for a voice, as a mono model.

A place to start from for sounds that are not songs: MODEL is a stereo model whose network holds
``spleeter_unet`` once (``complement``, as `vocals`) or for each source (``per_source``, as Spleeter), of
which ``--source`` is taken, by default the first. The new model hears one channel as the old one hears the
same signal in both: the first kernel is summed over channels, the last averaged. Its second output is what
the first leaves. ``--sample-rate 22050`` also makes windows and hops as much shorter as the rate is lower;
bins lie where they were, and the first kernel makes up for the smaller magnitudes.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import jax
import numpy as np

from jaxsep.errors import UserError
from jaxsep.hub import find_model, load_model, save_model
from jaxsep.networks import Complement, PerSource, SpleeterUNet
from jaxsep.system import System


def main(arguments: list[str]) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m train.tools.mono", description=__doc__)
    parser.add_argument("model", metavar="MODEL", help="a name or a folder, a run's too")
    parser.add_argument("-o", "--out", required=True, metavar="FOLDER")
    parser.add_argument("--source", help="whose network; default: the first")
    parser.add_argument("--sample-rate", type=int, metavar="HZ", help="of the new model; default: the same")
    options = parser.parse_args(arguments)
    try:
        system, variables, info = load_model(find_model(options.model))
        config, own = mono(system.config, variables, options.source, options.sample_rate)
        about = {"name": Path(options.out).name, "description": info.get("description", "")}
        about["license"] = info.get("license", "")
        save_model(Path(options.out), System(config), own, info=about, storage="float32")
    except (UserError, OSError) as error:
        print(f"train.tools.mono: {error}", file=sys.stderr)
        return 2
    print(f"{options.out}: {config.sample_rate} Hz, mono")
    return 0


def mono(config, variables: dict, source: str | None = None, sample_rate: int | None = None):
    """Return the mono system's config and variables, as the module says; UserError for another network."""
    holder = config.network
    network = holder.network if isinstance(holder, Complement | PerSource) else None
    if not isinstance(network, SpleeterUNet) or config.channels != 2:
        raise UserError(
            f"network.name={holder.name!r}, channels={config.channels}: expected a stereo model of "
            "spleeter_unet, as `vocals` or an imported Spleeter"
        )
    if len(config.sources) != 2:
        raise UserError(f"sources={list(config.sources)}: expected two, one being what the other leaves")
    index = _index(config.sources, source)
    name = f"source_{index}"
    if name not in variables["params"]:
        raise UserError(f"--source {source}: the model has no network for it; leave it out")
    ratio = Fraction(sample_rate or config.sample_rate, config.sample_rate)
    transform = config.codec.transform
    sizes = [ratio * size for size in (transform.n_fft, transform.hop_length)]
    if any(size.denominator > 1 for size in sizes):
        raise UserError(f"--sample-rate {sample_rate}: windows of {float(sizes[0]):g} samples do not exist")
    own = {kind: jax.tree.map(np.asarray, variables[kind][name]) for kind in ("params", "batch_stats")}
    params = own["params"]
    first, last = params["down_0"]["kernel"], params["outputs"]
    params["down_0"] = {**params["down_0"], "kernel": first.sum(2, keepdims=True) / float(ratio)}
    logit = {key: last[key].mean(-1, keepdims=True) for key in ("kernel", "bias")}
    params["outputs"] = {key: np.concatenate([y, -y], axis=-1) for key, y in logit.items()}
    transform = replace(transform, n_fft=int(sizes[0]), hop_length=int(sizes[1]))
    sources = (config.sources[index], config.sources[1 - index])
    return replace(
        config,
        sources=sources,
        residual=sources[1],
        sample_rate=sample_rate or config.sample_rate,
        channels=1,
        codec=replace(config.codec, transform=transform),
        network=network,
    ), own


def _index(sources, source):
    if source is not None and source not in sources:
        raise UserError(f"--source {source}: expected one of {', '.join(sources)}")
    return 0 if source is None else sources.index(source)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
