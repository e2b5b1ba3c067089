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
from jaxsep.masks import binary_mask, phase_sensitive_mask, wiener_mask
from jaxsep.parts import register


def mask_mse(estimate: jax.Array, spectra: jax.Array, target: str = "ratio") -> jax.Array:
    """:func:`magnitude_mse` of masks against the ideal ones of known sources.

    Args:
      estimate: ``(..., sources, bins, frames)`` masks.
      spectra: spectra of the sources, of that shape: complex, or magnitudes (not for
        ``"phase_sensitive"``).
      target: ``"binary"``, ``"ratio"`` (of magnitudes), ``"wiener"`` (of powers) or
        ``"phase_sensitive"``.

    Returns:
      ``(...,)``, no unit.

    Raises:
      ValueError: a phase-sensitive target without phases.

    Example:
      >>> spectra = jnp.array([[[3.0]], [[1.0]]])
      >>> float(mask_mse(jnp.array([[[0.75]], [[0.25]]]), spectra, "ratio"))
      0.0

    References:
      Y. Wang, A. Narayanan, D. Wang, "On training targets for supervised speech separation",
      IEEE/ACM TASLP 22(12), 2014.
    """
    if target == "phase_sensitive" and not jnp.iscomplexobj(spectra):
        raise ValueError(f"target={target!r}: needs complex spectra; magnitudes have no phase")
    ideal: dict[str, Callable] = {
        "binary": binary_mask,
        "ratio": partial(wiener_mask, power=1.0),
        "wiener": wiener_mask,
        "phase_sensitive": phase_sensitive_mask,
    }
    return magnitude_mse(estimate, ideal[target](spectra))


@register("loss", "mask_mse")
@dataclass(frozen=True)
class MaskMSE:
    """Squared error of the masks against the ideal ones of the sources."""

    target: Literal["binary", "ratio", "wiener", "phase_sensitive"] = "ratio"
    """Which ideal masks."""
    reduction: Reduction = "mean"
    """Mean over bins and frames, or the sum over them and the channels."""

    reads = "masks"
    against = "spectra"

    def __call__(self, estimate: jax.Array, spectra: jax.Array) -> jax.Array:
        """``(batch, sources, channels, bins, frames)`` -> ``(batch,)``."""
        mean = over_channels(partial(mask_mse, target=self.target), estimate, spectra)
        return reduced(mean, self.reduction, estimate.shape[2:])

    def requires(self, system: Any) -> None:
        """Refuse a system whose spectra have no phase, where the target needs it."""
        if self.target == "phase_sensitive" and not system.codec.transform.complex:
            raise ValueError(
                "loss.target='phase_sensitive': the spectra of this system's transform, "
                f"{system.codec.transform.name!r}, have no phase; take another target"
            )
