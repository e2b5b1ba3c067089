"""The multichannel Wiener filter: equal to a plain one in float64, finite at silence, on waveforms too."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile

from jaxsep.audio import read_audio
from jaxsep.cli import main
from jaxsep.codecs import STFT, Codec, Direct, GriffinLim, Inverse, Mel, Waveform
from jaxsep.errors import UserError
from jaxsep.hub import save_model
from jaxsep.networks import LSTMMask, WaveUNet
from jaxsep.separator import Separator
from jaxsep.spectral import istft, stft
from jaxsep.system import System, SystemConfig
from jaxsep.wiener import wiener, wiener_stems


def plain(estimates, x, iterations, *, softmask=False, residual=False, eps=1e-10):
    """One excerpt in float64, with loops over bins and frames and inverses of matrices."""
    x, estimates = x.astype(complex), estimates.astype(complex if np.iscomplexobj(estimates) else float)
    if softmask:
        y = x * (estimates / (eps + estimates.sum(0)))
    else:
        y = estimates if np.iscomplexobj(estimates) else estimates * np.exp(1j * np.angle(x))
    if residual:
        y = np.concatenate([y, x[None] - y.sum(0, keepdims=True)])
    if not iterations:
        return y
    scale = max(1.0, np.abs(x).max() / 10)
    x, y = x / scale, y / scale
    sources, channels, bins, frames = y.shape
    for _ in range(iterations):
        power = (np.abs(y) ** 2).mean(1)
        found = np.zeros_like(y)
        for f in range(bins):
            spatial = []
            for s in range(sources):
                outer = sum(np.outer(y[s, :, f, t], y[s, :, f, t].conj()) for t in range(frames))
                spatial.append(outer / (eps + power[s, f].sum()))
            for t in range(frames):
                whole = np.sqrt(eps) * np.eye(channels)
                whole = whole + sum(power[s, f, t] * spatial[s] for s in range(sources))
                for s in range(sources):
                    gain = power[s, f, t] * spatial[s] @ np.linalg.inv(whole)
                    found[s, :, f, t] = gain @ x[:, f, t]
        y = found
    return y * scale


def excerpt(rng, sources=3, channels=2, bins=5, frames=12, scale=5.0):
    """Magnitudes that are somewhat wrong, and the mixture of sources of their own directions."""
    directions = rng.uniform(0.2, 1.0, (sources, channels, 1, 1))
    shape = (sources, 1, bins, frames)
    single = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) * rng.exponential(1.0, shape)
    spread = rng.standard_normal((sources, channels, bins, frames)) * 0.1
    spectra = scale * (directions * single + spread)
    magnitudes = np.abs(spectra) * np.exp(0.3 * rng.standard_normal(spectra.shape))
    return magnitudes.astype(np.float32), spectra.sum(0).astype(np.complex64)


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("options", [{}, dict(softmask=True), dict(residual=True)], ids=str)
def test_it_equals_a_plain_one(rng, channels, options):
    magnitudes, mixture = excerpt(rng, channels=channels)
    for iterations in (0, 2):
        found = wiener(magnitudes, mixture, iterations=iterations, **options)
        expected = plain(magnitudes, mixture, iterations, **options)
        assert found.dtype == jnp.complex64
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_spectra_are_taken_as_they_are_and_a_batch_is_its_rows(rng):
    pairs = [excerpt(rng, frames=7, scale=scale) for scale in (0.01, 30.0)]
    magnitudes, mixtures = (np.stack(x) for x in zip(*pairs, strict=True))
    spectra = magnitudes * np.exp(1j * rng.uniform(-3, 3, magnitudes.shape)).astype(np.complex64)
    found = wiener(spectra, mixtures)
    for row, y, x in zip(found, spectra, mixtures, strict=True):
        expected = plain(y, x, 1)
        np.testing.assert_allclose(row, expected, atol=1e-4 * np.abs(expected).max())
    of_one = wiener(magnitudes[:, :, :1], mixtures, iterations=0)
    np.testing.assert_allclose(np.abs(of_one[:, :, 1]), magnitudes[:, :, 0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("win_length", [4, 6, 50])
def test_excerpts_are_filtered_each_on_its_own(rng, win_length):
    magnitudes, mixture = excerpt(rng, bins=3, frames=14)
    found = wiener(magnitudes, mixture, win_length=win_length)
    cuts = range(win_length, 14, win_length)
    parts = zip(np.split(magnitudes, cuts, -1), np.split(mixture, cuts, -1), strict=True)
    expected = np.concatenate([plain(y, x, 1) for y, x in parts], axis=-1)
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_the_sources_sum_to_the_mixture_but_for_a_little_noise(rng):
    magnitudes, mixture = excerpt(rng)
    for options in ({}, dict(residual=True), dict(softmask=True)):
        found = wiener(magnitudes, mixture, **options)
        np.testing.assert_allclose(found.sum(0), mixture, atol=2e-3 * np.abs(mixture).max())


def test_it_helps_when_magnitudes_are_right(rng):
    """Sources from two directions: the phases come right, which the mixture's are not."""
    shape = (2, 1, 9, 60)
    single = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) * rng.exponential(1.0, shape)
    spectra = np.array([[1.0, 0.2], [0.3, 1.0]])[:, :, None, None] * single
    magnitudes, mixture = np.abs(spectra).astype(np.float32), spectra.sum(0).astype(np.complex64)
    errors = [np.abs(wiener(magnitudes, mixture, iterations=i) - spectra).mean() for i in (0, 1, 3)]
    assert errors[0] > 1.5 * errors[1] and errors[1] > errors[2]


