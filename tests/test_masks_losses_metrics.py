"""Masks, losses and ratios against float64 numpy, and their properties."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import librosa
import numpy as np
import pytest

from jaxsep import losses, masks, metrics


@pytest.fixture
def spectra(rng):
    return rng.standard_normal((2, 3, 17, 11)) + 1j * rng.standard_normal((2, 3, 17, 11))


@pytest.mark.parametrize(
    "mask",
    [
        lambda s: masks.ratio_mask(jnp.abs(s)),
        masks.wiener_mask,
        lambda s: masks.wiener_mask(s, power=1.0),
        masks.binary_mask,
    ],
)
def test_masks_are_shares(spectra, mask):
    silent = spectra.astype(np.complex64)
    silent[..., 3] = 0
    values = np.asarray(mask(jnp.asarray(silent)))
    assert values.min() >= 0
    np.testing.assert_allclose(values.sum(axis=1), 1.0, atol=1e-6)


def test_ratio_mask_of_nothing_is_an_equal_share():
    np.testing.assert_array_equal(masks.ratio_mask(jnp.zeros((4, 2, 2))), 0.25)
    gradient = jax.grad(lambda y: masks.ratio_mask(y)[0].sum())(jnp.zeros((2, 3, 3)))
    assert np.isfinite(gradient).all()


MASKS = {
    "ratio": lambda s: masks.ratio_mask(jnp.abs(s.real)),
    "power of 8": lambda s: masks.ratio_mask(jnp.abs(s.real), power=8.0),
    "wiener": masks.wiener_mask,
    "phase sensitive": masks.phase_sensitive_mask,
}


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("level", [1e-20, 1e20])
def test_masks_and_their_gradients_are_the_same_at_any_level(spectra, mask, level):
    spectra = jnp.asarray(spectra, jnp.complex64)
    np.testing.assert_allclose(mask(level * spectra), mask(spectra), atol=1e-5)

    def first(factor):
        return jnp.sum(mask(spectra.at[:, 0].multiply(factor) * level)[:, 0])

    gradient = jax.grad(first)(1.0)
    assert np.isfinite(gradient) and gradient > 0
    parts = jnp.stack([spectra.real, spectra.imag]) * level
    assert np.isfinite(jax.grad(lambda p: jnp.sum(mask(jax.lax.complex(*p))[:, 0]))(parts)).all()


def test_a_residual_mask_is_of_a_source_that_there_is():
    values = jnp.ones((2, 1, 1)) / 4
    np.testing.assert_array_equal(masks.residual_mask(values, -1), masks.residual_mask(values, 1))
    for index in (2, -3):
        with pytest.raises(ValueError, match=f"residual={index}: expected"):
            masks.residual_mask(values, index)


def test_masks_equal_float64(spectra):
    size = np.abs(spectra)
    np.testing.assert_allclose(
        masks.wiener_mask(spectra.astype(np.complex64)), size**2 / (size**2).sum(1, keepdims=True), atol=1e-6
    )
    mixture = spectra.sum(axis=1, keepdims=True)
    expected = np.clip((spectra / mixture).real, 0, 1)
    np.testing.assert_allclose(masks.phase_sensitive_mask(spectra.astype(np.complex64)), expected, atol=2e-5)
    np.testing.assert_array_equal(np.asarray(masks.binary_mask(size)).argmax(1), size.argmax(1))


@pytest.mark.parametrize("sources", [1, 2, 4])
def test_losses_equal_float64(rng, sources):
    e, s = rng.random((2, 3, sources, 5, 7))
    own = ((e - s) ** 2).mean((-1, -2)).sum(-1)
    gamma = 0.2
    other = sum(
        ((e[:, i] - s[:, j]) ** 2).mean((-1, -2)) for i, j in itertools.permutations(range(sources), 2)
    )
    np.testing.assert_allclose(losses.magnitude_mse(e, s), own, rtol=1e-5)
    np.testing.assert_allclose(losses.magnitude_mae(e, s), np.abs(e - s).mean((-1, -2)).sum(-1), rtol=1e-5)
    np.testing.assert_allclose(losses.discriminative(e, s, gamma), own - gamma * other, rtol=1e-4)


def test_discriminative_optimum_is_where_the_documentation_says(rng):
    s = jnp.asarray(rng.random((2, 3, 4)), jnp.float32)
    optimum = jnp.stack([2 * s[0] - s[1], 2 * s[1] - s[0]])
    gradient = jax.grad(lambda e: losses.discriminative(e, s, 0.5))(optimum)
    np.testing.assert_allclose(gradient, 0, atol=1e-6)
    with pytest.raises(ValueError, match="gamma=1.0"):
        losses.discriminative(s, s, 1.0)


def test_ratio_losses_are_minus_the_metrics(rng):
    s, e = rng.standard_normal((2, 3, 2, 800)).astype(np.float32)
    np.testing.assert_allclose(
        losses.negative_si_sdr(e, s), -np.asarray(metrics.si_sdr(s, e)).mean(-1), atol=1e-3
    )
    np.testing.assert_allclose(losses.negative_snr(e, s), -np.asarray(metrics.snr(s, e)).mean(-1), atol=1e-3)


@pytest.mark.parametrize("loss", [losses.negative_si_sdr, losses.negative_snr])
def test_ratio_losses_are_finite_at_silence(loss):
    x = jnp.stack([jnp.zeros(100), jnp.sin(jnp.arange(100.0))])
    for e, s in ((x, jnp.zeros_like(x)), (jnp.zeros_like(x), x), (x, x)):
        value, gradient = jax.value_and_grad(loss)(e, s)
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()


def test_a_floor_keeps_silent_sources_from_pulling_hardest(rng):
    s = np.stack([rng.standard_normal(1000), np.zeros(1000)])
    e = s + 1e-3 * rng.standard_normal(s.shape)
    errors, floor = np.sum((e - s) ** 2, axis=1), 0.01 * np.sum(s[0] ** 2)
    ratios = (np.sum(s**2, axis=1) + 1e-8) / (errors + floor + 1e-8)
    loss = partial(losses.negative_snr, floor_db=20.0)
    np.testing.assert_allclose(loss(e, s), -np.mean(10 * np.log10(ratios)), rtol=1e-5)
    held, free = (np.asarray(jax.grad(f)(jnp.asarray(e), s))[1] for f in (loss, losses.negative_snr))
    slope = 10 / np.log(10) * np.sqrt(errors[1])  # half of 20 / ln 10: the mean of two sources
    np.testing.assert_allclose(np.linalg.norm(held), slope / (errors[1] + floor), rtol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(free), slope / errors[1], rtol=1e-3)


def test_permutation_invariant_loss_ignores_the_order(rng):
    s, e = rng.standard_normal((2, 4, 3, 200)).astype(np.float32)
    values = [
        np.asarray(losses.permutation_invariant(losses.negative_snr, e[:, list(order)], s))
        for order in itertools.permutations(range(3))
    ]
    for value in values:
        np.testing.assert_allclose(value, values[0], rtol=1e-5)


def si_sdr_float64(s, e):
    s, e = s.astype(np.float64), e.astype(np.float64)
    target = (e * s).sum(-1, keepdims=True) / (s * s).sum(-1, keepdims=True) * s
    return 10 * np.log10((target**2).sum(-1) / ((target - e) ** 2).sum(-1))


@pytest.mark.parametrize("noise", [1e-3, 0.1, 1.0, 30.0])
def test_si_sdr_equals_float64_at_any_level(rng, noise):
    s = rng.standard_normal((2, 3, 4000)).astype(np.float32)
    e = (0.3 * s + noise * rng.standard_normal(s.shape)).astype(np.float32)
    expected = si_sdr_float64(s, e)
    np.testing.assert_allclose(metrics.si_sdr(s, e), expected, atol=1e-3)
    np.testing.assert_allclose(metrics.si_sdr(s, 1e-3 * e), expected, atol=1e-3)


def test_si_sdr_of_silence_and_nan_is_as_documented():
    s = np.sin(np.arange(100, dtype=np.float32))
    nan = s.copy()
    nan[3] = np.nan
    zero = np.zeros_like(s)
    assert np.isnan(metrics.si_sdr(zero, s))
    assert np.isnan(metrics.si_sdr(zero, zero))
    assert metrics.si_sdr(s, zero) == -np.inf
    assert metrics.si_sdr(s, s) > 100
    assert np.isnan(metrics.si_sdr(s, nan))
    assert np.isnan(metrics.si_sdr(nan, s))


@pytest.mark.parametrize("target", ["binary", "ratio", "wiener", "phase_sensitive"])
def test_emphasized_mask_error_is_that_of_the_masked_magnitudes(rng, target):
    spectra = (rng.standard_normal((2, 5, 7)) + 1j * rng.standard_normal((2, 5, 7))).astype(np.complex64)
    estimate = rng.uniform(size=(2, 5, 7)).astype(np.float32)
    ideal = {
        "binary": np.abs(spectra) == np.abs(spectra).max(axis=0),
        "ratio": np.abs(spectra) / np.abs(spectra).sum(axis=0),
        "wiener": np.abs(spectra) ** 2 / (np.abs(spectra) ** 2).sum(axis=0),
        "phase_sensitive": np.clip((spectra / spectra.sum(axis=0)).real, 0, 1),
    }[target]
    mixture = np.abs(spectra.sum(axis=0))
    expected = [(((estimate - ideal) * mixture ** (e / 2)) ** 2).mean(axis=(1, 2)).sum() for e in (0, 1, 2)]
    for e, value in zip((0, 1, 2), expected, strict=True):
        got = losses.mask_mse(estimate, spectra, target, emphasis=e)
        np.testing.assert_allclose(got, value / (mixture**e).mean(), rtol=1e-4)
    silent = losses.mask_mse(estimate, 0 * spectra, target, emphasis=1.0)
    assert np.isfinite(silent)
    for level in (1e-22, 1e-19, 1e20):
        scaled = losses.mask_mse(estimate, np.complex64(level) * spectra, target, emphasis=0.5)
        same = losses.mask_mse(estimate, spectra, target, emphasis=0.5)
        np.testing.assert_allclose(scaled, same, rtol=1e-4)
    quiet = np.where(np.arange(7) < 3, 0, spectra).astype(np.complex64)
    error = partial(losses.mask_mse, estimate, target=target, emphasis=0.5)
    assert np.isfinite(jax.grad(error)(quiet)).all()
    for e in (-1.0, 3.0, np.nan):
        with pytest.raises(ValueError, match=f"emphasis={e}"):
            losses.mask_mse(estimate, spectra, target, emphasis=e)


def _decibels_float64(reference, estimate, floor_db):
    top = reference.max()
    return [10 * np.log10(np.maximum(x / top, 10 ** (floor_db / 10))) for x in (reference, estimate)]


@pytest.mark.parametrize(("n_fft", "hop", "floor"), [(2048, 512, -80.0), (512, 128, -30.0)])
def test_log_spectral_distance_equals_float64(rng, n_fft, hop, floor):
    s = rng.standard_normal((2, 3, 9000))
    e = s + 0.3 * rng.standard_normal(s.shape)
    found = metrics.log_spectral_distance(
        s.astype("f"), e.astype("f"), n_fft=n_fft, hop_length=hop, floor_db=floor
    )
    assert found.shape == (2, 3)
    for i in np.ndindex(2, 3):
        how = dict(n_fft=n_fft, hop_length=hop, pad_mode="constant")
        powers = [np.abs(librosa.stft(x[i], **how)) ** 2 for x in (s, e)]
        a, b = _decibels_float64(*powers, floor)
        np.testing.assert_allclose(found[i], np.sqrt(((a - b) ** 2).mean(0)).mean(), rtol=1e-3)


def test_mel_correlation_equals_librosa_and_numpy(rng):
    s = rng.standard_normal((2, 22050)) * np.linspace(0, 1, 22050)
    e = s + 0.3 * rng.standard_normal(s.shape)
    found = metrics.mel_correlation(s.astype("f"), e.astype("f"), sample_rate=16000, n_mels=40)
    for i in range(2):
        how = dict(sr=16000, n_mels=40, pad_mode="constant")
        powers = [librosa.feature.melspectrogram(y=x[i], **how) for x in (s, e)]
        a, b = _decibels_float64(*powers, -80.0)
        np.testing.assert_allclose(found[i], np.corrcoef(a.ravel(), b.ravel())[0, 1], atol=1e-3)


def test_scores_blind_to_phase_are_blind_to_it_and_not_to_the_level(rng):
    s = rng.standard_normal(22050).astype("f")
    spectrum = np.fft.rfft(s)
    turned = np.fft.irfft(spectrum * np.exp(1j * np.pi / 3)).astype("f")
    assert metrics.si_sdr(s, turned) < 0
    assert metrics.log_spectral_distance(s, turned) < 1 < metrics.log_spectral_distance(s, 2 * s)
    assert metrics.mel_correlation(s, turned) > 0.99
    zero = np.zeros_like(s)
    assert np.isnan(metrics.log_spectral_distance(zero, s)) and np.isnan(metrics.mel_correlation(zero, s))
    assert np.isfinite(metrics.log_spectral_distance(s, zero))
    for floor in (-80.0, -33.3):
        score = partial(metrics.mel_correlation, n_mels=40, floor_db=floor)
        assert np.isnan(score(s, zero)) and np.isnan(jax.jit(score)(s, zero))


@pytest.mark.parametrize("score", [metrics.log_spectral_distance, metrics.mel_correlation])
@pytest.mark.parametrize(
    ("estimate", "options", "reason"),
    [
        (np.ones(4999, "f"), {}, "estimate.shape"),
        (np.ones(5000, int), {}, "estimate"),
        (np.ones(0, "f"), {}, "estimate"),
        *[(np.ones(5000, "f"), {"floor_db": x}, "floor_db") for x in (0.0, -301.0, np.nan)],
    ],
)
def test_scores_blind_to_phase_refuse(score, estimate, options, reason):
    with pytest.raises(ValueError, match=reason):
        score(np.ones(5000, "f"), estimate, **options)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
@pytest.mark.parametrize("name", ["negative_snr", "negative_si_sdr", "magnitude_mse"])
def test_losses_of_16_bit_floats_are_those_of_their_values(rng, dtype, name):
    loss = getattr(losses, name)
    estimate, reference = (jnp.asarray(300 * rng.standard_normal((2, 4, 5)), dtype) for _ in range(2))
    wide = loss(estimate.astype(jnp.float32), reference.astype(jnp.float32))
    found = loss(estimate, reference)
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, wide)
    assert np.isfinite(loss(0 * estimate, 0 * reference)).all()


@pytest.mark.parametrize("name", ["si_sdr", "sd_sdr", "snr"])
def test_ratios_are_the_same_at_any_level(rng, name):
    ratio = getattr(metrics, name)
    s, e = rng.standard_normal((2, 3, 1000)).astype(np.float32)
    for level in (2.0**-70, 2.0**60):
        np.testing.assert_array_equal(ratio(level * s, level * (s + e)), ratio(s, s + e))
    assert np.isfinite(jax.grad(lambda s: ratio(s, 1e-12 * e).sum())(1e-12 * s)).all()


def test_the_gradient_of_a_distance_of_equal_spectra_is_zero(rng):
    s = jnp.asarray(rng.standard_normal(4000), jnp.float32)
    distance = partial(metrics.log_spectral_distance, s, n_fft=512, hop_length=128)
    np.testing.assert_array_equal(jax.grad(distance)(s), 0.0)
