"""Recurrences: the LSTM by a scan with its own reverse pass and by cuDNN, the GRU and plain units.

All take time-major input and the weights of one or two directions. Both ways of the LSTM return the same
numbers. Its scan does outside the loop all that does not depend on the previous frame: the projection of
the whole input is one product, and in the reverse pass so is the gradient of the recurrent
matrix. What is left inside is one (batch, width) x (width, 4 width) product a frame.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np


def lstm_scan(x: jax.Array, weights: list[dict]) -> jax.Array:
    """One LSTM layer by ``lax.scan``.

    Args:
      x: ``(frames, batch, in)``.
      weights: one dict (or two, the second for reversed time) of ``input`` (in, 4 width),
        ``recurrent`` (width, 4 width) and ``bias`` (4 width,).

    Returns:
      ``(frames, batch, width * len(weights))``; the state starts at zero.
    """
    return _directions(x, weights, lambda gates, w, backward: _recur(gates, w["recurrent"], backward))


def lstm_cudnn(x: jax.Array, weights: list[dict]) -> jax.Array:
    """One LSTM layer by cuDNN; arguments and result as :func:`lstm_scan`.

    Raises:
      ValueError: when the default backend is not an NVIDIA GPU.
    """
    if jax.default_backend() != "gpu":
        raise ValueError(
            f"implementation='cudnn': the default backend is {jax.default_backend()!r}, not an "
            "NVIDIA GPU; use implementation='scan'"
        )
    from jax.experimental import rnn

    frames, batch, inputs = x.shape
    width = weights[0]["recurrent"].shape[0]
    state = jnp.zeros((len(weights), batch, width), x.dtype)
    y, _, _ = rnn.lstm(
        jnp.swapaxes(x, 0, 1),
        state,
        state,
        pack_cudnn(weights),
        jnp.full((batch,), frames, jnp.int32),
        input_size=inputs,
        hidden_size=width,
        num_layers=1,
        dropout=0.0,
        bidirectional=len(weights) == 2,
    )
    return jnp.swapaxes(y, 0, 1)


def pack_cudnn(weights: list[dict]) -> jax.Array:
    """Flatten the weights of one layer in cuDNN's order: matrices, then two biases each."""
    matrices = [m for w in weights for m in (w["input"].T, w["recurrent"].T)]
    biases = [b for w in weights for b in (w["bias"], jnp.zeros_like(w["bias"]))]
    return jnp.concatenate([part.ravel() for part in (*matrices, *biases)])


def gru_scan(x: jax.Array, weights: list[dict]) -> jax.Array:
    """One layer of gated recurrent units; arguments and result as :func:`lstm_scan`, for three gates.

    In PyTorch's order and form (Cho et al., EMNLP 2014, with the reset gate behind the product): reset r,
    update z, candidate ``n = tanh(input_n + r * (state @ U_n + state_bias))``, and the next state
    ``(1 - z) * n + z * state``. The weights have a ``state_bias`` (width,) besides.
    """
    return _scan(_gru_unit, x, weights)


def _gru_unit(projected, state, w):
    width = state.shape[-1]
    product = state @ w["recurrent"]
    gates = jax.nn.sigmoid(projected[:, : 2 * width] + product[:, : 2 * width])
    r, z = gates[:, :width], gates[:, width:]
    n = jnp.tanh(projected[:, 2 * width :] + r * (product[:, 2 * width :] + w["state_bias"]))
    return n + z * (state - n)


def rnn_scan(x: jax.Array, weights: list[dict]) -> jax.Array:
    """One layer of plain units, ``tanh(input + state @ U)``; arguments and result as :func:`lstm_scan`."""
    return _scan(_rnn_unit, x, weights)


def _rnn_unit(projected, state, w):
    return jnp.tanh(projected + state @ w["recurrent"])


def lstm_from(x: jax.Array, weights: dict, state: tuple) -> tuple[jax.Array, tuple]:
    """One direction of a layer that goes on from a state: hidden and cell, each ``(batch, width)``.

    Args:
      x: ``(frames, batch, in)``, at least one frame.
      weights: as one of :func:`lstm_scan`'s.
      state: of the frame before; zeros before the first.

    Returns:
      ``(frames, batch, width)`` and the state of the last frame.
    """
    hidden, (_, cell, *_) = _run(x @ weights["input"] + weights["bias"], weights["recurrent"], state)
    return hidden, (hidden[-1], cell[-1])


def gru_from(x: jax.Array, weights: dict, state: jax.Array) -> tuple[jax.Array, jax.Array]:
    """As :func:`lstm_from`, of gated recurrent units, whose state is ``(batch, width)``."""
    return _units_from(_gru_unit, x, weights, state)


