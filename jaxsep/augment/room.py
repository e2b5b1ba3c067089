"""Rooms: a direct path and a decaying tail; the same for numpy and JAX arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

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


def room_response(like: Any, taps: int, tail: Any, amount: Any, seed: Any) -> Any:
    """The impulse response of a room: a direct path, and behind it noise that decays by 60 dB.

    Args:
      like: an array; where it is numpy's, all is computed by numpy, else by JAX, from the same noise.
      taps: samples to return.
      tail: samples of the decay, at most ``taps``, behind which there is nothing.
      amount: level of the noise where it begins, to that of the direct path.
      seed: uint32 of the noise.

    Returns:
      ``(taps,)`` float32.

    Example:
      >>> response = room_response(np.zeros(1), 1000, 800, 0.1, 3)
      >>> response.shape, float(response[0]), bool(np.any(response[800:]))
      ((1000,), 1.0, False)
    """
    xp = namespace(like)
    place = xp.arange(taps, dtype=np.float32)
    decay = xp.exp(place * (np.float32(-6.9) / xp.asarray(tail, np.float32)))
    response = decay * white_noise(like, taps, seed) * xp.asarray(amount, np.float32)
    inside = place < xp.asarray(tail, np.float32)
    return xp.where(place == 0, np.float32(1), xp.where(inside, response, np.float32(0)))


def white_noise(like: Any, samples: int, seed: Any) -> Any:
    """Gaussian noise of variance 1, the same from numpy and from JAX: ``(samples,)`` float32.

    Hashes of the sample's number, made Gaussian by Box and Muller's transform.

    Example:
      >>> import jax.numpy as jnp
      >>> a, b = white_noise(np.zeros(1), 9999, 7), white_noise(jnp.zeros(1), 9999, 7)
      >>> bool(np.allclose(a, b, atol=1e-5)), round(float(a.std()), 1)
      (True, 1.0)
    """
    xp = namespace(like)
    seed = xp.asarray(seed, np.uint32).reshape(1)
    count = xp.arange(samples, dtype=np.uint32)
    first = _hashed(count * np.uint32(2) + _hashed(seed))
    second = _hashed(count * np.uint32(2) + np.uint32(1) + _hashed(seed))
    unit = np.float32(2**-24)
    radius = xp.sqrt(
        np.float32(-2) * xp.log(((first >> np.uint32(8)).astype(np.float32) + np.float32(0.5)) * unit)
    )
    turn = (second >> np.uint32(8)).astype(np.float32) * (unit * np.float32(2 * np.pi))
    return radius * xp.cos(turn)


def _hashed(x):
    """Uint32 numbers whose bits are mixed well: C. Wellons' lowbias32."""
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B)
    return x ^ (x >> np.uint32(16))
