"""Layers whose result does not depend on how a batch is spread over devices."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

OutputRange = Literal["unit", "not negative", "any"]

#: Activation of a network's outputs, by the name that configs use, and where its values lie.
ACTIVATIONS: dict[str, tuple[Callable, OutputRange]] = {
    "sigmoid": (nn.sigmoid, "unit"),
    "softplus": (nn.softplus, "not negative"),
    "relu": (nn.relu, "not negative"),
    "abs": (jnp.abs, "not negative"),
    "tanh": (jnp.tanh, "any"),
    "linear": (lambda x: x, "any"),
}


class BatchNorm(nn.Module):
    """Batch normalization over every axis but ``axis``, with weighted examples.

    In training the statistics are those of the whole batch: weighted by ``mask`` and summed over
    ``axis_name``, so that padding examples count nothing and any number of devices agrees. The
    gradient flows through them. They are computed in float32, whatever the precision of the input, which is
    that of the output.

    References:
      S. Ioffe and C. Szegedy, "Batch normalization", ICML 2015.
    """

    axis: int = 1
    momentum: float = 0.95
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x, *, train=False, mask=None, axis_name=None):
        given, x = x.dtype, x.astype(jnp.float32)
        size = x.shape[self.axis]
        scale = self.param("scale", nn.initializers.ones, (size,))
        bias = self.param("bias", nn.initializers.zeros, (size,))
        mean = self.variable("batch_stats", "mean", jnp.zeros, (size,))
        var = self.variable("batch_stats", "var", jnp.ones, (size,))
        shape = [size if i == self.axis % x.ndim else 1 for i in range(x.ndim)]
        if train:
            batch_mean, batch_var = _moments(x, self.axis, mask, axis_name)
            if not self.is_initializing():
                keep = self.momentum
                mean.value = keep * mean.value + (1 - keep) * batch_mean
                var.value = keep * var.value + (1 - keep) * batch_var
        else:
            batch_mean, batch_var = mean.value, var.value
        gain = scale * jax.lax.rsqrt(batch_var + self.epsilon)
        x = (x - batch_mean.reshape(shape)) * gain.reshape(shape) + bias.reshape(shape)
        return x.astype(given)


class Dropout(nn.Module):
    """Dropout drawn for each example from its own key, so batching does not change it."""

    rate: float
    batch_axis: int = 0

    @nn.compact
    def __call__(self, x, *, train=False, keys=None):
        if not train or self.rate == 0:
            return x
        if keys is None:
            raise ValueError(f"key=None: dropout at rate={self.rate} needs one key per example")
        layer = zlib.crc32("/".join(self.path).encode())
        shape = tuple(n for i, n in enumerate(x.shape) if i != self.batch_axis % x.ndim)

        def draw(key):
            return jax.random.bernoulli(jax.random.fold_in(key, layer), 1 - self.rate, shape)

        keep = jax.vmap(draw, out_axes=self.batch_axis)(keys)
        return jnp.where(keep, x / (1 - self.rate), 0.0)


def _moments(x, axis, mask, axis_name):
    """Mean and variance over every axis but ``axis``, in two passes, over all devices."""
    axis = axis % x.ndim
    over = tuple(i for i in range(x.ndim) if i != axis)
    weight = jnp.ones(x.shape[0], x.dtype) if mask is None else mask.astype(x.dtype)
    weight = weight.reshape([-1] + [1] * (x.ndim - 1))
    per_example = x.size // (x.shape[0] * x.shape[axis])

    def total(values):
        return values if axis_name is None else jax.lax.psum(values, axis_name)

    count = jnp.maximum(total(jnp.sum(weight)) * per_example, 1.0)
    mean = total(jnp.sum(weight * x, axis=over)) / count
    shape = [-1 if i == axis else 1 for i in range(x.ndim)]
    centered = x - mean.reshape(shape)
    return mean, total(jnp.sum(weight * jnp.square(centered), axis=over)) / count
