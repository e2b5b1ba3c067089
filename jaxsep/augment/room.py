"""Rooms: a direct path and a decaying tail; the same for numpy and JAX arrays."""

from __future__ import annotations

from typing import Any

from jaxsep.augment.playback import namespace


def in_room(x: Any, response: Any) -> Any:
    """Convolve with the impulse response of a room, without delay.

    Args:
      x: ``(..., samples)`` floats; numpy arrays are computed by numpy, on the host, others by JAX.
      response: ``(taps,)`` floats, the direct path first.

    Returns:
      ``(..., samples)``.

    Example:
      >>> import numpy as np
      >>> in_room(np.array([1.0, 0.0, 0.0]), np.array([1.0, 0.5])).round(6).tolist()
      [1.0, 0.5, 0.0]
    """
    xp, samples = namespace(x), x.shape[-1]
    size = 1 << (samples + len(response) - 1).bit_length()
    product = xp.fft.rfft(x, size) * xp.fft.rfft(response, size)
    return xp.fft.irfft(product, size)[..., :samples]
