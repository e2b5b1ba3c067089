"""New mixtures of a batch's own sources."""

from __future__ import annotations

import jax


def remix(key: jax.Array, batch: jax.Array) -> jax.Array:
    """Give each example sources of different examples: permute the batch, each source its own way.

    A function of the whole batch: under ``jit``, sharded or not, the result is the same on any
    number of devices; under ``shard_map`` and ``pmap`` a device sees its own examples alone and
    the result depends on their number. For that reason no step of :func:`jaxsep.augment.augment`,
    which changes one example; the data loader of ``python -m train`` remixes recordings instead.

    Args:
      key: a JAX random key.
      batch: ``(batch, sources, samples)`` waveforms.

    Returns:
      Array of the same shape; source s of every example is source s of some example.

    Example:
      >>> import jax.numpy as jnp
      >>> remix(jax.random.key(0), jnp.ones((4, 2, 3))).shape
      (4, 2, 3)

    References:
      S. Uhlich et al., "Improving music source separation based on deep neural networks through
      data augmentation and network blending", ICASSP 2017, section 3.
    """
    keys = jax.random.split(key, batch.shape[1])
    return jax.vmap(lambda k, x: jax.random.permutation(k, x), in_axes=(0, 1), out_axes=1)(keys, batch)
