"""FOBI: fourth-order blind identification, in closed form."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp

from jaxsep._checks import standard_promotion
from jaxsep._rows import each_problem
from jaxsep._sharding import keeps_sharding
from jaxsep.bss.result import ICAResult
from jaxsep.bss.whitening import check_mixtures, finish, sum_blocks, whiten


@keeps_sharding
@standard_promotion
def fobi(x, *, n_components: int | None = None) -> ICAResult:
    """Separate instantaneous mixtures of sources whose kurtoses differ, without iterating.

    The rows are the eigenvectors of ``E[|z|^2 z z']`` of the whitened mixtures z. Sources of equal
    kurtosis stay mixed: fast, and less accurate than :func:`jaxsep.fastica`.

    Args:
      x: ``(..., channels, samples)`` floats; each leading index is a problem of its own.
      n_components: sources to look for, n; as many as channels when None.

    Returns:
      An :class:`ICAResult` with ``num_steps`` 1.

    Raises:
      ValueError: as :func:`jaxsep.fastica`.

    Example:
      >>> s = jnp.stack([jax.random.laplace(jax.random.key(0), (4000,)), jnp.sin(jnp.arange(4000.0))])
      >>> r = fobi(jnp.array([[1.0, 0.5], [0.3, 1.0]]) @ s)
      >>> match = jnp.abs(jnp.corrcoef(jnp.concatenate([s, r.sources])))[:2, 2:]
      >>> bool(jnp.all(jnp.max(match, axis=1) > 0.98))
      True

    References:
      J.-F. Cardoso, "Source separation using higher order moments", ICASSP 1989.
    """
    x, n = check_mixtures(x, n_components)
    return _fobi(x, n)


@partial(jax.jit, static_argnums=1)
def _fobi(x, n):
    def solve(x):
        white = whiten(x, n)
        shift = white.matrix @ white.mean

        def block(part):
            z = white.matrix @ part - shift[:, None]
            return (z * jnp.sum(z * z, axis=0)) @ z.T

        _, vectors = jnp.linalg.eigh(sum_blocks(block, x) / x.shape[1])
        # Absent directions have eigenvalue zero, the smallest: the others come first when reversed.
        return finish(x, white, vectors[:, ::-1].T, 1, jnp.asarray(True))

    return each_problem(solve, x, core=2)
