"""What every instantaneous separation returns."""

from __future__ import annotations

from typing import NamedTuple

import jax

from jaxsep._checks import index_within


class ICAResult(NamedTuple):
    """Sources of instantaneous mixtures; ``sources = unmixing @ (x - mean)``."""

    sources: jax.Array
    """``(..., n, samples)`` float32, rows of zeros beyond ``rank``. Of unit variance within 1e-5, where the
    method's rows are orthogonal uncorrelated within 1e-5 too, up to a condition number of 1e6 of the
    correlation matrix of the channels."""
    unmixing: jax.Array
    """``(..., n, channels)``, per unit of x."""
    mixing: jax.Array
    """``(..., channels, n)``: the pseudo-inverse of ``unmixing``, unit of x."""
    mean: jax.Array
    """``(..., channels)``, unit of x."""
    num_steps: jax.Array
    """``(...)`` int32: iterations taken."""
    converged: jax.Array
    """``(...)`` bool: whether the last change was below the tolerance."""
    rank: jax.Array
    """``(...)`` int32: number of sources found, at most n."""


def projection_back(result: ICAResult, channel: int = 0) -> jax.Array:
    """Return the sources at the level that they have in one channel of the mixture.

    Args:
      result: of a separation.
      channel: the channel.

    Returns:
      ``(..., n, samples)`` float32, unit of the mixture; with as many sources as channels they
      sum to that channel less its mean.

    Raises:
      ValueError: a channel that is not there.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxsep import fastica
      >>> x = jax.random.laplace(jax.random.key(0), (2, 4000))
      >>> r = fastica(x)
      >>> bool(jnp.allclose(projection_back(r, 1).sum(0), x[1] - r.mean[1], atol=1e-4))
      True
    """
    channel = index_within("channel", channel, result.mixing.shape[-2], "channels")
    return result.sources * result.mixing[..., channel, :, None]
