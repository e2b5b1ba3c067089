"""The dual-path convolutional recurrent network equals one written out in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_recurrence import plain_lstm

from jaxsep.networks import DPCRN
from jaxsep.parts import from_dict
from jaxsep.system import SystemConfig

BATCH, FRAMES = 2, 7


def convolved(x, p):
    """Three bins of a frame and, where the kernel has two frames, of the one before; (frames, bins, in)."""
    taps = len(p["kernel"])
    sides = np.pad(x, ((taps - 1, 0), (1, 1), (0, 0)))
    y = np.zeros((*x.shape[:2], p["kernel"].shape[-1]))
    for t in range(x.shape[0]):
        for b in range(x.shape[1]):
            y[t, b] = np.einsum("kbi,kbio->o", sides[t : t + taps, b : b + 3], p["kernel"]) + p["bias"]
    return y


def behind(y, p, name):
    """The dense layer and the layer normalization behind a recurrence."""
    dense, norm = p[f"dense_{name}"], p[f"norm_{name}"]
    y = y @ dense["kernel"] + dense["bias"]
    y = (y - y.mean(-1, keepdims=True)) / np.sqrt(y.var(-1, keepdims=True) + 1e-6)
    return y * norm["scale"] + norm["bias"]


def network(features, config, variables):
    """(bins, frames) of one example -> (sources, bins, frames)."""
    p, statistics = variables["params"], variables["batch_stats"]

    def norm(x, name):
        s, w = statistics[name], p[name]
        return (x - s["mean"]) / np.sqrt(s["var"] + 1e-5) * w["scale"] + w["bias"]

    def paired(x):
        return np.concatenate([x[:, 0::2], x[:, 1::2]], axis=-1)

    def parted(x):
        half = x.shape[-1] // 2
        return np.stack([x[..., :half], x[..., half:]], axis=2).reshape(len(x), -1, half)

    bins, multiple = len(features), 1 << config.levels
    used = bins - 1 if bins % multiple == 1 else bins
    features = norm(features.T, "input_norm") if config.input_norm else features.T
    x, skips = np.pad(features[:, :used], ((0, 0), (0, -used % multiple)))[..., None], []
    for level in range(config.levels):
        x = norm(convolved(paired(x), p[f"down_{level}"]), f"down_norm_{level}")
        x = np.where(x > 0, x, 0.2 * x)
        skips.append(x)
    for block in range(config.blocks):
        over_bins = [p[f"lstm_bins_{block}_{way}"] for way in ("up", "down")]
        x = x + behind(plain_lstm(x.swapaxes(0, 1), over_bins).swapaxes(0, 1), p, f"bins_{block}")
        names = (f"lstm_frames_{block}", f"lstm_frames_{block}_backward")[: 1 + config.bidirectional]
        x = x + behind(plain_lstm(x, [p[name] for name in names]), p, f"frames_{block}")
    for level in range(config.levels - 1, -1, -1):
        x = parted(convolved(np.concatenate([x, skips[level]], -1), p[f"up_{level}"]))
        x = np.maximum(norm(x, f"up_norm_{level}"), 0) if level else x
    y = 1 / (1 + np.exp(-np.transpose(x, (2, 1, 0))))[:, :used]
    return np.pad(y, ((0, 0), (0, bins - used), (0, 0)), mode="edge")


@pytest.mark.parametrize(
    ("options", "bins"),
    [
        (dict(levels=3, filters=2, width=6, blocks=2, input_norm=True), 17),
        (dict(levels=2, filters=4, width=5, blocks=1, bidirectional=True), 14),
        pytest.param(dict(levels=1, filters=3, width=4, blocks=1), 8, marks=pytest.mark.slow),
    ],
)
def test_equals_the_network_written_out_in_float64(rng, options, bins):
    config = DPCRN(**options)
    built = config.build(sources=3, channels=1, bins=bins)
    features = rng.standard_normal((BATCH, 1, bins, FRAMES)).astype(np.float32)
    variables = jax.jit(built.init)(jax.random.key(0), jnp.asarray(features))
    variables = jax.tree.map(lambda a: a + 0.3 * rng.uniform(size=a.shape).astype(np.float32), variables)
    ours, _ = jax.jit(built.apply)(variables, features)
    wide = jax.tree.map(lambda a: np.asarray(a, np.float64), variables)
    plain = np.stack([network(x[0].astype(np.float64), config, wide) for x in features])
    assert ours.shape == (BATCH, 3, 1, bins, FRAMES)
    np.testing.assert_allclose(ours[:, :, 0], plain, atol=1e-5)


def test_a_level_has_twice_the_channels_up_to_the_width():
    assert DPCRN(levels=5, filters=8, width=48).channels == [8, 16, 32, 48, 48]
    assert DPCRN(levels=2, filters=64, width=16).channels == [16, 16]


def test_a_config_names_it():
    config = from_dict(SystemConfig, {"network": {"name": "dpcrn", "levels": 2, "width": 12}})
    assert config.network == DPCRN(levels=2, width=12)
