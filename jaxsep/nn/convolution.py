"""Convolutions over images and sequences, channels last, in the form that runs fastest.

XLA's convolutions with a stride are fast on a CPU; the dilated ones that derive from them are several
times slower. So a transposed convolution, and the gradient of a strided kernel, is computed for each
of the four pixels of a 2 x 2 block, with those taps that reach it; with few output channels the four
transposed ones are one convolution, with zeros in its kernel, and with one channel a matrix product.
A dilated convolution of a channel or two is a sum of shifted images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxsep.nn.long_convolution import convolve, correlate, correlate_batch, worthwhile

_LAYOUT = ("NHWC", "HWIO", "NHWC")
_Pads = str | Sequence[tuple[int, int]]

#: Output channels from which four small kernels are faster than one with zeros in it, on a CPU.
_WIDE = 16


class Conv(nn.Module):
    """Convolution with an odd square kernel, padded so that the size stays, halves or doubles.

    Equal to PyTorch's ``Conv2d`` and, for ``up``, ``ConvTranspose2d`` with ``padding=kernel // 2``,
    ``stride=2`` and ``output_padding=1``, whose weights are transposed to (height, width, in, out).
    """

    features: int
    kernel: int = 5
    way: Literal["same", "down", "up"] = "same"
    bias: bool = False

    @nn.compact
    def __call__(self, x):
        shape = (self.kernel, self.kernel, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape)
        ways: dict[str, Callable] = {"same": conv, "down": conv_down, "up": conv_up}
        y = ways[self.way](x, kernel)
        return y + self.param("bias", nn.initializers.zeros, (self.features,)) if self.bias else y


class BinConv(nn.Module):
    """Convolution of three bins and ``f = 1`` or 2 frames.

    ``(batch, frames + f - 1, bins, in)`` -> ``(batch, frames, bins, out)``, zero-padded over bins alone.
    """

    features: int
    frames: int = 2

    @nn.compact
    def __call__(self, x):
        shape = (self.frames, 3, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape)
        y = _conv(x, kernel, [(0, 0), (1, 1)])
        return y + self.param("bias", nn.initializers.zeros, (self.features,))


@jax.custom_vjp
def conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """``(batch, height, width, in)`` * ``(odd, odd, in, out)``, zero-padded to the same size.

    The gradient of the kernel gathers patches of the side with fewer channels.
    """
    return _conv(x, kernel)


def _conv(x, kernel, pads: _Pads = "SAME", stride=1):
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), pads, dimension_numbers=_LAYOUT)


def _conv_kernel(x, grad, kernel, pads: _Pads = "SAME"):
    """The gradient of a kernel; patches are gathered of the side with fewer channels."""
    if x.shape[-1] <= grad.shape[-1]:
        _, pull = jax.vjp(lambda k: _conv(x, k, pads), kernel)
        return pull(grad)[0]
    pads = pads if isinstance(pads, str) else [(high, low) for low, high in pads]
    _, pull = jax.vjp(lambda k: _conv(grad, k, pads), _turned(kernel))
    return _turned(pull(x)[0])


def _turned(kernel):
    """The kernel of the transposed convolution."""
    return kernel[::-1, ::-1].swapaxes(2, 3)


def _conv_forward(x, kernel):
    return conv(x, kernel), (x, kernel)


def _conv_backward(saved, grad):
    x, kernel = saved
    return conv(grad, _turned(kernel)), _conv_kernel(x, grad, kernel)


conv.defvjp(_conv_forward, _conv_backward)


def conv_down(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolution with stride two: ``y[i] = sum_k kernel[k] x[2 i + k - size // 2]``; even sizes."""
    if x.shape[1] % 2 or x.shape[2] % 2:
        raise ValueError(f"x.shape={x.shape}: expected even height and width")
    return _down(x, _at_least_three(kernel))


