"""Batches of examples: the batch of a step is a function of (seed, step) alone.

So any number of hosts and threads sees the same order, and the step is all that a resumed run
needs to know of its input.
"""

from __future__ import annotations

from collections.abc import Iterator

import grain
import jax
import numpy as np

from train.data.recipes import Examples


def batches(
    examples: Examples, batch_size: int, start_step: int, threads: int
) -> Iterator[dict[str, np.ndarray]]:
    """Yield this host's part of the batch of each step from ``start_step`` on.

    ``sources`` (local batch, sources, channels, samples), ``id`` (local batch,) and ``track``, the indices
    of the recordings in the bank (-1 for none).
    """
    hosts, host = jax.process_count(), jax.process_index()
    local = batch_size // hosts
    ids = np.arange(host * local, (host + 1) * local, dtype=np.uint32)

    def load(k: int) -> dict[str, np.ndarray]:
        step, place = divmod(k, local)
        return examples[step * batch_size + int(ids[place])]

    steps = len(examples) // batch_size
    dataset = grain.MapDataset.range(steps * local).map(load).batch(local)[start_step:]
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=4 * max(1, threads))
    for batch in dataset.to_iter_dataset(options):
        yield {**batch, "id": ids, "weight": np.ones(local, np.float32)}
