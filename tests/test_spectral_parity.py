"""The transforms equal librosa's and scipy's, for any lengths and leading dimensions."""

from inspect import signature

import jax
import jax.numpy as jnp
import librosa
import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxsep
from jaxsep import spectral

TOLERANCE = 1e-5  # of the largest magnitude, float32


def worst(ours, theirs):
    assert ours.shape == theirs.shape
    return np.max(np.abs(np.asarray(ours) - theirs)) / np.max(np.abs(theirs))


@st.composite
def transforms(draw):
    n_fft = draw(st.integers(16, 700))
    win_length = draw(st.none() | st.integers(8, n_fft))
    hop_length = draw(st.none() | st.integers(1, n_fft))
    return dict(n_fft=n_fft, win_length=win_length, hop_length=hop_length, center=draw(st.booleans()))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(transforms(), st.integers(701, 2500), st.sampled_from([(), (2,), (2, 1, 3)]))
def test_stft_equals_librosa(options, samples, batch):
    x = np.random.default_rng(samples).standard_normal((*batch, samples)).astype(np.float32)
    assert worst(jaxsep.stft(x, **options), librosa.stft(x, **options)) <= TOLERANCE


@pytest.mark.parametrize(
    "window", ["hann", "hamming", "blackman", "nuttall", "blackmanharris", "boxcar", "bartlett"]
)
def test_windows_equal_scipy(window):
    for length in (1, 2, 7, 16, 255):
        expected = scipy.signal.get_window(window, length, fftbins=True)
        np.testing.assert_allclose(spectral.get_window(window, length), expected, atol=1e-12)


@pytest.mark.parametrize("pad_mode", ["constant", "edge", "reflect", "symmetric"])
def test_stft_pads_as_librosa(rng, pad_mode):
    x = rng.standard_normal(3000).astype(np.float32)
    ours = jaxsep.stft(x, n_fft=512, pad_mode=pad_mode)
    assert worst(ours, librosa.stft(x, n_fft=512, pad_mode=pad_mode)) <= TOLERANCE


def test_stft_of_one_sample_has_one_frame():
    assert jaxsep.stft(np.ones(1, np.float32), n_fft=16).shape == (9, 1)


def test_stft_equals_float64_when_asked(rng):
    with jax.enable_x64(True):
        x = rng.standard_normal(2000)
        ours = np.asarray(jaxsep.stft(x, n_fft=256, dtype=jnp.float64))
    assert ours.dtype == np.complex128
    assert worst(ours, librosa.stft(x, n_fft=256, dtype=np.complex128)) <= 1e-12


@settings(max_examples=25, deadline=None, derandomize=True)
@given(transforms(), st.integers(701, 2500), st.sampled_from([None, -200, 0, 300]))
def test_istft_equals_librosa_where_windows_overlap(options, samples, extra):
    x = np.random.default_rng(samples).standard_normal((2, samples)).astype(np.float32)
    spectrum = librosa.stft(x, **options)
    length = None if extra is None else samples + extra
    theirs = librosa.istft(spectrum, **options, length=length)
    ours = np.asarray(jaxsep.istft(spectrum, **options, length=length))
    assert ours.shape == theirs.shape
    heard = overlap(options, spectrum.shape[-1], ours.shape[-1])
    peak = np.max(np.abs(theirs[..., heard]), initial=1e-9)
    assert np.max(np.abs(ours - theirs)[..., heard], initial=0) <= TOLERANCE * peak


