"""Masks averaged over speeds: as SciPy interpolates, at the right places, refused where they cannot be."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from jaxsep.codec import MelCodec, STFTCodec
from jaxsep.masks import slowed_mask
from jaxsep.models import LSTMMaskConfig
from jaxsep.resampling import resample
from jaxsep.separator import Separator
from jaxsep.system import System, SystemConfig

CONFIG = SystemConfig(
    sources=("low", "high"),
    residual="high",
    sample_rate=8000,
    codec=STFTCodec(512, 128),
    network=LSTMMaskConfig(layers=1, width=8),
    segment_seconds=0.5,
    overlap_seconds=0.1,
)
HEARD = replace(CONFIG, speeds=(12 / 11, 11 / 12))


@pytest.mark.parametrize(("speed", "frames"), [(12 / 11, 24), (11 / 12, 20), (2.0, 44), (0.5, 11)])
def test_slowed_masks_equal_scipy(rng, speed, frames):
    masks = rng.random((2, 3, 17, 22))
    places = np.meshgrid(speed * np.arange(17), np.arange(frames) / speed, indexing="ij")
    expected = [[map_coordinates(m, places, order=1, mode="nearest") for m in pair] for pair in masks]
    found = slowed_mask(jnp.asarray(masks, jnp.float32), speed, frames)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("speed", [12 / 11, 11 / 12])
def test_the_slowed_mask_of_a_faster_sound_is_the_mask_of_the_sound(rng, speed):
    """A tone under noise: its bins are found at the same places whether it is played faster or not."""
    time = np.arange(8000) / 8000
    tone = np.where((time > 0.3) & (time < 0.7), np.sin(2 * np.pi * 1000 * time), 0)
    sources = jnp.asarray(np.stack([tone, 0.01 * rng.standard_normal(8000)]), jnp.float32)

    def shares(x):
        sizes = jnp.abs(CONFIG.codec.transform(x))
        return sizes[0] / sizes.sum(axis=0)

    orig, target = (12, 11) if speed > 1 else (11, 12)
    own = shares(sources)
    found = slowed_mask(shares(resample(sources, orig, target)), speed, own.shape[-1])
    loud = np.zeros(own.shape, bool)
    loud[64, 26:40] = True  # 1000 Hz, well inside the tone
    assert found[loud].min() > 0.9
    assert found[70:, :].mean() < 0.2 and found[:, :10].mean() < 0.2


def test_a_system_averages_its_masks_over_speeds(rng):
    plain, heard = System(CONFIG), System(HEARD)
    variables = plain.init(jax.random.key(0))
    mixture = jnp.asarray(rng.standard_normal((2, 4000)), jnp.float32)
    find = jax.jit(lambda x: plain.forward(variables, x)[0].masks)
    masks = find(mixture)
    for speed, rates in zip(HEARD.speeds, [(12, 11), (11, 12)], strict=True):
        masks = masks + slowed_mask(find(resample(mixture, *rates)), speed, masks.shape[-1])
    stems = np.asarray(jax.jit(heard.separate)(variables, mixture))
    spectrum = CONFIG.codec.transform(mixture)[:, None] * (masks / 3)
    for k in range(2):
        found = CONFIG.codec.transform(jnp.asarray(stems[:, k]))
        inside = found[..., 4:-4] - spectrum[:, k, :, 4:-4]
        assert np.abs(inside).mean() < 0.15 * np.abs(spectrum).mean()  # a masked STFT is not quite one
    np.testing.assert_allclose(stems.sum(axis=1), mixture, atol=1e-4)
    assert np.abs(stems - jax.jit(plain.separate)(variables, mixture)).max() > 1e-3


def test_a_stream_is_separated_at_all_speeds(rng):
    system = System(HEARD)
    variables = system.init(jax.random.key(0))
    x = rng.standard_normal((1, 9000)).astype(np.float32)
    stems = Separator(system, variables)(x, 8000)
    np.testing.assert_allclose(sum(stems.values()), x, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (dict(speeds=(1.1, 3.0)), r"speeds=\[3.0\]"),
        (dict(codec=MelCodec(512, 128, sample_rate=8000, n_mels=40)), "codec.name='mel'"),
        (dict(codec=STFTCodec(512, 128, inversion="griffin_lim")), "cannot average masks"),
    ],
)
def test_what_cannot_be_averaged_is_refused(options, part):
    with pytest.raises(ValueError, match=part):
        replace(HEARD, **options)