def rnn_from(x: jax.Array, weights: dict, state: jax.Array) -> tuple[jax.Array, jax.Array]:
    """As :func:`lstm_from`, of plain units, whose state is ``(batch, width)``."""
    return _units_from(_rnn_unit, x, weights, state)


def _units_from(unit, x, weights, state):
    def frame(state, gates):
        state = unit(gates, state, weights)
        return state, state

    state, y = jax.lax.scan(frame, state, x @ weights["input"] + weights["bias"])
    return y, state


def _scan(unit, x, weights):
    """Run ``unit(projected input, state, weights) -> state`` over the frames of each direction."""

    def recur(projected, w, backward):
        def frame(state, gates):
            state = unit(gates, state, w)
            return state, state

        start = _zeros_like_batch(projected, w["recurrent"].shape[0])
        return jax.lax.scan(frame, start, projected, reverse=backward)[1]

    return _directions(x, weights, recur)


def _directions(x, weights, recur):
    """``recur(projected input, weights, backward)`` of each direction, side by side."""
    outputs = [
        recur(x @ w["input"] + w["bias"], w, backward)
        for backward, w in zip((False, True), weights, strict=False)
    ]
    return jnp.concatenate(outputs, axis=-1) if len(outputs) > 1 else outputs[0]


@jax.custom_vjp
def _recur_forward(projected, recurrent):
    return _run(projected, recurrent)[0]


def _recur(projected, recurrent, backward):
    if not backward:
        return _recur_forward(projected, recurrent)
    return jnp.flip(_recur_forward(jnp.flip(projected, 0), recurrent), 0)


def _run(projected, recurrent, start=None):
    """Scan over frames, from zeros without a start; return the hidden states and what the reverse needs.

    ``sigmoid(x) = tanh(x / 2) / 2 + 1 / 2``, so that one tanh over the whole row makes all gates: XLA on a
    CPU computes it in vectors, but not what is sliced before.
    """
    width = recurrent.shape[0]
    scale = np.repeat(np.asarray([0.5, 0.5, 1, 0.5], projected.dtype), width)

    def frame(carry, gates):
        hidden, cell = carry
        gates = scale * jnp.tanh(scale * (gates + hidden @ recurrent)) + (1 - scale)
        i, f, g, o = _split(gates)
        cell = f * cell + i * g
        hidden = o * jnp.tanh(cell)
        return (hidden, cell), (hidden, cell, gates)

    zeros = _zeros_like_batch(projected, width)
    _, (hidden, cell, gates) = jax.lax.scan(frame, start or (zeros, zeros), projected)
    return hidden, (hidden, cell, gates, recurrent)


def _reverse(saved, grad_hidden):
    """The gradients; all that does not depend on the frame behind is multiplied before the loop."""
    hidden, cell, gates, recurrent = saved
    transposed, tanh_cell = recurrent.T, jnp.tanh(cell)
    i, f, g, o = _split(gates)
    of_cell = o * (1 - tanh_cell * tanh_cell)
    slopes = [g * i * (1 - i), _shift(cell) * f * (1 - f), i * (1 - g * g), tanh_cell * o * (1 - o)]

    def frame(carry, inputs):
        grad_h, grad_c = carry
        out_grad, of_cell, forget, slopes = inputs
        grad_h = grad_h + out_grad
        grad_c = grad_c + grad_h * of_cell
        grad_gates = jnp.concatenate([grad_c, grad_c, grad_c, grad_h], axis=-1) * slopes
        return (grad_gates @ transposed, grad_c * forget), grad_gates

    start = _zeros_like_batch(gates, recurrent.shape[0])
    inputs = (grad_hidden, of_cell, f, jnp.concatenate(slopes, axis=-1))
    _, grad_projected = jax.lax.scan(frame, (start, start), inputs, reverse=True)
    grad_recurrent = jnp.einsum("tbh,tbg->hg", _shift(hidden), grad_projected)
    return grad_projected, grad_recurrent


def _split(gates):
    """Input, forget, cell and output gate, each ``(..., width)``."""
    return jnp.split(gates, 4, axis=-1)


_recur_forward.defvjp(_run, _reverse)


def _shift(x):
    """Delay by one frame, starting from zero."""
    return jnp.concatenate([jnp.zeros_like(x[:1]), x[:-1]])


def _zeros_like_batch(x, width):
    """Zeros (batch, width) of the type of ``x``: under shard_map a scan's carry must vary as it does."""
    return jnp.where(True, 0.0, x[0, :, :width])
