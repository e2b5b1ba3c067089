"""Baselines against librosa and against what is known of the mixture."""

import jax.numpy as jnp
import librosa
import numpy as np
import pytest

from jaxsep import metrics
from jaxsep.baselines import ORACLES, hpss, oracle, repet
from jaxsep.baselines.hpss import moving_median
from jaxsep.examples import song


@pytest.fixture(scope="module")
def parts():
    return song(4.0, 8000, seed=1)


@pytest.mark.parametrize("mask", ORACLES)
def test_oracles_come_near_the_sources(parts, mask):
    sources = np.stack(list(parts.values()))
    estimates = oracle(np.stack([sources, sources[::-1]]), mask, n_fft=512, hop_length=128)
    gain = metrics.si_sdr_improvement(sources, estimates[0], sources.sum(0))
    assert (np.asarray(gain) > 5).all()
    np.testing.assert_allclose(estimates[1], estimates[0][::-1], atol=1e-6)
    if mask != "psm":
        np.testing.assert_allclose(estimates[0].sum(0), sources.sum(0), atol=1e-4)


def test_baselines_take_an_odd_transform(parts):
    sources = np.stack(list(parts.values()))
    mixture = sources.sum(0)
    for stems in (
        oracle(sources, "irm", n_fft=511, hop_length=128),
        np.stack(hpss(mixture, n_fft=511, hop_length=128)),
        np.stack(repet(mixture, min_period=6, max_period=24, n_fft=511, hop_length=128)[:2]),
    ):
        np.testing.assert_allclose(stems.sum(0), mixture, atol=1e-4)
    background = repet(mixture, min_period=6, max_period=24, n_fft=511, hop_length=128).background
    assert np.abs(background).max() < 1.1 * np.abs(mixture).max()


def test_the_phase_sensitive_mask_is_the_best_of_them(parts):
    """It minimizes the error in the complex plane over masks in [0, 1]."""
    sources = np.stack(list(parts.values()))
    snr = {mask: metrics.snr(sources, oracle(sources, mask)).mean() for mask in ORACLES}
    assert max(snr, key=snr.get) == "psm"


@pytest.mark.parametrize(("length", "size"), [(50, 31), (40, 5), (7, 3), (9, 1)])
@pytest.mark.parametrize("axis", [0, 1])
def test_moving_median_equals_scipy(rng, length, size, axis):
    import scipy.ndimage

    x = rng.standard_normal((length, length)).astype(np.float32)
    shape = (size, 1) if axis == 0 else (1, size)
    expected = scipy.ndimage.median_filter(x, size=shape, mode="reflect")
    np.testing.assert_array_equal(moving_median(jnp.asarray(x), size, axis), expected)


def test_hpss_equals_librosa(parts):
    x = sum(parts.values()).astype(np.float32)
    ours = hpss(x, n_fft=1024, hop_length=256)
    theirs = librosa.effects.hpss(x, n_fft=1024, hop_length=256)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4 * np.abs(x).max())


def test_repet_finds_the_period_and_the_voice(rng):
    """A loop of 4096 samples under a tone that rises."""
    loop = np.tile(rng.standard_normal(4096), 8).astype(np.float32)
    t = np.arange(len(loop)) / 8000
    voice = np.sin(2 * np.pi * (300 * t + 150 * t**2)).astype(np.float32)
    both = repet(np.stack([loop + voice, loop]), min_period=6, max_period=24)
    assert both.period.tolist() == [16, 16]
    mixture = np.stack([voice, loop]), np.stack([both.foreground[0], both.background[0]]), loop + voice
    assert (np.asarray(metrics.si_sdr_improvement(*mixture)) > 5).all()
    inside = slice(1024, -1024)
    assert np.abs(both.foreground[1][inside]).max() < 1e-3 * np.abs(loop).max()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: oracle(np.ones((2, 900)), "best"), "mask='best'"),
        (lambda: oracle(np.ones((2, 900), int)), "sources.dtype"),
        (lambda: hpss(np.ones(900), kernel_size=4), "kernel_size=4"),
        (lambda: repet(np.ones(900), min_period=90, max_period=100), "3 \\* min_period"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
