"""Convolutions over images and sequences, channels last, in the form that runs fastest.

A stride of two is a change of layout: each 2 x 2 block of pixels becomes four channels, and the
kernel is cut up to match. No product is spent on zeros, and both derivatives are again plain
convolutions; strided and dilated ones are several times slower on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

_LAYOUT = ("NHWC", "HWIO", "NHWC")


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


@jax.custom_vjp
def conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """``(batch, height, width, in)`` * ``(odd, odd, in, out)``, zero-padded to the same size.

    The gradient of the kernel gathers patches of the side with fewer channels.
    """
    return _conv(x, kernel)


def _conv(x, kernel):
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=_LAYOUT)


def _conv_forward(x, kernel):
    return _conv(x, kernel), (x, kernel)


def _conv_backward(saved, grad):
    x, kernel = saved
    if x.shape[-1] <= grad.shape[-1]:
        _, pull = jax.vjp(lambda k: _conv(x, k), kernel)
        (grad_kernel,) = pull(grad)
    else:
        _, pull = jax.vjp(lambda k: _conv(grad, k), _turned(kernel))
        grad_kernel = _turned(pull(x)[0])
    return _conv(grad, _turned(kernel)), grad_kernel


def _turned(kernel):
    """The kernel of the transposed convolution."""
    return kernel[::-1, ::-1].swapaxes(2, 3)


conv.defvjp(_conv_forward, _conv_backward)


def conv_down(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolution with stride two: ``y[i] = sum_k kernel[k] x[2 i + k - size // 2]``; even sizes."""
    inputs, outputs = kernel.shape[2:]
    parts, half = _by_parity(kernel)
    parts = parts.transpose(0, 2, 1, 3, 4, 5).reshape(half, half, 4 * inputs, outputs)
    return conv(space_to_depth(x), parts)


def conv_up(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Transposed convolution: ``y[o] = sum_{i, k: o = 2 i + k - size // 2} kernel[k] x[i]``."""
    inputs, outputs = kernel.shape[2:]
    parts, half = _by_parity(kernel)
    parts = parts[::-1, :, ::-1].transpose(0, 2, 4, 1, 3, 5).reshape(half, half, inputs, 4 * outputs)
    return depth_to_space(conv(x, parts))


@jax.custom_vjp
def conv_time(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """``(batch, time, in)`` * ``(taps, in, out)`` -> ``(batch, time - taps + 1, out)``, no padding.

    The gradient of the kernel is a convolution too, whose channels are the batch; written out as
    one it is up to a hundred times faster than as XLA's derivative of a convolution on a CPU.
    """
    return jax.lax.conv_general_dilated(x, kernel, (1,), "VALID", dimension_numbers=("NWC", "WIO", "NWC"))


def conv_time_transposed(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """``(batch, time, in)`` * ``(taps, in, out)`` -> ``(batch, time + taps - 1, out)``.

    ``y[t + k] += x[t] kernel[k]``: PyTorch's ``ConvTranspose1d`` with its weights transposed.
    """
    taps = kernel.shape[0] - 1
    return conv_time(jnp.pad(x, ((0, 0), (taps, taps), (0, 0))), kernel[::-1])


def _conv_time_forward(x, kernel):
    return conv_time(x, kernel), (x, kernel)


def _conv_time_backward(saved, grad):
    x, kernel = saved
    grad_kernel = conv_time(x.transpose(2, 1, 0), grad.transpose(1, 0, 2)).transpose(1, 0, 2)
    return conv_time_transposed(grad, kernel.transpose(0, 2, 1)), grad_kernel


conv_time.defvjp(_conv_time_forward, _conv_time_backward)


def space_to_depth(x: jax.Array) -> jax.Array:
    """``(batch, 2 h, 2 w, channels)`` -> ``(batch, h, w, 4 channels)``."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // 2, 2, width // 2, 2, channels).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(batch, height // 2, width // 2, 4 * channels)


def depth_to_space(x: jax.Array) -> jax.Array:
    """``(batch, h, w, 4 channels)`` -> ``(batch, 2 h, 2 w, channels)``."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height, width, 2, 2, channels // 4).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(batch, 2 * height, 2 * width, channels // 4)


def max_pool(x: jax.Array) -> jax.Array:
    """Largest of each 2 x 2 block: ``(batch, 2 h, 2 w, channels)`` -> ``(batch, h, w, channels)``."""
    batch, height, width, channels = x.shape
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels).max(axis=(2, 4))


def _by_parity(kernel):
    """Split the taps of both axes into (offset, parity): ``(half, 2, half, 2, in, out)``, and half.

    Tap k reaches ``k - size // 2 = 2 a + parity``. For sizes 5, 9, ... offsets run symmetrically;
    others are first padded on both sides to such a size. One tap of zeros fills the last offset.
    """
    size, _, inputs, outputs = kernel.shape
    side = (5 - size) % 4 // 2
    half = (size + 2 * side + 1) // 2
    kernel = jnp.pad(kernel, [(side, side + 1)] * 2 + [(0, 0)] * 2)
    return kernel.reshape(half, 2, half, 2, inputs, outputs), half
