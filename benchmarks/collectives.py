"""``python -m benchmarks.collectives``: what four devices exchange in a training step of every network.

Counted in the compiled program: the step under ``shard_map``, as the trainer runs it, beside plain ``jit``
with a batch that is spread, for which XLA gathers; and floating-point operations of one device, beside those
of the whole step on one. Written to benchmarks/results/collectives.md.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

_KINDS = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter")


def main(arguments: list[str]) -> None:
    """Compile every step three ways, and write the table."""
    argparse.ArgumentParser(prog="python -m benchmarks.collectives", description=__doc__).parse_args(
        arguments
    )
    os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"
    import jax
    import numpy as np
    from jax.sharding import AxisType, NamedSharding, PartitionSpec

    from benchmarks.gpu import CASES, case_system
    from jaxsep.optimizers import Adam
    from jaxsep.training import init_state, make_batch, train_step
    from train.clock import operations

    lines = [
        "# What four devices exchange in a training step",
        "",
        "`python -m benchmarks.collectives`, small networks, batches of 8; each cell: collectives of the",
        "compiled step, and one device's floating-point operations as a share of the whole step's on one.",
        "",
        "| network | under shard_map | plain jit, batch spread |",
        "|---|---|---|",
    ]
    kinds = (AxisType.Explicit, AxisType.Auto)
    meshes = [jax.make_mesh((4,), ("d",), axis_types=(kind,)) for kind in kinds]
    for name, case in CASES.items():
        system, loss, samples = case_system(case, small=True)
        optimizer = Adam()()
        state = init_state(system, optimizer)
        sources = np.random.default_rng(0).standard_normal((8, 2, 1, samples)).astype(np.float32)
        step: Callable = partial(train_step, system=system, loss=loss, optimizer=optimizer)
        batch = make_batch(sources)
        alone = operations(jax.jit(step).lower(state, batch).compile())
        cells = []
        for where in meshes:
            whole = jax.device_put(state, NamedSharding(where, PartitionSpec()))
            parts = jax.device_put(batch, NamedSharding(where, PartitionSpec("d")))
            compiled = jax.jit(step).lower(whole, parts).compile()
            cells.append(f"{_collectives(compiled.as_text())}; {operations(compiled) / alone:.2f}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    path = Path(__file__).parent / "results" / "collectives.md"
    path.write_text("\n".join(lines) + "\n")


def _collectives(text):
    counts = {kind: len(re.findall(rf" {kind}(?:-start)?\(", text)) for kind in _KINDS}
    return ", ".join(f"{count} {kind}" for kind, count in counts.items() if count) or "none"


if __name__ == "__main__":
    main(sys.argv[1:])