@pytest.mark.parametrize(
    "kind", ["silence", "one silent source", "alike channels", "nearly alike", "one frame"]
)
def test_it_and_its_gradients_are_finite(rng, kind):
    magnitudes, mixture = excerpt(rng, frames=1 if kind == "one frame" else 9, scale=50.0)
    if kind == "silence":
        magnitudes, mixture = 0 * magnitudes, 0 * mixture
    elif kind == "one silent source":
        magnitudes[0] = 0
    elif kind in ("alike channels", "nearly alike"):
        magnitudes[:, 1], mixture[1] = magnitudes[:, 0], mixture[0] * (1 if kind[0] == "a" else 1 + 1e-6)

    def total(magnitudes, mixture):
        y = wiener(magnitudes, mixture, iterations=2, residual=True)
        return jnp.sum(jnp.square(y.real) + jnp.square(y.imag) * 0.5), y

    gradients, found = jax.jit(jax.grad(total, argnums=(0, 1), has_aux=True))(magnitudes, mixture)
    assert all(np.isfinite(a).all() for a in (*gradients, found))
    assert np.abs(found).max() <= 3 * np.abs(mixture).max()
    if kind in ("alike channels", "nearly alike"):
        expected = plain(magnitudes, mixture, 2, residual=True)
        np.testing.assert_allclose(found, expected, atol=2e-2 * np.abs(expected).max())


def test_the_gradient_is_that_of_finite_differences(rng):
    magnitudes, mixture = excerpt(rng, sources=2, bins=2, frames=5)
    direction = rng.standard_normal(magnitudes.shape).astype(np.float32)
    weight = rng.standard_normal(magnitudes.shape).astype(np.float32)

    def loss(y):
        return (weight * (y.real + 2 * y.imag)).sum()

    moved = [loss(plain(magnitudes + h * direction, mixture, 1)) for h in (-1e-3, 1e-3)]
    gradient = jax.grad(lambda m: loss(wiener(m, mixture)))(magnitudes)
    np.testing.assert_allclose(np.vdot(gradient, direction), (moved[1] - moved[0]) / 2e-3, rtol=1e-2)


