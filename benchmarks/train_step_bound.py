"""What XLA's products alone cost of the three training steps, beside PyTorch's whole step.

A program for each network of ``train_step``: the matrix products or convolutions of the forward and the
backward pass in their shapes, and the gradients of every weight, but no transform, activation, normalization,
loss or optimizer. Convolutions take the forms of :mod:`jaxsep.nn.convolution`: as XLA's own, with its
derivatives, they are slower. Where it takes longer than PyTorch's whole step, no step made of these products,
in these forms and with these options of XLA, is as fast as that one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.timing import Result, compare, find_torch, torch_threads
from benchmarks.train_step import CASES, torch_step
from jaxsep.compilation import compiler_options
from jaxsep.nn.convolution import conv_down, conv_time, conv_time_transposed, conv_up


def run(say) -> list[Result]:
    """Time the products of every case beside PyTorch's step."""
    torch = find_torch(say)
    if torch is None:
        return []
    results = []
    makers: tuple[Callable, ...] = (lstm_products, unet_convolutions, cnn_products)
    for case, make in zip(CASES, makers, strict=True):
        program, arrays = make(np.random.default_rng(0))
        products = jax.jit(program, compiler_options=compiler_options(case.network)).lower(*arrays).compile()
        shape = (case.batch, case.num_sources, case.samples)
        step, _ = torch_step(torch, case, np.random.default_rng(0).standard_normal(shape).astype(np.float32))
        peers = {f"torch, {t} threads": torch_threads(torch, step, t) for t in (1, 2)}
        results += compare(f"{case.name}: products", partial(products, *arrays), peers, rounds=5)
    return results


def lstm_products(rng, frames=125, batch=16, bins=513, width=1000, layers=3, outputs=1026):
    """Products of stacked LSTM layers and their heads; a quarter of a product is the state."""
    inputs = [bins] + [width] * (layers - 1)
    weights = [(_normal(rng, n, 4 * width), _normal(rng, width, 4 * width)) for n in inputs]
    arrays = (_normal(rng, frames, batch, bins), weights, _normal(rng, width, outputs))

    def program(x, weights, heads):
        kept, at = [], x
        for into, recurrent in weights:
            states = _recur(at @ into, recurrent)
            kept.append((at, states))
            at = states
        y = at @ heads
        gradients, back = [_outer(at, y)], y @ heads.T
        for (into, recurrent), (given, states) in zip(reversed(weights), reversed(kept), strict=True):
            gates = _recur_back(back, recurrent)
            gradients += [_outer(given, gates), _outer(states, gates)]
            back = gates @ into.T
        return gradients

    return program, arrays


def _recur(projected, recurrent):
    """``h <- (h W + p_t)`` cut to as many as h has: a product for each frame."""

    def step(h, p):
        h = (h @ recurrent + p)[:, : recurrent.shape[0]]
        return h, h

    return jax.lax.scan(step, jnp.zeros((projected.shape[1], recurrent.shape[0])), projected)[1]


def _recur_back(back, recurrent):
    """The way back: gradients of the gates of every frame, a product for each."""
    transposed = recurrent.T

    def step(h, b):
        gates = jnp.tile(h + b, 4)
        return gates @ transposed, gates

    return jax.lax.scan(step, jnp.zeros(back.shape[1:]), back, reverse=True)[1]


def _outer(x, y):
    """The gradient of a weight: one product over all frames and examples."""
    return x.reshape(-1, x.shape[-1]).T @ y.reshape(-1, y.shape[-1])


def unet_convolutions(rng, batch=4, bins=512, frames=256, levels=5, filters=16, sources=2):
    """Convolutions of the U-Net down and up, with skips, and their gradients."""
    widths = [filters << level for level in range(levels)]
    skips = [2 * width for width in widths[:-1]] + widths[-1:]
    down = [_normal(rng, 5, 5, a, b) for a, b in zip([1, *widths[:-1]], widths, strict=True)]
    up = [_normal(rng, 5, 5, a, b) for a, b in zip(skips, [sources, *widths[:-1]], strict=True)]

    def forward(weights, x):
        kept = []
        for kernel in weights[0]:
            x = conv_down(x, kernel)
            kept.append(x)
        for level in reversed(range(levels)):
            x = x if level == levels - 1 else jnp.concatenate([x, kept[level]], axis=-1)
            x = conv_up(x, weights[1][level])
        return x

    def program(weights, x):
        y, back = jax.vjp(lambda weights: forward(weights, x), weights)
        return back(y)

    return program, ((down, up), _normal(rng, batch, bins, frames, 1))


def cnn_products(rng, batch=8, bins=257, frames=517, sources=5, span=150):
    """Products of the auto-encoder's encoder and decoders, and their gradients."""
    length = frames - span + 1
    encoder = (_normal(rng, bins, 50), _normal(rng, span, 50, 30), _normal(rng, 30 * length, 128))
    decoder = (_normal(rng, 128, 30 * length), _normal(rng, span, 30, 50), _normal(rng, 50, bins))

    def forward(weights, x):
        one, two, three = weights[0]
        code = conv_time(x @ one, two).reshape(batch, -1) @ three
        outputs = []
        for one, two, three in weights[1]:
            y = (code @ one).reshape(batch, length, 30)
            outputs.append(conv_time_transposed(y, two) @ three)
        return jnp.stack(outputs)

    def program(weights, x):
        y, back = jax.vjp(lambda weights: forward(weights, x), weights)
        return back(y)

    return program, ((encoder, [decoder] * sources), _normal(rng, batch, frames, bins))


def _normal(rng, *shape):
    """Small numbers, so that nothing overflows on its way."""
    return jnp.asarray(0.01 * rng.standard_normal(shape), jnp.float32)
