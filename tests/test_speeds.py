"""Masks averaged over speeds: as SciPy interpolates, at the right places, refused where they cannot be."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from jaxsep.codecs import STFT, Codec, GriffinLim, Mask, Mel
from jaxsep.export import export_stream
from jaxsep.inference import separate_each
from jaxsep.masks import residual_mask, slowed_mask
from jaxsep.networks import CNNAutoencoder, LSTMMask
from jaxsep.resampling import resample
from jaxsep.separator import Separator
from jaxsep.system import System, SystemConfig

CONFIG = SystemConfig(
    sources=("low", "high"),
    residual="high",
    sample_rate=8000,
    codec=Codec(STFT(n_fft=512, hop_length=128)),
    network=LSTMMask(layers=1, width=8),
    segment_seconds=0.5,
    overlap_seconds=0.1,
)
SIGMOID = LSTMMask(layers=1, width=8, activation="sigmoid")
HEARD = replace(CONFIG, speeds=(12 / 11, 11 / 12))


@pytest.mark.parametrize(("speed", "frames"), [(12 / 11, 24), (11 / 12, 20), (2.0, 44), (0.5, 11)])
def test_slowed_masks_equal_scipy(rng, speed, frames):
    masks = rng.random((2, 3, 17, 22))
    places = np.meshgrid(speed * np.arange(17), np.arange(frames) / speed, indexing="ij")
    expected = [[map_coordinates(m, places, order=1, mode="nearest") for m in pair] for pair in masks]
    found = slowed_mask(jnp.asarray(masks, jnp.float32), speed=speed, frames=frames)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("speed", [12 / 11, 11 / 12])
def test_the_slowed_mask_of_a_faster_sound_is_the_mask_of_the_sound(rng, speed):
    """A tone under noise: its bins are found at the same places whether it is played faster or not."""
    time = np.arange(8000) / 8000
    tone = np.where((time > 0.3) & (time < 0.7), np.sin(2 * np.pi * 1000 * time), 0)
    sources = jnp.asarray(np.stack([tone, 0.01 * rng.standard_normal(8000)]), jnp.float32)

    def shares(x):
        sizes = jnp.abs(CONFIG.codec.transform.analyze(x))
        return sizes[0] / sizes.sum(axis=0)

    orig, target = (12, 11) if speed > 1 else (11, 12)
    own = shares(sources)
    found = slowed_mask(shares(resample(sources, orig, target)), speed=speed, frames=own.shape[-1])
    loud = np.zeros(own.shape, bool)
    loud[64, 26:40] = True  # 1000 Hz, well inside the tone
    assert found[loud].min() > 0.9
    assert found[70:, :].mean() < 0.2 and found[:, :10].mean() < 0.2


@pytest.fixture
def variables():
    return System(CONFIG).init(jax.random.key(0))


@pytest.mark.parametrize("bins", [257, 120])
def test_a_system_averages_its_masks_over_speeds(rng, bins):
    """Of all bins, and of the lowest, above which it finds nothing to average."""
    codec = CONFIG.codec if bins == 257 else Codec(STFT(n_fft=512, hop_length=128, bins=bins))
    plain, heard = (System(replace(config, codec=codec)) for config in (CONFIG, HEARD))
    variables = plain.init(jax.random.key(0))
    mixture = jnp.asarray(rng.standard_normal((2, 1, 4000)), jnp.float32)
    find = jax.jit(lambda x: plain.forward(variables, x)[0].masks)
    own = find(mixture)
    expected = own
    for speed, rates in zip(HEARD.speeds, [(12, 11), (11, 12)], strict=True):
        found = slowed_mask(find(resample(mixture, *rates)), speed=speed, frames=own.shape[-1])
        audible = np.arange(bins) * max(speed, 1) < 0.945 * (bins - 1)
        expected = expected + jnp.where(audible[:, None], found, own)
    averaged = jax.jit(heard._averaged_masks)(variables, mixture, own)
    np.testing.assert_allclose(averaged, expected / 3, atol=1e-5)
    encoded = codec.encode(mixture)
    stems = codec.apply_masks(encoded, expected / 3, 4000)[:, :, 0] * encoded.level[:, None, None]
    np.testing.assert_allclose(jax.jit(heard.separate)(variables, mixture[:, 0]), stems, atol=1e-5)
    assert np.abs(stems - jax.jit(plain.separate)(variables, mixture[:, 0])).max() > 1e-3


@pytest.mark.parametrize("residual", ["high", "low"])
def test_a_power_mean_gives_a_source_what_any_speed_hears_of_it(rng, residual):
    """Of the source that is not the residual: between mean and most; the stems sum to the mixture."""
    config = replace(HEARD, residual=residual)
    plain, means, most = (
        System(c) for c in (replace(config, speeds=()), config, replace(config, speeds_power=8.0))
    )
    variables = plain.init(jax.random.key(0))
    mixture = jnp.asarray(rng.standard_normal((2, 1, 4000)), jnp.float32)
    own = plain.forward(variables, mixture)[0].masks
    each = [own] + [
        2 * System(replace(config, speeds=(v,)))._averaged_masks(variables, mixture, own) - own
        for v in HEARD.speeds
    ]
    source = 1 - config.sources.index(residual)
    for power in (1.0, 2.5):
        heard = System(replace(config, speeds_power=power))
        found = heard._averaged_masks(variables, mixture, own)
        expected = np.mean(np.maximum(each, 0).astype(np.float64) ** power, axis=0) ** (1 / power)
        np.testing.assert_allclose(found[:, source], expected[:, source], atol=1e-5)
        np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)
        np.testing.assert_allclose(heard.separate(variables, mixture[:, 0]).sum(1), mixture[:, 0], atol=1e-4)
    mean, loud = (s._averaged_masks(variables, mixture, own)[:, source] for s in (means, most))
    assert np.min(loud - mean) > -1e-5
    assert np.max(loud - np.max(each, axis=0)[:, source]) < 1e-5


def test_what_others_leave_is_the_residuals(rng):
    masks = rng.uniform(size=(2, 4, 1, 5, 7)).astype(np.float32)
    for index, axis in ((0, 1), (3, -4), (-1, 1)):
        found = np.asarray(residual_mask(masks, index, axis))
        np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)
        assert found.min() >= 0
        others = np.delete(masks, index, axis=1)
        scaled = others / np.maximum(others.sum(1, keepdims=True), 1)
        np.testing.assert_allclose(np.delete(found, index, axis=1), scaled, rtol=1e-6)


def test_a_stream_is_heard_at_all_speeds(rng, variables):
    system = System(HEARD)
    x = rng.standard_normal((1, 9000)).astype(np.float32)
    options = dict(num_sources=2, segment=system.segment, overlap=system.overlap)
    (expected,) = separate_each(jax.jit(partial(system.separate_channels, variables)), [x], **options)
    stems, plain = (Separator(s, variables)(x, 8000)["low"] for s in (system, System(CONFIG)))
    np.testing.assert_allclose(stems, expected[0], atol=1e-4)
    assert np.abs(stems - plain).max() > 1e-3


def test_a_system_that_hears_other_speeds_is_exported(rng, variables):
    pytest.importorskip("flatbuffers", reason="flatbuffers is not installed")
    system = System(HEARD)
    hop = system.segment - system.overlap
    run = jax.export.deserialize(bytearray(export_stream(Separator(system, variables)))).call
    x = rng.standard_normal((1, hop)).astype(np.float32)
    zeros = np.zeros((1, system.overlap), np.float32)
    *_, out = run(zeros, np.zeros((2, *zeros.shape), np.float32), x)
    expected = jax.jit(system.separate)(variables, np.concatenate([zeros, x], axis=1))[0]
    inside = slice(system.overlap, hop)
    np.testing.assert_allclose(out[:, 0, inside], expected[:, inside], atol=1e-4)


def test_a_system_that_hears_other_speeds_is_not_causal():
    assert System(CONFIG).causal and not System(HEARD).causal


@pytest.mark.parametrize(
    ("options", "part"), [(dict(speed=0.0, frames=4), "speed=0.0"), (dict(speed=1.1, frames=0), "frames=0")]
)
def test_wrong_arguments_are_refused(options, part):
    with pytest.raises(ValueError, match=part):
        slowed_mask(jnp.ones((3, 4)), **options)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (dict(speeds=(1.1, 3.0)), r"speeds=\(1.1, 3.0\)"),
        (dict(speeds_power=0.5), r"speeds_power=0.5"),
        (dict(speeds=(1.001,)), r"speeds=\[1.001\]"),
        (dict(codec=Codec(head=Mask()), network=SIGMOID), "cannot average masks"),
        (dict(network=CNNAutoencoder(frames=200)), "name='cnn_autoencoder'"),
        (
            dict(codec=Codec(Mel(sample_rate=8000, n_mels=40), inversion=GriffinLim())),
            "codec.transform.name='mel'",
        ),
        (dict(codec=Codec(inversion=GriffinLim())), "cannot average masks"),
    ],
)
def test_what_cannot_be_averaged_is_refused(options, part):
    with pytest.raises(ValueError, match=part):
        replace(HEARD, **options)