def test_wrong_arguments_are_refused(rng):
    magnitudes, mixture = excerpt(rng)
    for call, said in (
        (partial(wiener, magnitudes, magnitudes[0]), r"mixture\.dtype=float32"),
        (partial(wiener, np.ones((3, 2, 5, 12), int), mixture), r"estimates\.dtype=int"),
        (partial(wiener, magnitudes[0], mixture), r"estimates\.shape="),
        (partial(wiener, magnitudes[..., 1:], mixture), r"of a mixture of shape \(2, 5, 12\)"),
        (partial(wiener, magnitudes + 0j, mixture, softmask=True), "softmask=True: takes magnitudes"),
        (partial(wiener, magnitudes, mixture, eps=0.0), r"eps=0\.0"),
        (partial(wiener, magnitudes, mixture, iterations=-1), "iterations=-1"),
        (partial(wiener, magnitudes, mixture, win_length=0), "win_length=0"),
        (partial(wiener_stems, np.ones((1, 9), np.float32), np.ones(9, np.float32)), r"mixture\.shape="),
        (partial(wiener_stems, np.ones((1, 2, 9), np.float32), np.ones((2, 9), np.float32)), "two sources"),
        (
            partial(wiener_stems, np.ones((2, 2, 8), np.float32), np.ones((2, 9), np.float32)),
            r"stems\.shape=",
        ),
    ):
        with pytest.raises(ValueError, match=said):
            call()


TRANSFORM = dict(n_fft=256, hop_length=64)


def panned(rng, samples=4000):
    """Two stereo sources, and stems in which each leaks into the other."""
    sources = rng.standard_normal((2, 1, samples)) * np.array([[[1.0], [0.2]], [[0.3], [1.0]]])
    sources *= np.sin(np.arange(samples) * np.array([0.003, 0.005])[:, None])[:, None] ** 2
    stems = 0.7 * sources + 0.3 * sources[::-1]
    return sources.astype(np.float32), stems.astype(np.float32), sources.sum(0).astype(np.float32)


def test_stems_sum_to_the_mixture_and_leak_less(rng):
    sources, stems, mixture = panned(rng)
    found = wiener_stems(stems, mixture, residual=1, iterations=2, **TRANSFORM)
    np.testing.assert_allclose(found.sum(0), mixture, atol=1e-5)
    before = np.abs(stems - sources).mean()
    assert np.abs(found - sources).mean() < 0.8 * before
    assert wiener_stems(stems, mixture, iterations=0) is not None
    np.testing.assert_array_equal(wiener_stems(stems, mixture, iterations=0), stems)


def test_stems_scale_with_the_mixture_and_a_batch_is_its_rows(rng):
    _, stems, mixture = panned(rng, 1000)
    run = jax.jit(partial(wiener_stems, **TRANSFORM))
    loud = run(np.stack([stems, 1e-4 * stems, 0 * stems]), np.stack([mixture, 1e-4 * mixture, 0 * mixture]))
    np.testing.assert_allclose(loud[1] * 1e4, loud[0], atol=1e-4)
    assert not np.any(loud[2])


# --- behind models ------------------------------------------------------------------------------------

SPECTRUM, MEL = STFT(n_fft=256, hop_length=64), Mel(256, 64, sample_rate=16000, n_mels=20)
WAVES = dict(codec=Codec(Waveform(), head=Direct(), inversion=Inverse()))
WAVES |= dict(network=WaveUNet(levels=2, filters=2))


def small(channels=1, codec=Codec(SPECTRUM), network=LSTMMask(layers=1, width=4), **options):
    pieces = dict(segment_seconds=0.25, overlap_seconds=0.05)
    config = SystemConfig(channels=channels, codec=codec, network=network, **pieces, **options)
    return System(config), System(config).init(jax.random.key(0))


