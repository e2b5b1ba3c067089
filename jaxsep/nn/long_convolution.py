"""Convolutions over time with long kernels, as products of spectra, for a CPU.

Three maps between a long signal ``(batch, time, in)``, a kernel ``(taps, in, out)`` and a short
signal ``(batch, time - taps + 1, out)``, each linear in both of its arguments; the derivatives of
any one are the two others. Both DFTs are matrix products, so all processors share them, and none
is longer than the long signal: what wraps round is cut off, or is zero.

Reference:
  M. Mathieu, M. Henaff, Y. LeCun, "Fast training of convolutional networks through FFTs",
  ICLR 2014.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

#: Samples of the longest DFT: its matrix grows with their square, and is part of the program.
_LONGEST = 2048


def worthwhile(batch: int, time: int, kernel: tuple[int, int, int]) -> bool:
    """Whether the spectra take less than half of the products that a plain convolution takes.

    No for sizes that are not known when the program is made, and for very long signals.
    """
    if not all(isinstance(n, int) for n in (batch, time)) or time > _LONGEST:
        return False
    taps, inputs, outputs = kernel
    short = time - taps + 1
    plain = batch * short * taps * inputs * outputs
    dft = time * (batch * time * inputs + taps * inputs * outputs + batch * short * outputs)
    return 2 * (dft + 2 * batch * time * inputs * outputs) < plain


def correlate(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The short signal: ``y[t] = sum_k x[t + k] kernel[k]``."""
    taps, time = kernel.shape[0], x.shape[1]
    xr, xi = _spectrum(x.swapaxes(0, 1), time)
    kr, ki = _spectrum(kernel, time)
    real = _product("nbc,ncf->nbf", xr, kr) + _product("nbc,ncf->nbf", xi, ki)
    imaginary = _product("nbc,ncf->nbf", xi, kr) - _product("nbc,ncf->nbf", xr, ki)
    return _signal(real, imaginary, time, time - taps + 1).swapaxes(0, 1)


def convolve(y: jax.Array, kernel: jax.Array) -> jax.Array:
    """The long signal: ``x[t + k] += y[t] kernel[k]``, with the kernel's ``out`` summed over."""
    time = y.shape[1] + kernel.shape[0] - 1
    yr, yi = _spectrum(y.swapaxes(0, 1), time)
    kr, ki = _spectrum(kernel, time)
    real = _product("nbf,ncf->nbc", yr, kr) - _product("nbf,ncf->nbc", yi, ki)
    imaginary = _product("nbf,ncf->nbc", yr, ki) + _product("nbf,ncf->nbc", yi, kr)
    return _signal(real, imaginary, time, time).swapaxes(0, 1)


def correlate_batch(x: jax.Array, y: jax.Array) -> jax.Array:
    """The kernel: ``kernel[k] = sum_t x[t + k] y[t]``, summed over the batch."""
    time = x.shape[1]
    xr, xi = _spectrum(x.swapaxes(0, 1), time)
    yr, yi = _spectrum(y.swapaxes(0, 1), time)
    real = _product("nbc,nbf->ncf", xr, yr) + _product("nbc,nbf->ncf", xi, yi)
    imaginary = _product("nbc,nbf->ncf", xi, yr) - _product("nbc,nbf->ncf", xr, yi)
    return _signal(real, imaginary, time, time - y.shape[1] + 1)


def _product(indices, a, b):
    return jnp.einsum(indices, a, b, precision=jax.lax.Precision.HIGHEST)


def _spectrum(x, size):
    """Real and imaginary part of the DFT of ``size`` points over the first axis, zero-padded."""
    angles = _angles(size, x.shape[0])
    matrix = np.concatenate([np.cos(angles), -np.sin(angles)]).astype(x.dtype)
    bins = len(angles)
    y = _product("wn,nk->wk", matrix, x.reshape(x.shape[0], -1)).reshape(2, bins, *x.shape[1:])
    return y[0], y[1]


def _signal(real, imaginary, size, count):
    """The first ``count`` samples of the inverse DFT of ``size`` points."""
    angles = _angles(size, count)
    weights = np.full((len(angles), 1), 2 / size)
    weights[0] = 1 / size
    if size % 2 == 0:
        weights[-1] = 1 / size
    matrix = np.concatenate([weights * np.cos(angles), -weights * np.sin(angles)]).astype(real.dtype)
    both = jnp.concatenate([real, imaginary])
    y = _product("wn,wk->nk", matrix, both.reshape(2 * len(angles), -1))
    return y.reshape(count, *real.shape[1:])


def _angles(size, count):
    """``(bins, count)`` float64; exact multiples of a whole turn are taken away first."""
    turns = np.outer(np.arange(size // 2 + 1), np.arange(count)) % size
    return 2 * np.pi / size * turns
