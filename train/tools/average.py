"""``python -m train.tools.average MODEL MODEL [...] -o FOLDER``: one model with the average of their weights.

Between a pretrained model and what fine-tuning made of it there is often a model that has what the second
learnt, and keeps what the first knew of sounds that the second did not train on (M. Wortsman et al., "Robust
fine-tuning of zero-shot models", CVPR 2022). ``--shares 0.5,0.5`` are the weights of the average, as many as
models, which are divided by their sum. FOLDER gets the system of the first model, in float32; the others must
have all of its arrays, and may have more.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import jax
import numpy as np

from jaxsep.errors import UserError
from jaxsep.fine_tuning import start_from
from jaxsep.hub import find_model, load_model, save_model


def main(arguments: list[str]) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m train.tools.average", description=__doc__)
    parser.add_argument("model", metavar="MODEL", help="a name or a folder, a run's too")
    parser.add_argument("models", metavar="MODEL", nargs="+")
    parser.add_argument("-o", "--out", required=True, metavar="FOLDER")
    parser.add_argument("--shares", metavar="A,B,...", help="default: all alike")
    options = parser.parse_args(arguments)
    try:
        models = [options.model, *options.models]
        average(models, _shares(options.shares, len(models)), Path(options.out))
    except (UserError, OSError) as error:
        print(f"train.tools.average: {error}", file=sys.stderr)
        return 2
    return 0


def average(models: list[str], shares: list[float], folder: Path) -> None:
    """Write the model whose arrays are the sum of shares of those of ``models``."""
    system, first, info = load_model(find_model(models[0]))
    licenses = [info.get("license")]
    total = jax.tree.map(lambda x: shares[0] * np.asarray(x, np.float32), first)
    for model, share in zip(models[1:], shares[1:], strict=True):
        its, other, about = load_model(find_model(model))
        for name in ("sample_rate", "channels"):
            if getattr(its.config, name) != getattr(system.config, name):
                raise UserError(
                    f"{model}: {name}={getattr(its.config, name)}, that of {models[0]} is "
                    f"{getattr(system.config, name)}; average models of one kind"
                )
        licenses.append(about.get("license"))
        start = start_from(first, other)
        if start.fresh:
            raise UserError(f"{model}: lacks {start.fresh[0]} of {models[0]}, or has it in another shape")
        total = jax.tree.map(lambda t, x, share=share: t + share * np.asarray(x), total, start.variables)
    owed = "; ".join(dict.fromkeys(text for text in licenses if text))
    about = {"name": folder.name, "description": info.get("description", ""), "license": owed}
    save_model(folder, system, total, info=about, storage="float32")
    print(f"{folder}: " + " + ".join(f"{s:g} x {m}" for s, m in zip(shares, models, strict=True)))


def _shares(text, count):
    """Shares that sum to 1, from numbers between commas."""
    try:
        shares = [1.0] * count if text is None else [float(part) for part in text.split(",")]
    except ValueError:
        shares = []
    if len(shares) != count or not all(np.isfinite(s) and s >= 0 for s in shares) or not sum(shares):
        raise UserError(
            f"--shares {text}: expected {count} numbers from 0 on with commas between, as 0.5,0.5"
        )
    return [s / sum(shares) for s in shares]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
