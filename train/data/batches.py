"""Batches of examples: the batch of a step is a function of (seed, step) alone.

So any number of hosts and threads sees the same order, and the step is all that a resumed run
needs to know of its input. Devices get as many examples each: where a batch does not divide, its last ones
are padding, of weight 0.
"""

from __future__ import annotations

from collections.abc import Iterator

import grain
import jax
import numpy as np

from train.data.recipes import Examples


def batches(
    examples: Examples,
    batch_size: int,
    start_step: int,
    threads: int,
    *,
    spread: bool = True,
    parts: int = 1,
    distinct: int = 0,
) -> Iterator[dict[str, np.ndarray]]:
    """Yield this host's part of the batch of each step from ``start_step`` on; all if not ``spread``.

    ``sources`` (local batch, sources, channels, samples); ``id`` and ``weight`` (local batch,); ``track``,
    the indices of the recordings in the bank (-1 for none). On each device their number is a multiple of
    ``parts``. After ``distinct`` examples the same come again in the same order, unless it is 0.
    """
    devices, local_devices = (jax.device_count(), jax.local_device_count()) if spread else (1, 1)
    local = -(-batch_size // (devices * parts)) * parts * local_devices
    ids = np.arange(local, dtype=np.uint32) + (jax.process_index() * local if spread else 0)
    weight = (ids < batch_size).astype(np.float32)

    def load(k: int) -> dict[str, np.ndarray]:
        step, place = divmod(k, local)
        # Padding repeats an example: what is in it counts nothing, but it must be finite.
        number = step * batch_size + min(int(ids[place]), batch_size - 1)
        return examples[number % distinct if distinct else number]

    steps = len(examples) // batch_size
    dataset = grain.MapDataset.range(steps * local).map(load).batch(local)[start_step:]
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=4 * max(1, threads))
    for batch in dataset.to_iter_dataset(options):
        yield {**batch, "id": ids, "weight": weight}