def test_a_system_filters_the_spectra_of_its_network(rng):
    """A system that hears each channel alone is filtered over both."""
    system, variables = small()
    mixture = rng.standard_normal((2, 2000)).astype(np.float32)
    found = jax.jit(partial(system.separate_channels, wiener=2))(variables, mixture)
    spectra = []
    for channel in mixture:
        estimates, encoded, _ = system.forward(variables, channel[None, None])
        masks = estimates.masks[0, :, 0]
        spectra.append(masks * stft(channel, **TRANSFORM))
    filtered = wiener(np.stack(spectra, axis=1), stft(mixture, **TRANSFORM), iterations=2)
    expected = istft(filtered, length=2000, **TRANSFORM)
    np.testing.assert_allclose(found[0], expected[0], atol=1e-4)
    np.testing.assert_allclose(found.sum(0), mixture, atol=1e-5)
    one = system.separate(variables, mixture, wiener=1)
    assert one.shape == (2, 2, 2000) and not np.allclose(one, system.separate(variables, mixture), atol=1e-3)


@pytest.mark.parametrize(
    ("channels", "options"),
    [
        (2, WAVES),
        pytest.param(1, dict(speeds=(1.25,)), marks=pytest.mark.slow),
        pytest.param(2, dict(codec=Codec(MEL)), marks=pytest.mark.slow),
        pytest.param(1, dict(codec=Codec(SPECTRUM, inversion=GriffinLim(2))), marks=pytest.mark.slow),
    ],
    ids=["waveforms", "speeds", "mel", "griffin_lim"],
)
def test_it_works_behind_any_model(rng, channels, options):
    system, variables = small(channels, **options)
    mixture = rng.standard_normal((2, 5000)).astype(np.float32)
    plain, filtered = (Separator(system, variables, windows=2, wiener=i)(mixture, 16000) for i in (0, 1))
    for stems in (plain, filtered):
        np.testing.assert_allclose(sum(stems.values()), mixture, atol=1e-5)
    assert not np.allclose(plain["vocals"], filtered["vocals"], atol=1e-3)
    assert np.abs(filtered["vocals"]).max() < 2 * np.abs(mixture).max()


def test_the_command_filters(rng, tmp_path, capsys):
    system, variables = small()
    save_model(tmp_path / "model", system, variables)
    mixture = rng.uniform(-0.5, 0.5, (2, 9000)).astype(np.float32)
    soundfile.write(tmp_path / "song.wav", mixture.T, 16000, subtype="FLOAT")
    song, model = str(tmp_path / "song.wav"), str(tmp_path / "model")
    arguments = ["separate", song, "-m", model, "-o", str(tmp_path / "out"), "-q"]
    assert main([*arguments, "--wiener", "1"]) == 0
    expected = Separator(system, variables, wiener=1)(mixture, 16000)
    for stem, value in expected.items():
        written = read_audio(tmp_path / "out" / "model" / "song" / f"{stem}.wav")
        np.testing.assert_allclose(written, value, atol=1e-5)
    with pytest.raises(SystemExit, match="2"):
        main([*arguments, "--wiener", "-1"])
    assert "--wiener: -1: expected a whole number from 0 to 100" in capsys.readouterr().err
    assert main(["evaluate", str(tmp_path), "--baseline", "irm", "--wiener", "1"]) == 2
    assert "wiener=1: filters the stems of a model" in capsys.readouterr().err
    alone, variables = small(sources=("vocals",), residual="vocals")
    with pytest.raises(UserError, match="two stems or more; model has 1"):
        Separator(alone, variables, wiener=1)
    with pytest.raises(ValueError, match="wiener=1: filters two sources or more"):
        alone.separate(variables, mixture[0], wiener=1)


def test_a_residual_that_is_no_stem_is_refused(rng):
    stems = rng.standard_normal((2, 1, 3000)).astype(np.float32)
    options = dict(n_fft=256, hop_length=64)
    last = wiener_stems(stems, stems.sum(0), residual=-1, **options)
    np.testing.assert_array_equal(last, wiener_stems(stems, stems.sum(0), residual=1, **options))
    with pytest.raises(ValueError, match="residual=7: expected -2 to 1"):
        wiener_stems(stems, stems.sum(0), residual=7, **options)
