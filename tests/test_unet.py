"""The U-Net and its convolutions equal PyTorch's and scipy's, at any size."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import convolve2d

from jaxsep.networks import UNet
from jaxsep.nn.convolution import conv, conv_dilated, conv_down, conv_up


def plain(x, kernel, way):
    """(height, width, in) * (k, k, in, out) in float64 by scipy; zeros are inserted for ``up``."""
    if way == "up":
        wide = np.zeros((2 * x.shape[0], 2 * x.shape[1], x.shape[2]))
        wide[::2, ::2] = x
        x = wide
    else:
        kernel = kernel[::-1, ::-1]  # convolve2d turns it round, as a transposed convolution does
    inputs, outputs = kernel.shape[2:]
    y = [
        sum(convolve2d(x[..., i], kernel[..., i, o], mode="same") for i in range(inputs))
        for o in range(outputs)
    ]
    y = np.stack(y, axis=-1)
    return y[::2, ::2] if way == "down" else y


@pytest.mark.parametrize("size", [1, 3, 5, 7, 9])
@pytest.mark.parametrize(("way", "outputs"), [("same", 2), ("down", 2), ("up", 1), ("up", 2), ("up", 17)])
def test_convolutions_equal_scipy(rng, size, way, outputs):
    x = rng.standard_normal((2, 12, 8, 3)).astype(np.float32)
    kernel = rng.standard_normal((size, size, 3, outputs)).astype(np.float32)
    y = {"same": conv, "down": conv_down, "up": conv_up}[way](x, kernel)
    expected = np.stack([plain(a.astype(np.float64), kernel.astype(np.float64), way) for a in x])
    np.testing.assert_allclose(y, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize(("inputs", "outputs"), [(2, 18), (18, 2), (3, 1)])
def test_gradients_of_strided_convolutions_equal_xlas(rng, size, inputs, outputs):
    x = rng.standard_normal((2, 4, 6, inputs)).astype(np.float32)
    kernel = rng.standard_normal((size, size, inputs, outputs)).astype(np.float32)
    layout, side = ("NHWC", "HWIO", "NHWC"), size // 2
    plain = partial(jax.lax.conv_general_dilated, dimension_numbers=layout)

    def down(x, kernel):
        return plain(x, kernel, (2, 2), [(side, side)] * 2)

    def up(x, kernel):
        return plain(x, kernel[::-1, ::-1], (1, 1), [(side, side + 1)] * 2, lhs_dilation=(2, 2))

    for ours, theirs in ((conv_down, down), (conv_up, up)):
        given, expected = (
            jax.jit(jax.grad(lambda x, k, f=f: jnp.sum(jnp.sin(f(x, k))), argnums=(0, 1)))(x, kernel)
            for f in (ours, theirs)
        )
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-4), given, expected)


@pytest.mark.parametrize("size", [1, 3, 4])
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 2), (2, 1), (2, 3)])
def test_a_dilated_convolution_and_its_gradients_equal_xlas(rng, size, inputs, outputs):
    x = rng.standard_normal((2, 5, 9, inputs)).astype(np.float32)
    kernel = rng.standard_normal((size, size, inputs, outputs)).astype(np.float32)
    options = dict(rhs_dilation=(2, 2), dimension_numbers=("NHWC", "HWIO", "NHWC"))

    def plain(x, kernel):
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), [(size - 1, size - 1)] * 2, **options)

    np.testing.assert_allclose(conv_dilated(x, kernel), plain(x, kernel), atol=1e-5)
    given, expected = (
        jax.jit(jax.grad(lambda x, k, f=f: jnp.sum(jnp.sin(f(x, k))), argnums=(0, 1)))(x, kernel)
        for f in (conv_dilated, plain)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), given, expected)


@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_sums_of_few_channels_are_of_float32_at_least(rng, dtype):
    """Rounded once, at the end, in any precision and without implicit promotion."""
    with jax.enable_x64(dtype == "float64"), jax.numpy_dtype_promotion("strict"):
        x = jnp.asarray(rng.standard_normal((1, 6, 8, 2)), dtype)
        kernel = jnp.asarray(rng.standard_normal((5, 5, 2, 1)), dtype)
        wide = (np.asarray(a, np.float64) for a in (x[0], kernel))
        y = conv_up(x, kernel)
        assert y.dtype == conv_dilated(x, kernel[:4, :4]).dtype == dtype
    np.testing.assert_allclose(np.asarray(y[0], np.float64), plain(*wide, "up"), rtol=2**-8, atol=1e-6)


def test_an_odd_size_is_refused():
    with pytest.raises(ValueError, match=r"x.shape=\(1, 5, 4, 1\): expected even"):
        conv_down(np.ones((1, 5, 4, 1), np.float32), np.ones((3, 3, 1, 1), np.float32))


def torch_unet(torch, config, num_sources, variables):
    """The same network in PyTorch, weights copied; (batch, 1, bins, frames) in evaluation mode."""
    params, stats = jax.device_get((variables["params"], variables["batch_stats"]))
    functional = torch.nn.functional

    def tensor(a, order=None):
        return torch.tensor(np.ascontiguousarray(a if order is None else a.transpose(order)))

    def norm(x, name):
        p, s = params[name], stats[name]
        return functional.batch_norm(
            x, tensor(s["mean"]), tensor(s["var"]), tensor(p["scale"]), tensor(p["bias"])
        )

    def convolve(x, name, stride=1):
        return functional.conv2d(
            x, tensor(params[name]["kernel"], (3, 2, 0, 1)), stride=stride, padding=config.kernel // 2
        )

    def transposed(x, name):
        p = params[name]
        return functional.conv_transpose2d(
            x, tensor(p["kernel"], (2, 3, 0, 1)), tensor(p["bias"]) if "bias" in p else None,
            stride=2, padding=config.kernel // 2, output_padding=1,
        )  # fmt: skip

    def tdf(x, name):
        y = x
        for i in (1, 2) if config.tdf_bottleneck else ():
            weight = tensor(params[f"{name}_tdf{i}"]["kernel"].T)
            y = functional.linear(y.transpose(2, 3), weight).transpose(2, 3)
            y = torch.relu(norm(y, f"{name}_tdf_norm{i}"))
        return x + y if config.tdf_bottleneck else x

    def block(x, name):
        for i in (1, 2):
            x = torch.relu(norm(convolve(x, f"{name}_conv{i}"), f"{name}_norm{i}"))
        return tdf(x, name)

    def strided(x):
        skips = []
        for level in range(config.levels):
            x = functional.leaky_relu(norm(convolve(x, f"down_{level}", 2), f"down_norm_{level}"), 0.2)
            x = tdf(x, f"down_{level}")
            skips.append(x)
        for level in reversed(range(1, config.levels)):
            x = tdf(torch.relu(norm(transposed(x, f"up_{level}"), f"up_norm_{level}")), f"up_{level}")
            x = torch.cat([x, skips[level - 1]], 1)
        return transposed(x, "up_0")

    def pooled(x):
        skips = []
        for level in range(config.levels):
            skips.append(block(x, f"down_{level}"))
            x = functional.max_pool2d(skips[-1], 2)
        x = block(x, "bottom")
        for level in reversed(range(config.levels)):
            kernel, bias = params[f"up_{level}"]["kernel"], params[f"up_{level}"]["bias"]
            width = bias.size // 4
            weight = tensor(kernel.reshape(-1, 2, 2, width), (0, 3, 1, 2))
            x = functional.conv_transpose2d(x, weight, stride=2)
            x = x + tensor(bias.reshape(2, 2, width), (2, 0, 1)).repeat(1, *(n // 2 for n in x.shape[2:]))
            x = block(torch.cat([x, skips[level]], 1), f"up_{level}")
        kernel = tensor(params["outputs"]["kernel"].T[..., None, None])
        return functional.conv2d(x, kernel, tensor(params["outputs"]["bias"]))

    return lambda x: torch.sigmoid({"stride": strided, "pool": pooled}[config.resample](tensor(x)))


def random_variables(net, shape):
    """Fresh parameters, and statistics that are not those of an identity."""
    variables = jax.jit(net.init)(jax.random.key(0), jnp.zeros(shape))
    leaves, structure = jax.tree.flatten(variables)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    leaves = [a + 0.3 * jax.random.uniform(k, a.shape) for a, k in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(structure, leaves)


@pytest.mark.parametrize(
    "options",
    [
        dict(levels=3),
        dict(levels=2, kernel=3, resample="pool"),
        dict(levels=1, kernel=3),
        dict(levels=2, tdf_bottleneck=3),
        dict(levels=1, resample="pool", tdf_bottleneck=40),
    ],
    ids=["Jansson", "pooling", "one level", "TDF", "pooling, TDF"],
)
def test_network_equals_pytorch(rng, options):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    torch.set_num_threads(1)
    config = UNet(filters=4, **options)
    net = config.build(sources=2, channels=1, bins=16)
    variables = random_variables(net, (1, 1, 16, 24))
    x = rng.standard_normal((2, 1, 16, 24)).astype(np.float32)
    y, _ = jax.jit(net.apply)(variables, x)
    np.testing.assert_allclose(y, torch_unet(torch, config, 2, variables)(x)[:, :, None], atol=1e-5)


@pytest.mark.parametrize("bins", [1, 17, 20, 33])
@pytest.mark.parametrize("frames", [1, 21])
@pytest.mark.parametrize("resample", ["stride", "pool"])
def test_any_size_comes_out_as_it_went_in(rng, bins, frames, resample):
    unet = UNet(levels=2, filters=2, resample=resample, input_norm=True)
    net = unet.build(sources=3, channels=1, bins=bins)
    x = rng.standard_normal((2, 2, bins, frames)).astype(np.float32)
    variables = jax.jit(net.init)(jax.random.key(0), x)
    y, _ = jax.jit(net.apply)(variables, x)
    assert y.shape == (2, 3, 1, bins, frames)
    assert 0 <= y.min() <= y.max() <= 1


def test_the_published_network_has_the_published_size():
    net = UNet().build(sources=1, channels=1, bins=512)
    shapes = jax.eval_shape(lambda: net.init(jax.random.key(0), jnp.zeros((1, 1, 512, 128))))
    kernels = [s.shape for s in jax.tree.leaves(shapes["params"]) if len(s.shape) == 4]
    widths = [1, 16, 32, 64, 128, 256, 512]
    down = [(5, 5, a, b) for a, b in zip(widths, widths[1:], strict=False)]
    up = [(5, 5, 32, 1), (5, 5, 64, 16), (5, 5, 128, 32), (5, 5, 256, 64), (5, 5, 512, 128), (5, 5, 512, 256)]
    assert sorted(kernels) == sorted(down + up)


@pytest.mark.parametrize(
    "options",
    [
        dict(levels=0),
        dict(kernel=4),
        dict(dropout=1.0),
        dict(filters=0),
        dict(kernel=-1),
        dict(tdf_bottleneck=-1),
    ],
)
def test_impossible_options_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        UNet(**options)
