"""Recurrences equal plain ones, PyTorch's, Flax's and cuDNN's; the LSTM's reverse pass equals autodiff."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsep.networks import GRUMask, LSTMMask, RNNMask
from jaxsep.nn.recurrence import gru_scan, lstm_cudnn, lstm_scan, pack_cudnn, rnn_scan

FRAMES, BATCH, INPUTS, WIDTH = 9, 3, 5, 4


@pytest.fixture(params=[1, 2], ids=["one direction", "two directions"])
def problem(request, rng):
    shapes = {"input": (INPUTS, 4 * WIDTH), "recurrent": (WIDTH, 4 * WIDTH), "bias": (4 * WIDTH,)}
    weights = [
        {k: 0.5 * rng.standard_normal(s).astype(np.float32) for k, s in shapes.items()}
        for _ in range(request.param)
    ]
    return rng.standard_normal((FRAMES, BATCH, INPUTS)).astype(np.float32), weights


def plain_lstm(x, weights, xp=np):
    """The textbook loop, in float64 numpy or in jax."""
    outputs, width = [], len(weights[0]["recurrent"])
    for direction, w in enumerate(weights):
        h = c = xp.zeros((x.shape[1], width))
        frames = []
        for frame in (x, x[::-1])[direction]:
            gates = frame @ w["input"] + h @ w["recurrent"] + w["bias"]
            i, f, g, o = (gates[:, k * width : (k + 1) * width] for k in range(4))
            i, f, o = (1 / (1 + xp.exp(-v)) for v in (i, f, o))
            c = f * c + i * xp.tanh(g)
            h = o * xp.tanh(c)
            frames.append(h)
        outputs.append(xp.stack(frames)[:: 1 - 2 * direction])
    return xp.concatenate(outputs, axis=-1)


def test_forward_equals_the_plain_loop(problem):
    x, weights = problem
    wide = jax.tree.map(lambda a: a.astype(np.float64), weights)
    np.testing.assert_allclose(lstm_scan(x, weights), plain_lstm(x.astype(np.float64), wide), atol=1e-6)


def test_reverse_pass_equals_autodiff_of_the_plain_loop(problem, rng):
    x, weights = problem
    seed = rng.standard_normal((FRAMES, BATCH, WIDTH * len(weights))).astype(np.float32)

    def gradient(lstm):
        return jax.grad(lambda x, w: jnp.sum(seed * lstm(x, w)), argnums=(0, 1))(x, weights)

    ours, plain = gradient(lstm_scan), gradient(lambda x, w: plain_lstm(x, w, jnp))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), ours, plain)


def test_equals_pytorch(problem):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    x, weights = problem
    lstm = torch.nn.LSTM(INPUTS, WIDTH, bidirectional=len(weights) == 2)
    for w, suffix in zip(weights, ("", "_reverse"), strict=False):
        for name, value in (
            ("weight_ih_l0", w["input"].T),
            ("weight_hh_l0", w["recurrent"].T),
            ("bias_ih_l0", w["bias"]),
            ("bias_hh_l0", np.zeros_like(w["bias"])),
        ):
            getattr(lstm, name + suffix).data = torch.tensor(np.ascontiguousarray(value))
    np.testing.assert_allclose(lstm_scan(x, weights), lstm(torch.tensor(x))[0].detach(), atol=1e-6)


def test_weights_are_packed_as_cudnn_reads_them(problem):
    from jax.experimental import rnn

    x, weights = problem
    both = len(weights) == 2
    packed = pack_cudnn(weights)
    assert packed.size == rnn.get_num_params_in_lstm(INPUTS, WIDTH, 1, both)
    state = jnp.zeros((len(weights), BATCH, WIDTH))
    matrices = rnn.unpack_lstm_weights(packed, INPUTS, WIDTH, 1, both)
    y, _, _ = rnn.lstm_ref(
        jnp.swapaxes(jnp.asarray(x), 0, 1), state, state, *matrices, jnp.full((BATCH,), FRAMES),
        input_size=INPUTS, hidden_size=WIDTH, num_layers=1, dropout=0.0, bidirectional=both,
    )  # fmt: skip
    np.testing.assert_allclose(jnp.swapaxes(y, 0, 1), lstm_scan(x, weights), atol=1e-6)


def test_cudnn_equals_the_scan_or_says_what_it_needs(problem):
    x, weights = problem
    if jax.default_backend() == "gpu":
        np.testing.assert_allclose(lstm_cudnn(x, weights), lstm_scan(x, weights), atol=1e-4)
    else:
        with pytest.raises(ValueError, match="implementation='cudnn'"):
            lstm_cudnn(x, weights)


def sliced(w, names):
    """Weights as cells of Flax name them: the matrices of each gate apart."""
    return {name: {"kernel": w[:, k * WIDTH : (k + 1) * WIDTH]} for k, name in enumerate(names)}


@pytest.mark.parametrize("directions", [1, 2])
def test_gated_and_plain_units_equal_those_of_flax(rng, directions):
    x = rng.standard_normal((FRAMES, BATCH, INPUTS)).astype(np.float32)
    for scan, gates in ((gru_scan, 3), (rnn_scan, 1)):
        shapes = {"input": (INPUTS, gates * WIDTH), "recurrent": (WIDTH, gates * WIDTH)}
        shapes |= {"bias": (gates * WIDTH,), "state_bias": (WIDTH,)}
        weights = [
            {k: 0.5 * rng.standard_normal(s).astype(np.float32) for k, s in shapes.items()}
            for _ in range(directions)
        ]
        expected = []
        for w, reverse in zip(weights, (False, True), strict=False):
            if scan is gru_scan:
                cell = nn.GRUCell(WIDTH)
                params = sliced(w["input"], ("ir", "iz", "in")) | sliced(w["recurrent"], ("hr", "hz", "hn"))
                for k, name in enumerate(("ir", "iz", "in")):
                    params[name]["bias"] = w["bias"][k * WIDTH : (k + 1) * WIDTH]
                params["hn"]["bias"] = w["state_bias"]
            else:
                cell = nn.SimpleCell(WIDTH)
                params = sliced(w["input"], ("i",)) | sliced(w["recurrent"], ("h",))
                params["i"]["bias"] = w["bias"]
            rnn = nn.RNN(cell, time_major=True, reverse=reverse, keep_order=True)
            expected.append(rnn.apply({"params": {"cell": params}}, x))
        np.testing.assert_allclose(scan(x, weights), np.concatenate(expected, axis=-1), atol=1e-6)


def test_gated_units_equal_those_of_pytorch(rng):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    x = rng.standard_normal((FRAMES, BATCH, INPUTS)).astype(np.float32)
    gru = torch.nn.GRU(INPUTS, WIDTH)
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    matrix, recurrent, bias, state_bias = (getattr(gru, name).detach().numpy() for name in names)
    weights = {"input": matrix.T, "recurrent": recurrent.T, "state_bias": state_bias[2 * WIDTH :]}
    weights["bias"] = bias + np.concatenate([state_bias[: 2 * WIDTH], np.zeros(WIDTH, np.float32)])
    np.testing.assert_allclose(gru_scan(x, [weights]), gru(torch.tensor(x))[0].detach(), atol=1e-6)


def network(num_sources=2, kind=LSTMMask, **options):
    net = kind(layers=2, width=8, **options).build(sources=num_sources, channels=1, bins=12)
    return net, net.init(jax.random.key(0), jnp.zeros((1, 1, 12, 5)))


@pytest.mark.parametrize(
    ("num_sources", "kind"), [(1, LSTMMask), (2, LSTMMask), (5, LSTMMask), (2, GRUMask), (2, RNNMask)]
)
def test_network_has_one_output_per_source(rng, num_sources, kind):
    net, variables = network(num_sources, kind)
    y, _ = net.apply(variables, jnp.asarray(rng.standard_normal((3, 1, 12, 20)), jnp.float32))
    assert y.shape == (3, num_sources, 1, 12, 20)
    assert y.min() >= 0


@pytest.mark.parametrize(
    ("bidirectional", "kind"), [(False, LSTMMask), (True, LSTMMask), (False, GRUMask), (True, RNNMask)]
)
def test_network_is_causal_as_it_says(rng, bidirectional, kind):
    net, variables = network(kind=kind, bidirectional=bidirectional)
    x = rng.standard_normal((1, 1, 12, 20)).astype(np.float32)
    later = x.copy()
    later[..., 15:] += 1
    same = np.array_equal(net.apply(variables, x)[0][..., :15], net.apply(variables, later)[0][..., :15])
    assert same == net.module.config.causal


def test_dropout_of_an_example_does_not_depend_on_its_batch(rng):
    net, variables = network(dropout=0.5)
    x = rng.standard_normal((4, 1, 12, 6)).astype(np.float32)
    keys = jax.random.split(jax.random.key(1), 4)
    whole, _ = net.apply(variables, x, train=True, key=keys)
    part, _ = net.apply(variables, x[2:], train=True, key=keys[2:])
    np.testing.assert_allclose(whole[2:], part, atol=1e-6)
    assert not np.allclose(whole, net.apply(variables, x)[0])
    with pytest.raises(ValueError, match="dropout at rate=0.5"):
        net.apply(variables, x, train=True)


def test_the_published_width_has_the_published_size():
    net = LSTMMask().build(sources=2, channels=1, bins=513)
    shapes = jax.eval_shape(lambda: net.init(jax.random.key(0), jnp.zeros((1, 1, 513, 2))))
    assert 23.0e6 < sum(np.prod(s.shape) for s in jax.tree.leaves(shapes)) < 24.5e6
