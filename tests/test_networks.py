"""Each network equals a plain one with the same weights, at any size, and is what it says."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from jax.test_util import check_grads
from test_train_step import in_time

from jaxsep.networks import (
    DPCRN,
    CNNAutoencoder,
    FeedForward,
    GRUMask,
    LSTMMask,
    MaskEstimation,
    OpenUnmix,
    PerSource,
    RNNMask,
    SpleeterUNet,
    UNet,
    WaveUNet,
)
from jaxsep.nn.convolution import conv, conv_time, conv_time_transposed
from jaxsep.nn.long_convolution import worthwhile
from jaxsep.parts import Network, from_dict, to_dict

SMALL = {
    "lstm_mask": LSTMMask(layers=1, width=6),
    "gru_mask": GRUMask(layers=1, width=6),
    "rnn_mask": RNNMask(layers=1, width=6, bidirectional=True),
    "unet": UNet(levels=2, filters=2),
    "spleeter_unet": SpleeterUNet(levels=2, filters=2),
    "cnn_autoencoder": CNNAutoencoder(frames=20, frequency_filters=3, time_filters=4, time_kernel=7, width=5),
    "feed_forward": FeedForward(layers=(7, 5), context=2),
    "mask_estimation": MaskEstimation(layers=(7,), context=1),
    "wave_unet": WaveUNet(levels=3, filters=2, down_kernel=5, up_kernel=3),
    "openunmix": OpenUnmix(layers=1, width=6, heard=7),
    "dpcrn": DPCRN(levels=2, filters=2, width=4, blocks=1),
}


def made(config, shape, num_sources=2):
    """A network, its variables with nothing at zero, and a jitted call."""
    net = config.build(sources=num_sources, channels=1, bins=shape[-2])
    variables = jax.jit(net.init)(jax.random.key(0), jnp.zeros(shape))
    leaves, structure = jax.tree.flatten(variables)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    leaves = [a + 0.2 * jax.random.uniform(k, a.shape) for a, k in zip(leaves, keys, strict=True)]
    variables = jax.tree.unflatten(structure, leaves)
    return variables, lambda x: jax.jit(net.apply)(variables, x)[0][:, :, 0]


def wide(variables):
    return jax.tree.map(lambda a: np.asarray(a, np.float64), variables["params"])


def plain_conv(x, kernel):
    """(length, in) * (taps, in, out), valid, in float64."""
    taps = len(kernel)
    return np.stack([np.einsum("ki,kio->o", x[t : t + taps], kernel) for t in range(len(x) - taps + 1)])


def plain_transposed(x, kernel):
    y = np.zeros((len(x) + len(kernel) - 1, kernel.shape[2]))
    for t, row in enumerate(x):
        y[t : t + len(kernel)] += np.einsum("i,kio->ko", row, kernel)
    return y


def dense(x, p):
    return x @ p["kernel"] + p["bias"]


def test_convolutions_over_time_and_their_gradients_equal_plain_ones(rng):
    x = rng.standard_normal((2, 11, 3)).astype(np.float32)
    for function, plain in ((conv_time, plain_conv), (conv_time_transposed, plain_transposed)):
        kernel = rng.standard_normal((4, 3, 2)).astype(np.float32)
        np.testing.assert_allclose(function(x, kernel), [plain(a, kernel) for a in x], atol=1e-5)
        check_grads(function, (x, kernel), order=1, modes=["rev"], atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("time", [33, 40])
def test_long_convolutions_are_those_of_short_ones(rng, monkeypatch, time):
    """As products of spectra, forward and back; both parities of the length."""
    long = rng.standard_normal((2, time, 3)).astype(np.float32)
    short = rng.standard_normal((2, time - 8, 4)).astype(np.float32)
    kernel = rng.standard_normal((9, 3, 4)).astype(np.float32)

    def everything(function, x, kernel):
        y, pull = jax.vjp(function, x, kernel)
        return y, *pull(jnp.sin(y))

    cases = ((conv_time, long, kernel), (conv_time_transposed, short, kernel.swapaxes(1, 2)))

    def programs():
        return [jax.jit(lambda x, k, f=f: everything(f, x, k)) for f, _, _ in cases]

    plain = [run(x, k) for run, (_, x, k) in zip(programs(), cases, strict=True)]
    monkeypatch.setattr("jaxsep.nn.convolution.worthwhile", lambda *_: True)
    for run, (_, x, k), expected in zip(programs(), cases, plain, strict=True):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-4), run(x, k), expected)
        if jax.default_backend() == "cpu":
            assert "convolution" not in run.lower(x, k).as_text()


def test_spectra_are_for_long_kernels_of_known_sizes():
    assert worthwhile(8, 517, (150, 50, 30))
    assert not worthwhile(8, 517, (15, 50, 30))
    assert not worthwhile(8, 10_000, (5000, 50, 30))  # the matrices of so long a DFT are too large
    kernel = jax.ShapeDtypeStruct((150, 50, 30), np.float32)
    x = jax.ShapeDtypeStruct(export.symbolic_shape("b, 517, 50"), np.float32)
    program = export.export(jax.jit(conv_time))(x, kernel)
    assert program.out_avals[0].shape[1:] == (368, 30)


@pytest.mark.parametrize(("inputs", "outputs"), [(2, 3), (3, 2)])
def test_gradients_of_convolutions_over_images_are_right(rng, inputs, outputs):
    x = rng.standard_normal((2, 6, 4, inputs)).astype(np.float32)
    kernel = rng.standard_normal((3, 5, inputs, outputs)).astype(np.float32)

    def theirs(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    def gradient(function):
        return jax.grad(lambda x, k: jnp.sum(jnp.sin(function(x, k))), argnums=(0, 1))(x, kernel)

    ours, expected = gradient(conv), gradient(theirs)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), ours, expected)


def plain_cnn(config, p, x, num_sources):
    """(channels, bins, frames) -> (sources, bins, frames), loops in float64."""
    span = config.frequency_kernel or x.shape[1]
    rows = [plain_conv(frame, p["frequency"]["kernel"]) for frame in x.transpose(2, 1, 0)]
    maps = np.stack(rows, axis=1) + p["frequency"]["bias"]  # (heights, frames, filters)
    maps = np.stack([plain_conv(m, p["time"]["kernel"]) for m in maps]) + p["time"]["bias"]
    code = np.maximum(dense(maps.ravel(), p["dense"]), 0)
    outputs = []
    for i in range(num_sources):
        y = np.maximum(dense(code, p[f"decoder_{i}_dense"]), 0).reshape(maps.shape)
        time, frequency = p[f"decoder_{i}_time"], p[f"decoder_{i}_frequency"]
        if config.deconvolution:
            y = np.stack([plain_transposed(m, time["kernel"]) for m in y]) + time["bias"]
        else:
            y = np.pad(y, ((0, 0), (0, 2 * (config.time_kernel - 1)), (0, 0)))
            y = np.stack([plain_conv(m, time["kernel"]) for m in y]) + time["bias"]
        y = np.stack([plain_transposed(frame, frequency["kernel"]) for frame in y.transpose(1, 0, 2)])
        outputs.append(np.maximum(y[..., 0] + frequency["bias"], 0).T)
    assert span <= x.shape[1]
    return np.stack(outputs)


@pytest.mark.parametrize(
    ("options", "channels"),
    [({}, 1), ({}, 2), (dict(deconvolution=False), 1), (dict(frequency_kernel=4), 1)],
    ids=["published", "two channels", "zero padding", "shorter filters"],
)
def test_cnn_autoencoder_equals_a_plain_one(rng, options, channels):
    config = dataclasses.replace(SMALL["cnn_autoencoder"], **options)
    variables, call = made(config, (1, channels, 9, 20), num_sources=3)
    x = rng.standard_normal((2, channels, 9, 20)).astype(np.float32)
    expected = np.stack([plain_cnn(config, wide(variables), a.astype(np.float64), 3) for a in x])
    np.testing.assert_allclose(call(x), expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def test_cnn_autoencoder_has_the_published_size():
    shape = (1, 1, 257, 517)
    net = CNNAutoencoder().build(sources=5, channels=1, bins=257)
    shapes = jax.eval_shape(lambda: net.init(jax.random.key(0), jnp.zeros(shape)))["params"]
    assert shapes["dense"]["kernel"].shape == (11040, 128)
    assert sum(int(np.prod(s.shape)) for s in jax.tree.leaves(shapes)) == 9_961_483


def plain_feed_forward(config, p, x, num_sources):
    """(bins, frames) -> (sources, bins, frames) in float64."""
    padded = np.pad(x.T, ((config.context, config.context), (0, 0)))
    y = np.stack([padded[t : t + 2 * config.context + 1].ravel() for t in range(x.shape[1])])
    for i in range(len(config.layers)):
        y = dense(y, p[f"dense_{i}"])
        y = np.where(y >= 0, y, y * p[f"prelu_{i}"]["slope"])
    return dense(y, p["outputs"]).reshape(len(y), num_sources, -1).transpose(1, 2, 0)


def test_feed_forward_equals_a_plain_one(rng):
    config = SMALL["feed_forward"]
    variables, call = made(config, (1, 1, 6, 9), num_sources=3)
    x = rng.standard_normal((2, 1, 6, 9)).astype(np.float32)
    expected = [plain_feed_forward(config, wide(variables), a[0].astype(np.float64), 3) for a in x]
    np.testing.assert_allclose(call(x), expected, atol=1e-5)


def test_feed_forward_has_the_layers_of_its_source():
    net = FeedForward().build(sources=2, channels=1, bins=1024)
    shapes = jax.eval_shape(lambda: net.init(jax.random.key(0), jnp.zeros((1, 1, 1024, 3))))
    kernels = {name: v["kernel"].shape for name, v in shapes["params"].items() if "kernel" in v}
    assert kernels == {"dense_0": (1024, 1024), "dense_1": (1024, 512), "outputs": (512, 2048)}


def plain_wave_unet(config, p, x, num_sources):
    """(samples,) -> (sources, samples) in float64; the length must be a multiple of 2 ** levels."""

    def convolve(x, p):
        side = len(p["kernel"]) // 2
        y = plain_conv(np.pad(x, ((side, side), (0, 0))), p["kernel"]) + p["bias"]
        return np.where(y >= 0, y, 0.2 * y)

    y, skips = x[:, None], []
    for level in range(1, config.levels + 1):
        skips.append(convolve(y, p[f"down_{level}"]))
        y = skips[-1][::2]
    y = convolve(y, p["bottom"])
    for level in range(config.levels, 0, -1):
        at = np.minimum(np.arange(2 * len(y)) / 2, len(y) - 1)
        y = np.stack([np.interp(at, np.arange(len(y)), column) for column in y.T], axis=1)
        y = convolve(np.concatenate([y, skips[level - 1]], axis=1), p[f"up_{level}"])
    y = np.tanh(dense(np.concatenate([y, x[:, None]], axis=1), p["outputs"])).T
    return np.concatenate([y, x[None] - y.sum(0, keepdims=True)]) if config.difference else y


@pytest.mark.parametrize("difference", [False, True])
def test_wave_unet_equals_a_plain_one(rng, difference):
    config = dataclasses.replace(SMALL["wave_unet"], difference=difference)
    variables, call = made(config, (1, 1, 32), num_sources=3)
    x = rng.standard_normal((2, 1, 32)).astype(np.float32)
    expected = [plain_wave_unet(config, wide(variables), a[0].astype(np.float64), 3) for a in x]
    np.testing.assert_allclose(call(x), expected, atol=1e-5)


@pytest.mark.slow
def test_wave_unet_begins_far_from_where_tanh_saturates(rng):
    net = WaveUNet(levels=5, filters=24, activation="linear").build(sources=2, channels=1, bins=1)
    x = rng.uniform(-1, 1, (1, 1, 4096)).astype(np.float32)
    y = net.apply(net.init(jax.random.key(0), x), x)[0][:, :, 0]
    assert 1e-3 < np.abs(y[:, 0]).max() < 0.5


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("num_sources", in_time((2, 5), (2,)))
def test_output_has_one_like_the_input_per_source(rng, name, num_sources):
    config = SMALL[name]
    shapes = [(2, 1, 12, config.window or frames) for frames in (1, 23)]
    if config.domain == "samples":
        shapes = [(2, 1, samples) for samples in (1, 77)]
    for shape in shapes:
        _, call = made(config, shape, num_sources)
        y = call(rng.standard_normal(shape).astype(np.float32))
        assert y.shape == (2, num_sources, *shape[2:])
        low, high = {"unit": (0, 1), "not negative": (0, np.inf), "any": (-np.inf, np.inf)}[
            config.output_range
        ]
        assert low <= y.min() <= y.max() <= high


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("lstm_mask", {}),
        ("feed_forward", {"context": 0}),
        ("dpcrn", {"bidirectional": True}),
        *((n, {}) for n in SMALL),
    ],
)
def test_a_network_is_causal_as_it_says(rng, name, options):
    config = dataclasses.replace(SMALL[name], **options)
    shape = (1, 1, 48) if config.domain == "samples" else (1, 1, 12, config.window or 24)
    _, call = made(config, shape)
    x = rng.standard_normal(shape).astype(np.float32)
    later = x.copy()
    middle = shape[-1] // 2
    later[..., middle:] += 1
    assert np.array_equal(call(x)[..., :middle], call(later)[..., :middle]) == config.causal


@pytest.mark.slow
def test_lstm_takes_any_layers_and_widths(rng):
    for layers, width, bidirectional in ((1, 1, False), (3, 5, True)):
        config = LSTMMask(layers=layers, width=width, bidirectional=bidirectional, activation="linear")
        _, call = made(config, (1, 2, 4, 5), num_sources=4)
        assert call(rng.standard_normal((1, 2, 4, 5)).astype(np.float32)).shape == (1, 4, 4, 5)


@dataclasses.dataclass(frozen=True)
class Holder:
    network: Network = LSTMMask()


@pytest.mark.parametrize("name", SMALL)
def test_a_config_comes_back_from_its_dictionary(name):
    config = SMALL[name]
    assert from_dict(Holder, {"network": to_dict(config)}).network == config
    assert config.portable() == config
    with pytest.raises(ValueError, match=r"network\.magic: unknown"):
        from_dict(Holder, {"network": {"name": name, "magic": 1}})


def test_an_unknown_network_is_refused_and_a_nameless_one_is_the_default():
    assert from_dict(Holder, {"network": {"width": 3}}).network == LSTMMask(width=3)
    assert from_dict(Holder, {"network": "unet"}).network == UNet()
    for name in ("magic", 7, ["unet"]):
        with pytest.raises(ValueError, match=r"network\.name="):
            from_dict(Holder, {"network": {"name": name}})


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (lambda: CNNAutoencoder(frames=259, time_kernel=350), "time_kernel=350: .* frames=259"),
        (lambda: CNNAutoencoder(width=0), "width=0"),
        (lambda: CNNAutoencoder(frequency_kernel=-1), "frequency_kernel=-1"),
        (lambda: CNNAutoencoder(frequency_kernel=513).check(5, 257), "frequency_kernel=513: .* 257"),
        (lambda: FeedForward(layers=()), "layers="),
        (lambda: FeedForward(context=-1), "context=-1"),
        (lambda: MaskEstimation(dropout=1.0), "dropout=1.0"),
        (lambda: WaveUNet(levels=40), "levels=40"),
        (lambda: WaveUNet(up_kernel=4), "up_kernel=4"),
        (lambda: WaveUNet().check(1, 1), "two sources"),
    ],
)
def test_impossible_options_are_refused(make, part):
    with pytest.raises(ValueError, match=part):
        make()


def test_what_a_held_network_keeps_frozen_stays_so():
    @dataclasses.dataclass(frozen=True)
    class Part(LSTMMask):
        def frozen(self, name):
            return name == "heads/bias"

    for network in (PerSource(Part(layers=1, width=4)), PerSource(Part(layers=1, width=4), trained=(1,))):
        assert network.frozen("source_1/heads/bias") and not network.frozen("source_1/heads/kernel")
        assert network.frozen("source_0/heads/kernel") == bool(network.trained)
