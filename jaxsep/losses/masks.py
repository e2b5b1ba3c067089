"""Error of masks against the ideal ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxsep.losses.errors import magnitude_mse
from jaxsep.losses.part import Reduction, over_channels, reduced
from jaxsep.masks import _relative, binary_mask, phase_sensitive_mask, wiener_mask
from jaxsep.parts import ranged, register
from jaxsep.spectral import magnitude


def mask_mse(
    estimate: jax.Array, spectra: jax.Array, target: str = "ratio", emphasis: float = 0.0
) -> jax.Array:
    """:func:`magnitude_mse` of masks against the ideal ones of known sources.

    With ``emphasis`` e, a bin weighs ``|X| ** e`` over the mean of that, X being the mixture: with 0 the
    many bins that are nearly silent weigh as much as those that are heard, with 2 it is the error of the
    masked magnitudes, divided by the mixture's power (signal approximation, Weninger et al. 2014).

    Args:
      estimate: ``(..., sources, bins, frames)`` masks.
      spectra: spectra of the sources, of that shape: complex, or magnitudes (not for
        ``"phase_sensitive"``).
      target: ``"binary"``, ``"ratio"`` (of magnitudes), ``"wiener"`` (of powers) or
        ``"phase_sensitive"``.
      emphasis: exponent of the mixture's magnitude in the weight of a bin; where the spectra are
        magnitudes, the mixture's is their sum.

    Returns:
      ``(...,)``, no unit.

    Raises:
      ValueError: a phase-sensitive target without phases, or ``emphasis`` not from 0 to 2.

    Example:
      >>> spectra = jnp.array([[[3.0]], [[1.0]]])
      >>> float(mask_mse(jnp.array([[[0.75]], [[0.25]]]), spectra, "ratio"))
      0.0

    References:
      Y. Wang, A. Narayanan, D. Wang, "On training targets for supervised speech separation",
      IEEE/ACM TASLP 22(12), 2014.
      F. Weninger, J. Hershey, J. Le Roux, B. Schuller, "Discriminatively trained recurrent neural networks
      for single-channel speech separation", GlobalSIP 2014.
    """
    if target == "phase_sensitive" and not jnp.iscomplexobj(spectra):
        raise ValueError(f"target={target!r}: needs complex spectra; magnitudes have no phase")
    if not 0 <= emphasis <= 2:
        raise ValueError(f"emphasis={emphasis}: expected a number from 0 to 2")
    ideal: dict[str, Callable] = {
        "binary": binary_mask,
        "ratio": partial(wiener_mask, power=1.0),
        "wiener": wiener_mask,
        "phase_sensitive": phase_sensitive_mask,
    }
    scale = _scales(spectra, emphasis) if emphasis else 1.0
    return magnitude_mse(scale * estimate, scale * ideal[target](spectra))


def _scales(spectra: jax.Array, emphasis: float) -> jax.Array:
    """The root of ``|mixture| ** emphasis`` over its mean; 0 in silence, where it gives no gradient."""
    mixture = jnp.sum(spectra, axis=-3, keepdims=True)
    size = magnitude(_relative(mixture, jnp.max(jnp.abs(mixture), axis=(-2, -1), keepdims=True)))
    heard = size > 0
    root = jnp.where(heard, jnp.where(heard, size, 1.0) ** (emphasis / 2), 0.0)
    mean = jnp.mean(jnp.square(root), axis=(-2, -1), keepdims=True)
    return root / jnp.sqrt(jnp.where(mean > 0, mean, 1.0))


@register("loss", "mask_mse")
@dataclass(frozen=True)
class MaskMSE:
    """Squared error of the masks against the ideal ones of the sources."""

    target: Literal["binary", "ratio", "wiener", "phase_sensitive"] = "ratio"
    """Which ideal masks."""
    emphasis: float = ranged(0.0, least=0, most=2)
    """Exponent of the mixture's magnitude in the weight of a bin; 0 weighs silent bins as loud ones."""
    reduction: Reduction = "mean"
    """Mean over bins and frames, or the sum over them and the channels."""

    reads = "masks"
    against = "spectra"

    def __call__(self, estimate: jax.Array, spectra: jax.Array) -> jax.Array:
        """``(batch, sources, channels, bins, frames)`` -> ``(batch,)``."""
        mean = over_channels(partial(mask_mse, target=self.target, emphasis=self.emphasis), estimate, spectra)
        return reduced(mean, self.reduction, estimate.shape[2:])

    def requires(self, system: Any) -> None:
        """Refuse a system whose spectra have no phase, where the target needs it."""
        if self.target == "phase_sensitive" and not system.codec.transform.complex:
            raise ValueError(
                "loss.target='phase_sensitive': the spectra of this system's transform, "
                f"{system.codec.transform.name!r}, have no phase; take another target"
            )