def overlap(options, frames, samples):
    """Where the summed squared windows exceed 1e-3 of their maximum."""
    n_fft, win = options["n_fft"], options["win_length"] or options["n_fft"]
    hop = options["hop_length"] or max(1, win // 4)
    total = librosa.filters.window_sumsquare(
        window="hann", n_frames=frames, win_length=win, n_fft=n_fft, hop_length=hop
    )
    start = n_fft // 2 if options["center"] else 0
    total = np.pad(total[start:], (0, samples))[:samples]
    return total > 1e-3 * total.max()


@pytest.mark.parametrize(("n_fft", "hop"), [(1024, 256), (512, 128), (2048, 512), (400, 160), (301, 75)])
@pytest.mark.parametrize("samples", [1, 500, 16001])
def test_inverse_gives_the_waveform_back(rng, n_fft, hop, samples):
    x = rng.standard_normal((2, samples)).astype(np.float32)
    spectrum = jaxsep.stft(x, n_fft=n_fft, hop_length=hop)
    y = jaxsep.istft(spectrum, n_fft=n_fft, hop_length=hop, length=samples)
    np.testing.assert_allclose(y, x, atol=1e-5 * np.abs(x).max())


@pytest.mark.parametrize(
    "options",
    [
        dict(sample_rate=22050, n_fft=2048, n_mels=128),
        dict(sample_rate=16000, n_fft=512, n_mels=40, fmin=20.0, fmax=7600.0),
        dict(sample_rate=44100, n_fft=4096, n_mels=229, fmin=30.0, htk=True),
        dict(sample_rate=8000, n_fft=255, n_mels=20, norm=None),
    ],
)
def test_mel_filters_equal_librosa(options):
    ours = spectral.mel_filters(**options)
    theirs = librosa.filters.mel(sr=options.pop("sample_rate"), **options)
    assert worst(ours, theirs) <= 1e-6


@pytest.mark.parametrize("power", [1.0, 2.0, 1.5])
def test_melspectrogram_equals_librosa(rng, power):
    x = rng.standard_normal((2, 20000)).astype(np.float32)
    ours = jaxsep.melspectrogram(x, 22050, n_mels=64, power=power)
    assert worst(ours, librosa.feature.melspectrogram(y=x, sr=22050, n_mels=64, power=power)) <= TOLERANCE


@pytest.mark.parametrize("top_db", [None, 80.0, 20.0])
@pytest.mark.parametrize("ref", [1.0, 3.5])
def test_decibels_equal_librosa_and_come_back(rng, top_db, ref):
    power = rng.random((3, 40)).astype(np.float32) ** 4
    ours = spectral.power_to_db(power, ref=ref, top_db=top_db)
    np.testing.assert_allclose(ours, librosa.power_to_db(power, ref=ref, top_db=top_db), atol=2e-5)
    ours = spectral.amplitude_to_db(power, ref=ref, top_db=top_db)
    np.testing.assert_allclose(ours, librosa.amplitude_to_db(power, ref=ref, top_db=top_db), atol=2e-5)
    loud = power + 0.1
    np.testing.assert_allclose(spectral.db_to_power(spectral.power_to_db(loud)), loud, rtol=1e-5)
    np.testing.assert_allclose(spectral.db_to_amplitude(spectral.amplitude_to_db(loud)), loud, rtol=1e-5)


@pytest.mark.parametrize("momentum", [0.0, 0.99])
def test_griffin_lim_equals_librosa_after_one_iteration(rng, momentum):
    x = rng.standard_normal(9000).astype(np.float32)
    size = np.abs(librosa.stft(x, n_fft=512))
    options = dict(momentum=momentum, n_iter=1, length=9000)
    ours = jaxsep.griffin_lim(size, **options)
    assert worst(ours, librosa.griffinlim(size, init=None, **options)) <= TOLERANCE


def test_griffin_lim_converges_as_far_as_librosa():
    x = librosa.chirp(fmin=200, fmax=3000, sr=16000, duration=1.0).astype(np.float32)
    size = np.abs(librosa.stft(x, n_fft=1024))

    def convergence(y):
        return np.linalg.norm(np.abs(librosa.stft(np.asarray(y), n_fft=1024)) - size) / np.linalg.norm(size)

    theirs = convergence(librosa.griffinlim(size, init=None, length=16000))
    assert convergence(jaxsep.griffin_lim(size, length=16000)) <= theirs * 1.001 + 1e-6
    seed = {"rng" if "rng" in signature(librosa.griffinlim).parameters else "random_state": 0}
    random = convergence(jaxsep.griffin_lim(size, length=16000, key=jax.random.key(0)))
    assert random <= 1.5 * convergence(librosa.griffinlim(size, init="random", **seed, length=16000))


def test_batches_are_computed_as_single_waveforms(rng):
    x = rng.standard_normal((2, 3, 5000)).astype(np.float32)
    size = jnp.abs(jaxsep.stft(x, n_fft=256))
    batch = jaxsep.griffin_lim(size, n_iter=3, length=5000)
    single = jaxsep.griffin_lim(size[1, 2], n_iter=3, length=5000)
    np.testing.assert_allclose(batch[1, 2], single, atol=1e-4)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: jnp.sum(spectral.magnitude(jaxsep.stft(x, n_fft=256))),
        lambda x: jnp.sum(jaxsep.melspectrogram(x, n_fft=256, hop_length=64, n_mels=16)),
        lambda x: jnp.sum(jaxsep.melspectrogram(x, n_fft=256, hop_length=64, n_mels=16, power=1.0)),
        lambda x: jnp.sum(spectral.amplitude_to_db(spectral.magnitude(jaxsep.stft(x, n_fft=256)))),
        lambda x: jnp.sum(jnp.square(jaxsep.istft(jaxsep.stft(x, n_fft=256), length=1000))),
        lambda x: jnp.sum(
            jnp.square(jaxsep.griffin_lim(spectral.magnitude(jaxsep.stft(x, n_fft=256)), n_iter=3))
        ),
    ],
)
@pytest.mark.parametrize("level", [0.0, 1.0])
def test_gradients_are_finite_at_silence(function, level):
    x = level * jnp.concatenate([jnp.zeros(500), jnp.sin(jnp.arange(500.0))])
    assert np.isfinite(jax.grad(function)(x)).all()


