"""Long input: exact length, no seams, stems that sum to the mixture, at any rate."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxsep.audio import Resampler
from jaxsep.codecs import STFT, Codec
from jaxsep.errors import AudioWarning
from jaxsep.export import export_stream
from jaxsep.inference import init_carry, separate_each, stream_step
from jaxsep.metrics import si_sdr
from jaxsep.networks import LSTMMask
from jaxsep.separator import Separator
from jaxsep.system import System, SystemConfig


@pytest.fixture(scope="module")
def separator():
    config = SystemConfig(
        sample_rate=8000,
        codec=Codec(STFT(n_fft=256, hop_length=64)),
        network=LSTMMask(layers=1, width=16),
        segment_seconds=1.0,
        overlap_seconds=0.2,
    )
    system = System(config)
    return Separator(system, system.init(jax.random.key(0)), windows=3)


def scaled(windows):
    """A separation that is the same everywhere: one fifth and four fifths."""
    return jnp.stack([0.2 * windows, 0.8 * windows], axis=1)


@pytest.mark.slow
@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(1, 400), st.integers(1, 3), st.integers(1, 4), st.integers(1, 10))
def test_windows_fade_into_each_other_without_a_seam(samples, channels, windows, overlap):
    x = np.random.default_rng(samples).standard_normal((channels, samples)).astype(np.float32)
    (stems,) = separate_each(scaled, [x], num_sources=2, segment=24, overlap=overlap, windows=windows)
    np.testing.assert_allclose(stems, [0.2 * x, 0.8 * x], atol=1e-6)


@pytest.mark.parametrize("samples", [1, 3, 23, 24, 100])
@pytest.mark.parametrize("windows", [1, 4])
def test_windows_hear_no_silence_around_the_sound(samples, windows):
    heard = []

    def separate(x):
        heard.append(np.asarray(x))
        return scaled(x)

    x = np.arange(1.0, samples + 1, dtype=np.float32)[None]
    list(separate_each(separate, [x], num_sources=2, segment=24, overlap=4, windows=windows))
    first = np.concatenate(heard)[0]
    assert all(np.isin(window, x).all() for window in heard)
    np.testing.assert_array_equal(first[3:5], 1.0)  # mirrored before the start
    if samples < 20:
        np.testing.assert_array_equal(first[3 + samples : 5 + samples], samples)  # and behind the end


def test_the_stream_does_not_depend_on_how_it_is_cut(rng):
    x = jnp.asarray(rng.standard_normal((2, 120)), jnp.float32)
    whole, _ = stream_step(scaled, init_carry(2, 2, 4), x, segment=24), None
    carry, parts = init_carry(2, 2, 4), []
    for start, stop in ((0, 20), (20, 80), (80, 120)):
        carry, out = stream_step(scaled, carry, x[:, start:stop], segment=24)
        parts.append(out)
    np.testing.assert_allclose(jnp.concatenate(parts, axis=-1), whole[1], atol=1e-6)
    with pytest.raises(ValueError, match="chunk.shape"):
        stream_step(scaled, carry, x[:, :7], segment=24)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 32000, 44100, 48000, 96000, 192000])
def test_any_rate_keeps_length_level_and_sum(separator, rng, rate):
    for samples in (1, 63, 255, rate // 3, 3 * rate + 17):
        x = 0.3 * rng.standard_normal((2, samples)).astype(np.float32)
        stems = separator(x, rate)
        assert list(stems) == ["vocals", "accompaniment"]
        for stem in stems.values():
            assert stem.shape == x.shape
            assert stem.dtype == np.float32
        np.testing.assert_allclose(sum(stems.values()), x, atol=1e-4)


@pytest.mark.parametrize("shape", [(4000,), (1, 4000), (6, 4000)])
def test_any_channels_are_separated_each_on_its_own(separator, rng, shape):
    x = rng.standard_normal(shape).astype(np.float32)
    stems = separator(x, 8000)
    assert stems["vocals"].shape == shape
    if len(shape) == 2:
        alone = separator(x[-1], 8000)["vocals"]
        np.testing.assert_allclose(stems["vocals"][-1], alone, atol=1e-5)


def test_blocks_of_any_size_give_the_same_stems(separator, rng):
    x = rng.standard_normal((1, 50_000)).astype(np.float32)
    whole = separator(x, 11025)["vocals"]
    for size in (1000, 7919, 50_000):
        blocks = (x[:, i : i + size] for i in range(0, 50_000, size))
        parts = [b.stems["vocals"] for b in separator.stream(blocks, 11025, 1)]
        np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, atol=1e-5)


@pytest.mark.parametrize("samples", [1, 700, 5000])
def test_short_input_does_not_depend_on_whether_its_length_is_known(separator, rng, samples):
    x = rng.standard_normal((1, samples)).astype(np.float32)
    (known,) = separator.stream([x], 8000, 1, samples)
    unknown = np.concatenate([b.stems["vocals"] for b in separator.stream([x], 8000, 1)], axis=1)
    np.testing.assert_allclose(known.stems["vocals"], unknown, atol=1e-5)


def test_long_input_is_separated_as_well_as_in_one_piece(separator, rng):
    x = rng.standard_normal((1, 8000 * 6)).astype(np.float32)
    pieces = separator(x, 8000)["vocals"][0]
    whole = np.asarray(separator.system.separate(separator.variables, x[0]))[0]
    assert si_sdr(whole, pieces) > 20


@pytest.mark.parametrize("platforms", [("cpu",), ("cpu", "cuda", "tpu")])
def test_the_exported_stream_equals_the_separator(separator, rng, platforms):
    pytest.importorskip("flatbuffers", reason="the extra export is not installed")
    step = jax.export.deserialize(export_stream(separator, platforms=platforms)).call
    hop = separator.system.segment - separator.system.overlap
    x = rng.standard_normal((1, 3 * hop)).astype(np.float32)
    *carry, parts = *init_carry(2, 1, separator.system.overlap, x), []
    for start in range(0, x.shape[1], hop):
        *carry, stems = step(*carry, x[:, start : start + hop])
        parts.append(stems)
    streamed = np.concatenate(parts, axis=-1)[0, :, separator.system.overlap :]
    expected = separator(x, 8000)["vocals"][:, : streamed.shape[1]]
    np.testing.assert_allclose(streamed, expected, atol=1e-5)


@pytest.mark.parametrize("level", [0.0, 1e-6, 10.0])
def test_silence_offsets_and_loudness_stay_finite(separator, rng, level):
    x = level * rng.standard_normal((1, 9000)).astype(np.float32)
    stems = separator(x, 8000)
    assert all(np.isfinite(s).all() for s in stems.values())
    np.testing.assert_allclose(sum(stems.values()), x, atol=1e-4)
    offset = separator(x + 0.5, 8000)
    np.testing.assert_allclose(sum(offset.values()), x + 0.5, atol=1e-4)
    if level == 0:
        assert not any(s.any() for s in stems.values())


@pytest.mark.parametrize(
    ("waveform", "rate", "part"),
    [
        (np.zeros(10, np.int16), 8000, "waveform.dtype=int16"),
        (np.zeros((1, 2, 3), np.float32), 8000, "waveform.shape=(1, 2, 3)"),
        (np.zeros((2, 0), np.float32), 8000, "waveform.shape=(2, 0)"),
        (np.full(10, np.nan, np.float32), 8000, "NaN"),
        (np.zeros(10, np.float32), 0, "sample_rate=0"),
        (np.zeros(10, np.float32), float("inf"), "sample_rate=inf"),
        (np.zeros(10, np.float32), "44100", "sample_rate='44100'"),
        (np.zeros(10, np.float32), np.array(0.5), "sample_rate=array(0.5)"),
    ],
)
def test_bad_waveforms_are_refused(separator, waveform, rate, part):
    with pytest.raises(ValueError) as error:
        separator(waveform, rate)
    assert part in str(error.value)


@pytest.mark.parametrize(("before", "after"), [(44100, 16000), (16000, 44100), (8000, 48000), (16000, 16000)])
def test_stream_resampling_equals_soxr_at_once(rng, before, after):
    x = rng.standard_normal((2, 30_011)).astype(np.float32)
    resampler = Resampler(before, after, 2)
    parts = [resampler.push(x[:, a:b]) for a, b in ((0, 5), (5, 5), (5, 20_000), (20_000, 30_011))]
    y = np.concatenate([*parts, resampler.finish()], axis=1)
    expected = soxr.resample(x.T, before, after, quality="HQ").T
    assert y.shape[1] == round(30_011 * after / before)
    shared = min(y.shape[1], expected.shape[1])
    np.testing.assert_allclose(y[:, :shared], expected[:, :shared], atol=1e-5)


def test_where_memory_runs_out_batches_of_windows_get_smaller_and_nothing_is_lost(
    separator, rng, monkeypatch
):
    x = rng.standard_normal((1, 90000)).astype(np.float32)
    expected = separator(x, 8000)
    short = Separator(separator.system, separator.variables, windows=8)
    step, sizes = short._step, []

    def limited(variables, carry, chunk):
        sizes.append(chunk.shape[1])
        if chunk.shape[1] > 2 * 6400:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes.")
        return step(variables, carry, chunk)

    monkeypatch.setattr(short, "_step", limited)
    with pytest.warns(AudioWarning, match="model: the device is out of memory; going on with [42] windows"):
        found = short(x, 8000)
    assert max(sizes[2:]) == 2 * 6400 and short.windows == 2
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-5)

    def failing(*_):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")

    monkeypatch.setattr(short, "_step", failing)
    with pytest.raises(jax.errors.JaxRuntimeError, match="something else"):
        short(x, 8000)


def test_what_float32_does_not_hold_is_refused(separator):
    with pytest.raises(ValueError, match="waveform: holds NaN, infinity or more than float32 does"):
        separator(np.full(2000, 1e39), 8000)


def test_a_buffer_that_is_filled_again_changes_nothing(separator, rng):
    x = rng.standard_normal((1, 9000)).astype(np.float32)

    def again():
        buffer = np.empty((1, 100), np.float32)
        for start in range(0, 9000, 100):
            buffer[:] = x[:, start : start + 100]
            yield buffer

    found = np.concatenate([b.stems["vocals"] for b in separator.stream(again(), 8000, 1)], axis=1)
    fresh = np.concatenate(
        [b.stems["vocals"] for b in separator.stream((b.copy() for b in again()), 8000, 1)], axis=1
    )
    np.testing.assert_array_equal(found, fresh)
