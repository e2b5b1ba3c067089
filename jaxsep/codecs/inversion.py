"""Inversions: how magnitudes become waveforms.

``inversion(transform, encoded, masks, magnitudes, length, residual, direct)`` gives ``(batch, sources,
channels, length)`` waveforms; ``exact`` says whether stems whose masks sum to 1 sum to the mixture. One for
transforms without magnitudes says ``spectral = False``, and gets the outputs in their place. One that gives
the sources spectra of the transform first has a method ``spectra`` for those, which a filter may take. One
that makes each source of its own mask says ``apart = True``, and is then also called without the residual
source, with ``residual`` None.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax

from jaxsep.codecs.estimates import Encoded
from jaxsep.parts import ranged, register
from jaxsep.spectral import griffin_lim


@register("inversion", "mixture_phase")
@dataclass(frozen=True)
class MixturePhase:
    """The phase of the mixture."""

    exact = True
    apart = True

    def __call__(
        self, transform: Any, encoded: Encoded, masks, magnitudes, length, residual, direct
    ) -> jax.Array:
        """Masks and magnitudes -> waveforms."""
        spectra = self.spectra(transform, encoded, masks, magnitudes, residual, direct)
        return transform.synthesize(spectra, length)

    def spectra(self, transform: Any, encoded: Encoded, masks, magnitudes, residual, direct) -> jax.Array:
        """Masks and magnitudes -> complex ``(batch, sources, channels, n_fft // 2 + 1, frames)``."""
        if direct:
            return transform.with_phase(encoded.spectrum, magnitudes, masks, residual)
        return transform.masked(encoded.spectrum, masks, residual)


@register("inversion", "griffin_lim")
@dataclass(frozen=True)
class GriffinLim:
    """A phase found by Griffin-Lim, of the magnitudes alone."""

    iterations: int = ranged(32, least=0, most=10_000)

    exact = False

    def __call__(
        self, transform: Any, encoded: Encoded, masks, magnitudes, length, residual, direct
    ) -> jax.Array:
        """Masks and magnitudes -> waveforms."""
        options = dict(n_fft=transform.n_fft, hop_length=transform.hop_length, window=transform.window)
        return griffin_lim(transform.full(magnitudes), n_iter=self.iterations, length=length, **options)


@register("inversion", "inverse")
@dataclass(frozen=True)
class Inverse:
    """The transform's own inverse, of outputs that are its values: for waveforms and their frames."""

    exact = False
    spectral = False

    def __call__(
        self, transform: Any, encoded: Encoded, masks, magnitudes, length, residual, direct
    ) -> jax.Array:
        """Outputs, as ``magnitudes`` -> waveforms."""
        return transform.synthesize(magnitudes, length)