@pytest.mark.parametrize(
    "function",
    [
        lambda x: jaxsep.istft(jaxsep.stft(x, n_fft=128), length=900),
        lambda x: jaxsep.melspectrogram(x, n_fft=128, hop_length=64, n_mels=16),
        lambda x: jaxsep.griffin_lim(spectral.magnitude(jaxsep.stft(x, n_fft=128)), n_iter=2, length=900),
    ],
    ids=["stft and back", "mel", "Griffin-Lim"],
)
def test_gradient_of_a_batch_too_large_for_the_cache_is_that_of_its_rows(rng, function, monkeypatch):
    x = rng.standard_normal((3, 900)).astype(np.float32)
    rows = np.stack([jax.grad(lambda a: jnp.sum(jnp.sin(function(a))))(row) for row in x])
    monkeypatch.setattr("jaxsep._rows._CACHE", 1)
    jax.clear_caches()
    batch = jax.jit(jax.grad(lambda a: jnp.sum(jnp.sin(function(a)))))(x)
    np.testing.assert_allclose(batch, rows, atol=1e-4 * np.abs(rows).max())


@pytest.mark.parametrize(
    ("call", "part"),
    [
        (lambda: jaxsep.stft(np.zeros(5000, np.int16)), "x.dtype=int16"),
        (lambda: jaxsep.stft(np.zeros((2, 0), np.float32)), "x.shape=(2, 0)"),
        (lambda: jaxsep.stft(np.zeros((), np.float32)), "x.shape=()"),
        (lambda: jaxsep.stft(np.zeros(100, np.float32), center=False), "x.shape=(100,)"),
        (lambda: jaxsep.stft(np.zeros(100, np.float32), pad_mode="reflect"), "pad_mode='reflect'"),
        (lambda: jaxsep.stft(np.zeros(100, np.float32), pad_mode="magic"), "pad_mode='magic'"),
        (lambda: jaxsep.stft(np.zeros(100, np.float32), n_fft=0), "n_fft=0"),
        (lambda: jaxsep.stft(np.zeros(100, np.float32), n_fft=64.0), "n_fft=64.0"),
        (lambda: jaxsep.stft(np.zeros(100, np.float32), hop_length=-1), "hop_length=-1"),
        (lambda: jaxsep.stft(np.zeros(100, np.float32), n_fft=64, win_length=65), "win_length=65"),
        (lambda: jaxsep.stft(np.zeros(100, np.float32), window="kaiser"), "window='kaiser'"),
        (lambda: jaxsep.stft(np.zeros(100, np.float32), n_fft=64, window=np.ones(3)), "window.shape=(3,)"),
        (lambda: jaxsep.stft(np.zeros(100, np.float32), dtype=np.float64), "jax.enable_x64"),
        (lambda: jaxsep.istft(np.zeros((5, 3), np.float32)), "spectrum.dtype=float32"),
        (lambda: jaxsep.istft(np.zeros((5, 3), np.complex64), n_fft=12), "spectrum.shape=(5, 3)"),
        (lambda: jaxsep.istft(np.zeros((5, 3), np.complex64), length=0), "length=0"),
        (lambda: jaxsep.melspectrogram(np.zeros(100, np.float32), 8000, fmax=5000.0), "fmax=5000.0"),
        (lambda: jaxsep.griffin_lim(np.ones((5, 3), np.float32), length=1000), "length=1000"),
        (lambda: jaxsep.griffin_lim(np.ones((5, 3), np.float32), momentum=-1), "momentum=-1"),
        (lambda: jaxsep.si_sdr(np.zeros(5, np.float32), np.zeros(6, np.float32)), "estimate.shape=(6,)"),
    ],
)
def test_bad_arguments_are_named(call, part):
    with pytest.raises(ValueError, match="=") as error:
        call()
    assert part in str(error.value)


@pytest.mark.parametrize("hop", [128, 512])
def test_a_window_that_ends_in_zero_leaves_no_rounding_behind(rng, hop):
    x = rng.standard_normal(4096).astype(np.float32)
    options = dict(hop_length=hop, window="blackman", center=False)
    y = np.asarray(jaxsep.istft(jaxsep.stft(x, n_fft=512, **options), **options))
    away = np.arange(len(y)) % 512 != 0 if hop == 512 else np.arange(len(y)) > 0
    assert np.abs(y).max() < 2 * np.abs(x).max()
    np.testing.assert_allclose(y[away][8:-8], x[: len(y)][away][8:-8], atol=1e-3 if hop < 512 else 1.0)


def test_a_batch_of_none_gives_none():
    x = jnp.zeros((0, 4000))
    spectrum = jaxsep.stft(x, n_fft=256)
    assert spectrum.shape == (0, 129, 63)
    assert jaxsep.istft(spectrum, length=4000).shape == x.shape
    assert spectral.griffin_lim(jnp.zeros((0, 129, 20)), n_iter=2).shape[0] == 0