def conv_up(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Transposed convolution: ``y[o] = sum_{i, k: o = 2 i + k - size // 2} kernel[k] x[i]``."""
    return _up(x, _at_least_three(kernel))


def _at_least_three(kernel):
    """A kernel of one tap with zeros around, so that every pixel is reached by some tap."""
    return jnp.pad(kernel, ((1, 1), (1, 1), (0, 0), (0, 0))) if kernel.shape[0] == 1 else kernel


@jax.custom_vjp
def _down(x, kernel):
    side = kernel.shape[0] // 2
    return _conv(x, kernel, [(side, side)] * 2, stride=2)


@jax.custom_vjp
def _up(x, kernel):
    if kernel.shape[3] == 1:
        return _up_single(x, kernel)
    parity = [_taps(kernel.shape[0], p) for p in (0, 1)]
    four = [(a, b, kernel[a.first :: 2, b.first :: 2][::-1, ::-1]) for a in parity for b in parity]
    return _up_wide(x, four) if kernel.shape[3] >= _WIDE else _up_narrow(x, four)


def _up_single(x, kernel):
    """One output channel: a matrix product for all taps, whose images, six times the output, are then shifted
    and added."""
    (height, width), size = x.shape[1:3], len(kernel)
    parity = [_taps(size, p) for p in (0, 1)]
    most = max(max(taps.before, taps.after) for taps in parity)
    images = jnp.tensordot(kernel[..., 0], x, ((2,), (3,)), preferred_element_type=_type_of_sums(x))
    images = jnp.pad(images, [(0, 0)] * 3 + [(most, most)] * 2)
    # Of each parity its taps, and where in the padded images begins what they add to it.
    places = [[(k, most + t.before - i) for i, k in enumerate(range(t.first, size, 2))] for t in parity]

    def pixel(rows, columns):
        return sum(images[k, m, :, i : i + height, j : j + width] for k, i in rows for m, j in columns)

    y = jnp.stack([pixel(a, b) for a in places for b in places], axis=-1)
    return depth_to_space(y.astype(x.dtype))


def _type_of_sums(x):
    """The type in which products are summed, whatever that of the factors is."""
    return np.promote_types(x.dtype, np.float32)


def _up_wide(x, four):
    """Four convolutions, one for each pixel of a block."""
    parts = [_conv(x, part, [(a.after, a.before), (b.after, b.before)]) for a, b, part in four]
    return depth_to_space(jnp.concatenate(parts, axis=-1))


def _up_narrow(x, four):
    """One convolution, whose kernel holds all four, each padded to the same odd size."""
    most = max(max(a.before, a.after) for a, _, _ in four)

    def padded(a, b, part):
        sides = [(most - c.after, most - c.before) for c in (a, b)]
        return jnp.pad(part, [*sides, (0, 0), (0, 0)])

    return depth_to_space(_conv(x, jnp.concatenate([padded(*each) for each in four], axis=-1)))


class _Taps(NamedTuple):
    """The taps of a kernel that reach one parity: ``first``, ``first + 2``, ..."""

    first: int
    before: int
    """How far the furthest block before its own is that a tap reaches."""
    after: int
    """The same behind."""


def _taps(size, parity):
    """Tap k reaches ``k - size // 2 = 2 a + parity``, in the block a."""
    first = (size // 2 + parity) % 2
    blocks = [(k - size // 2 - parity) // 2 for k in range(first, size, 2)]
    return _Taps(first, -blocks[0], blocks[-1])


def _strided_kernel(x, grad, kernel):
    """The gradient of the kernel of ``conv_down``, for each parity of both axes on its own."""
    result = jnp.asarray(kernel)
    for p in (0, 1):
        for q in (0, 1):
            a, b = (_taps(kernel.shape[0], parity) for parity in (p, q))
            mine = (slice(a.first, None, 2), slice(b.first, None, 2))
            pads = [(c.before, c.after) for c in (a, b)]
            result = result.at[mine].set(_conv_kernel(x[:, p::2, q::2], grad, kernel[mine], pads))
    return result


def _down_forward(x, kernel):
    return _down(x, kernel), (x, kernel)


def _down_backward(saved, grad):
    x, kernel = saved
    return _up(grad, kernel.swapaxes(2, 3)), _strided_kernel(x, grad, kernel)


def _up_forward(x, kernel):
    return _up(x, kernel), (x, kernel)


def _up_backward(saved, grad):
    x, kernel = saved
    turned = kernel.swapaxes(2, 3)
    return _down(grad, turned), _strided_kernel(grad, x, turned).swapaxes(2, 3)


_down.defvjp(_down_forward, _down_backward)
_up.defvjp(_up_forward, _up_backward)


@jax.custom_vjp
def conv_dilated(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """``(batch, height, width, in)`` * ``(n, n, in, out)``, taps two pixels apart, few channels.

    Zero-padded by ``n - 1`` on every side, so that the size stays. XLA's dilated convolutions are slow on a
    CPU; with a channel or two this sum of shifted images is tens of times as fast.
    """
    given, sums = x.dtype, _type_of_sums(x)
    x, kernel = x.astype(sums), kernel.astype(sums)
    y = jnp.stack([_shifted_sum(x, kernel[..., out]) for out in range(kernel.shape[3])], axis=-1)
    return y.astype(given)


def _shifted_sum(x, kernel):
    """``sum_{i, j, c} kernel[i, j, c] x[h + 2 i - (n - 1), w + 2 j - (n - 1), c]``."""
    (height, width), side = x.shape[1:3], len(kernel) - 1
    padded = jnp.pad(x, ((0, 0), (side, side), (side, side), (0, 0)))
    return sum(
        kernel[i, j, c] * padded[:, 2 * i : 2 * i + height, 2 * j : 2 * j + width, c]
        for i, j, c in np.ndindex(kernel.shape)
    )


def _dilated_forward(x, kernel):
    return conv_dilated(x, kernel), (x, kernel)


def _dilated_backward(saved, grad):
    x, kernel = saved
    pads = [(len(kernel) - 1,) * 2] * 2
    plain = partial(jax.lax.conv_general_dilated, x, window_strides=(1, 1), padding=pads)
    plain = partial(plain, rhs_dilation=(2, 2), dimension_numbers=_LAYOUT)
    return conv_dilated(grad, _turned(kernel)), jax.vjp(plain, kernel)[1](grad)[0]


conv_dilated.defvjp(_dilated_forward, _dilated_backward)


@jax.custom_vjp
def conv_time(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """``(batch, time, in)`` * ``(taps, in, out)`` -> ``(batch, time - taps + 1, out)``, no padding.

    ``y[t] = sum_k x[t + k] kernel[k]``; long kernels are multiplied as spectra on a CPU.
    """
    return _choose(x.shape, kernel.shape, correlate, _correlate)(x, kernel)


@jax.custom_vjp
def conv_time_transposed(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """``(batch, time, in)`` * ``(taps, in, out)`` -> ``(batch, time + taps - 1, out)``.

    ``y[t + k] += x[t] kernel[k]``: PyTorch's ``ConvTranspose1d`` with its weights transposed.
    """
    kernel = kernel.transpose(0, 2, 1)
    batch, time, _ = x.shape
    shape = (batch, time + kernel.shape[0] - 1, kernel.shape[1])
    return _choose(shape, kernel.shape, convolve, _convolve)(x, kernel)


def _kernel_gradient(x, grad):
    """The derivative by the kernel of what is linear in a long signal and a short one."""
    taps = x.shape[1] - grad.shape[1] + 1
    kernel = (taps, x.shape[2], grad.shape[2])
    return _choose(x.shape, kernel, correlate_batch, _correlate_batch)(x, grad)


def _choose(long_shape, kernel_shape, spectral, plain):
    """One of two functions of two arrays, by their sizes and by the platform."""
    if not worthwhile(long_shape[0], long_shape[1], kernel_shape):
        return plain
    return partial(jax.lax.platform_dependent, cpu=spectral, default=plain)


def _correlate(x, kernel):
    return jax.lax.conv_general_dilated(x, kernel, (1,), "VALID", dimension_numbers=("NWC", "WIO", "NWC"))


def _convolve(x, kernel):
    taps = kernel.shape[0] - 1
    return _correlate(jnp.pad(x, ((0, 0), (taps, taps), (0, 0))), kernel[::-1].transpose(0, 2, 1))


def _correlate_batch(x, grad):
    """A convolution whose channels are the batch; written out as one it is up to a hundred times
    faster than as XLA's derivative of a convolution on a CPU."""
    return _correlate(x.transpose(2, 1, 0), grad.transpose(1, 0, 2)).transpose(1, 0, 2)


def _conv_time_forward(x, kernel):
    return conv_time(x, kernel), (x, kernel)


def _conv_time_backward(saved, grad):
    x, kernel = saved
    return conv_time_transposed(grad, kernel.transpose(0, 2, 1)), _kernel_gradient(x, grad)


def _transposed_forward(x, kernel):
    return conv_time_transposed(x, kernel), (x, kernel)


def _transposed_backward(saved, grad):
    x, kernel = saved
    return conv_time(grad, kernel.transpose(0, 2, 1)), _kernel_gradient(grad, x).transpose(0, 2, 1)


conv_time.defvjp(_conv_time_forward, _conv_time_backward)
conv_time_transposed.defvjp(_transposed_forward, _transposed_backward)


def depth_to_space(x: jax.Array) -> jax.Array:
    """``(batch, h, w, 4 channels)`` -> ``(batch, 2 h, 2 w, channels)``."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height, width, 2, 2, channels // 4).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(batch, 2 * height, 2 * width, channels // 4)


def max_pool(x: jax.Array) -> jax.Array:
    """Largest of each 2 x 2 block: ``(batch, 2 h, 2 w, channels)`` -> ``(batch, h, w, channels)``."""
    batch, height, width, channels = x.shape
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels).max(axis=(2, 4))
