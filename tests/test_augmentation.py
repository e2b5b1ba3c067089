"""Resampling and augmentation: equal to the field's implementations, keyed, and off by default."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsep
from jaxsep.augment import (
    AugmentConfig,
    augment,
    circular_shift,
    equalizer,
    lowpass,
    pitch_shift,
    random_equalizer,
    random_gain,
    random_lowpass,
    remix,
    resample_at,
    time_stretch,
)
from jaxsep.augment.playback import play_back
from jaxsep.parts import from_dict

RATE = 22050
EVERYTHING = AugmentConfig(
    speed_semitones=2.0,
    pitch_steps=(-4, -2, 2, 4),
    stretch_rates=(1.0, 1.2),
    circular_shift=True,
    equalizer_db=6.0,
    lowpass=0.3,
    gain_db=5.0,
    level_db=4.0,
    polarity=True,
)


def sweep(samples=RATE):
    """A falling tone with overtones and a little noise."""
    t = np.arange(samples) / RATE
    phase = 2 * np.pi * (500 * t - 60 * t**2)
    tone = sum(np.sin(k * phase) / k for k in (1, 2, 3, 5))
    return (tone + 0.01 * np.random.default_rng(0).standard_normal(samples)).astype(np.float32)


@pytest.mark.parametrize(
    ("orig", "target"),
    [(44100, 22050), (44100, 16000), (8000, 48000), (63, 50), (44100, 8001)],
)
def test_resampling_equals_scipy_with_the_same_window(orig, target):
    signal = pytest.importorskip("scipy.signal")
    x = np.random.default_rng(0).standard_normal((2, 5000)).astype(np.float32)
    common = np.gcd(orig, target)
    up, down = target // common, orig // common
    cutoff = 0.945 * min(1, up / down)
    taps = np.arange(-int(64 / cutoff * up), int(64 / cutoff * up) + 1) / up
    window = np.i0(14.77 * np.sqrt(np.maximum(0, 1 - (taps * cutoff / 64) ** 2))) / np.i0(14.77)
    sinc = cutoff * np.sinc(cutoff * taps) * window
    expected = signal.resample_poly(x.astype(float), up, down, axis=1, window=sinc) / up
    found = jaxsep.resample(x, orig, target)
    assert found.shape == expected.shape == (2, -(-5000 * target // orig))
    np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize(("orig", "target"), [(44100, 22050), (16000, 44100)])
def test_resampling_equals_soxr_below_the_edge_and_takes_away_what_is_above(orig, target):
    import soxr

    lower, t = min(orig, target), np.arange(orig // 4) / orig
    low = sum(np.sin(2 * np.pi * share * lower * t) for share in (0.01, 0.2, 0.41)).astype(np.float32)
    found, theirs = jaxsep.resample(low, orig, target), soxr.resample(low, orig, target, quality="VHQ")
    inside = slice(target // 40, -target // 40)
    np.testing.assert_allclose(found[inside], theirs[: len(found)][inside], atol=1e-3)
    if target < orig:
        high = np.sin(2 * np.pi * 0.55 * lower * t).astype(np.float32)
        assert np.abs(jaxsep.resample(high, orig, target)[inside]).max() < 1e-5


@pytest.mark.parametrize(
    ("x", "rates", "options", "part"),
    [
        (np.ones(100, int), (2, 1), {}, "dtype=int64"),
        (np.ones(0, np.float32), (2, 1), {}, "empty"),
        (np.ones(9, np.float32), (2.5, 1), {}, "orig_rate=2.5"),
        (np.ones(9, np.float32), (2, 0), {}, "target_rate=0"),
        (np.ones(9, np.float32), (2, 1), dict(rolloff=1.5), "rolloff=1.5"),
    ],
)
def test_resampling_names_what_is_wrong(x, rates, options, part):
    with pytest.raises(ValueError) as error:
        jaxsep.resample(x, *rates, **options)
    assert part in str(error.value)


def test_resampling_to_the_same_rate_changes_nothing(rng):
    x = rng.standard_normal((3, 50)).astype(np.float32)
    np.testing.assert_array_equal(jaxsep.resample(x, 16000, 16000), x)


# librosa 1.0 casts phases that are not there.
@pytest.mark.filterwarnings("ignore:invalid value encountered in cast:RuntimeWarning")
@pytest.mark.parametrize("rate", [1.2, 0.8])
def test_stretching_equals_librosa(rate):
    effects = pytest.importorskip("librosa").effects
    x = sweep()
    expected = effects.time_stretch(x, rate=rate)
    found = np.asarray(time_stretch(x, rate))
    assert found.shape == expected.shape
    inside = slice(0, -2048)  # librosa's waveform has no silence after its end
    assert np.linalg.norm((found - expected)[inside]) < 5e-3 * np.linalg.norm(expected)
    assert 0.5 < np.std(found[-2048:-256]) / np.std(expected[-2048:-256]) < 2


# librosa 1.0 casts phases that are not there.
@pytest.mark.filterwarnings("ignore:invalid value encountered in cast:RuntimeWarning")
@pytest.mark.parametrize("semitones", [-4, 4])
def test_shifting_the_pitch_has_librosas_spectrum(semitones):
    librosa = pytest.importorskip("librosa")
    x = sweep()
    expected = librosa.effects.pitch_shift(x, sr=RATE, n_steps=semitones)
    found = np.asarray(pitch_shift(x, semitones))
    assert found.shape == x.shape
    ours, theirs = (np.abs(librosa.stft(y[:-2048])) for y in (found, expected))
    assert np.linalg.norm(ours - theirs) < 0.02 * np.linalg.norm(theirs)


def test_a_tone_gets_the_pitch_asked_for_and_none_folds_back():
    t = np.arange(RATE) / RATE
    tone = np.sin(2 * np.pi * 440 * t).astype(np.float32)
    spectrum = np.abs(np.fft.rfft(pitch_shift(tone, 3) * np.hanning(RATE)))
    assert abs(int(spectrum.argmax()) - 440 * 2 ** (3 / 12)) <= 1
    high = np.sin(2 * np.pi * 10_000 * t).astype(np.float32)
    assert np.std(pitch_shift(high, 3)[2048:-2048]) < 1e-3


def test_a_traced_shift_and_rate_are_the_known_ones():
    x = sweep(6000)
    both = jax.jit(jax.vmap(lambda s: pitch_shift(x, s, most=4.0)))(jnp.array([-2.0, 3.0]))
    np.testing.assert_allclose(both[1], pitch_shift(x, 3.0), atol=2e-3)
    traced = jax.jit(lambda r: time_stretch(x, r, 5000))(1.2)
    np.testing.assert_allclose(traced, time_stretch(x, 1.2), atol=2e-3)
    assert both.shape == (2, 6000)


@pytest.mark.parametrize("call", [partial(time_stretch, rate=0.0), partial(pitch_shift, semitones=13)])
def test_a_rate_or_shift_out_of_range_is_named(call):
    with pytest.raises(ValueError, match="rate=0.0|semitones=13.0"):
        call(np.ones(100, np.float32))


def test_low_pass_keeps_what_is_below_and_takes_what_is_above(rng):
    x = rng.standard_normal((2, 5000)).astype(np.float32)
    spectrum, before = (np.abs(np.fft.rfft(y * np.hanning(5000))) for y in (lowpass(x, 0.4), x))
    assert np.all(spectrum[:, 1150:] < 1e-3 * before.mean())
    np.testing.assert_allclose(spectrum[:, 10:950], before[:, 10:950], atol=0.02 * before.mean())


def test_some_sources_are_low_passed_each_at_its_own_place(rng):
    x = rng.standard_normal((64, 4000)).astype(np.float32)
    y = np.asarray(random_lowpass(jax.random.key(0), x, 0.25, share=0.5))
    changed = ~np.all(y == x, axis=1)
    assert 16 < changed.sum() < 48
    power = np.abs(np.fft.rfft(y[changed] * np.hanning(4000))) ** 2
    edges = (np.cumsum(power, axis=1) < 0.999 * power.sum(axis=1, keepdims=True)).sum(axis=1) / 2000
    assert edges.min() > 0.2
    assert edges.max() > 2 * edges.min()


def test_equalizer_gives_each_octave_its_gain(rng):
    gains = np.array([-12.0, 6.0, 0.0, 9.0, -3.0])
    octaves = np.log2(np.arange(400, 8000) / 8000) + 4
    x = (rng.standard_normal(16000) * np.hanning(16000)).astype(np.float32)
    before, after = (np.fft.rfft(y) for y in (x, equalizer(x, gains)))
    bands = np.divide(*(np.abs(y[400:8000]).reshape(-1, 100).mean(axis=1) for y in (after, before)))
    expected = np.interp(octaves, np.arange(5), gains).reshape(-1, 100).mean(axis=1)
    np.testing.assert_allclose(20 * np.log10(bands), expected, atol=1.0)


def test_each_source_is_equalized_by_itself_within_its_decibels(rng):
    x = rng.standard_normal((20, 8192)).astype(np.float32) * np.hanning(8192).astype(np.float32)
    y = np.asarray(random_equalizer(jax.random.key(0), x, 6.0))
    power = [
        np.square(np.abs(np.fft.rfft(a))).reshape(20, -1)[:, 1:].reshape(20, 8, 512).sum(2) for a in (x, y)
    ]
    change = 10 * np.log10(power[1] / power[0])
    assert -6.1 < change.min() < -4
    assert 4 < change.max() < 6.1
    assert np.all(np.std(change, axis=0) > 1)


def test_loudness_stays_within_its_decibels(rng):
    x = rng.standard_normal((200, 10)).astype(np.float32)
    change = 20 * np.log10(np.abs(random_gain(jax.random.key(1), x, 5.0) / x))
    assert -5 <= change.min() < -4
    assert 4 < change.max() <= 5


def test_remixing_permutes_each_source_of_the_batch(rng):
    x = rng.standard_normal((8, 3, 5)).astype(np.float32)
    y = np.asarray(remix(jax.random.key(0), x))
    orders = []
    for s in range(3):
        order = [int(np.flatnonzero((x[:, s] == row).all(axis=1))[0]) for row in y[:, s]]
        assert sorted(order) == list(range(8))
        orders.append(tuple(order))
    assert len(set(orders)) == 3
    mesh = jax.make_mesh((4,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
    spread = jax.device_put(x, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("d")))
    np.testing.assert_array_equal(jax.jit(remix)(jax.random.key(0), spread), y)


def test_a_shift_in_time_keeps_every_sample(rng):
    x = rng.standard_normal((2, 100)).astype(np.float32)
    y = np.asarray(circular_shift(jax.random.key(3), x))
    np.testing.assert_array_equal(np.sort(y), np.sort(x))


def test_nothing_is_changed_by_default(rng):
    x = rng.standard_normal((2, 100)).astype(np.float32)
    assert AugmentConfig().read_length(100) == 100
    np.testing.assert_array_equal(augment(AugmentConfig(), jax.random.key(0), x, 100), x)


@pytest.mark.slow
def test_every_change_together_is_keyed_and_finite_alone_or_in_a_batch(rng):
    length = 4000
    read = EVERYTHING.read_length(length)
    assert read >= length * 1.2 * 2 ** (2 / 12)
    x = rng.standard_normal((4, 2, read)).astype(np.float32)
    keys = jax.random.split(jax.random.key(0), 4)
    change = jax.jit(jax.vmap(lambda k, s: augment(EVERYTHING, k, s, length)))
    batch = np.asarray(change(keys, x))
    assert batch.shape == (4, 2, length)
    assert np.isfinite(batch).all()
    # The fastest of each draw has something to read up to the end.
    assert np.all(np.abs(batch).max(axis=-1) > 0)
    np.testing.assert_array_equal(change(keys, x), batch)
    mesh = jax.make_mesh((4,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec("d")
    spread = jax.jit(jax.shard_map(change, mesh=mesh, in_specs=(spec, spec), out_specs=spec))
    np.testing.assert_allclose(spread(keys, x), batch, atol=1e-4)
    other = change(jax.random.split(jax.random.key(1), 4), x)
    assert not np.allclose(other, batch, atol=0.1)


def test_new_changes_leave_the_draws_of_the_others_alone(rng):
    x = rng.standard_normal((2, 500)).astype(np.float32)
    key = jax.random.key(5)
    level = np.asarray(augment(AugmentConfig(level_db=5.0), key, x, 500)) / x
    assert np.ptp(level) < 1e-6 and 10**-0.25 < level[0, 0] < 10**0.25 and abs(level[0, 0] - 1) > 1e-3
    gain = np.asarray(augment(AugmentConfig(gain_db=5.0), key, x, 500))
    both = np.asarray(augment(AugmentConfig(gain_db=5.0, lowpass=0.99, lowpass_share=0.0), key, x, 500))
    np.testing.assert_array_equal(gain, both)


@pytest.mark.parametrize(
    "values",
    [
        dict(gain_db=-1.0),
        dict(lowpass=1.5),
        dict(lowpass_share=2.0),
        dict(equalizer_db=-1.0),
        dict(pitch_steps=[30]),
        dict(stretch_rates=[0.0]),
        dict(speed_semitones=-2.0),
    ],
)
def test_a_config_names_what_is_out_of_range(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        from_dict(AugmentConfig, values, "augment")


def test_reading_at_a_ratio_is_exact_for_slow_signals():
    x = np.sin(0.05 * np.arange(3000)).astype(np.float32)
    for taps, error in ((8, 5e-3), (32, 2e-4)):
        found = resample_at(jnp.asarray(x), 1.3, 2000, taps=taps)
        np.testing.assert_allclose(found[50:], np.sin(0.05 * 1.3 * np.arange(50, 2000)), atol=error)


def test_places_change_channels_together_and_only_where_there_are_two():
    stereo = jax.random.normal(jax.random.key(1), (64, 2, 100))  # that none of 64 is swapped is no chance
    swapped = augment(AugmentConfig(swap_channels=True), jax.random.key(3), stereo, 100)
    either = [
        bool((a == b).all()) or bool((a == b[::-1]).all()) for a, b in zip(swapped, stereo, strict=True)
    ]
    assert all(either) and not bool((swapped == stereo).all())
    panned = augment(AugmentConfig(pan=0.5), jax.random.key(3), stereo, 100)
    gains = panned / stereo
    np.testing.assert_allclose(gains.std(axis=2), 0, atol=1e-5)
    np.testing.assert_allclose((gains[..., 0] ** 2).sum(1), 2, atol=1e-4)
    mono = augment(AugmentConfig(pan=0.5, swap_channels=True), jax.random.key(3), stereo[:, :1], 100)
    np.testing.assert_array_equal(mono, stereo[:, :1])


def test_what_happens_to_a_source_happens_to_all_of_its_channels():
    one = jax.random.normal(jax.random.key(1), (2, 1, 400))
    config = AugmentConfig(speed_semitones=2.0, gain_db=6.0, polarity=True, equalizer_db=6.0)
    both = augment(config, jax.random.key(3), jnp.repeat(one, 2, axis=1), 300)
    assert both.shape == (2, 2, 300)
    np.testing.assert_allclose(both[:, 0], both[:, 1], atol=1e-6)
    np.testing.assert_allclose(both[:, 0], augment(config, jax.random.key(3), one[:, 0], 300), atol=1e-5)


@pytest.mark.parametrize("numbers", [np.asarray, jnp.asarray])
def test_what_lies_at_the_nyquist_frequency_keeps_its_level_when_slowed(numbers):
    x = numbers(np.tile([1.0, -1.0], 2048).astype(np.float32))
    slow = play_back(x, 4096, speed=0.5, sample_rate=8000)
    traced = jax.jit(lambda speed: play_back(jnp.asarray(x), 4096, speed=speed, sample_rate=8000))(0.5)
    expected = np.cos(np.pi * np.arange(4096) / 2)
    for found in (slow, traced):
        np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("cutoff", [0.01, 0.1])
def test_low_pass_does_not_run_from_the_end_into_the_start(rng, cutoff):
    x = rng.standard_normal(3000).astype(np.float32)
    alone = lowpass(np.pad(x, (0, 1 << 17)), cutoff)[:3000]
    np.testing.assert_allclose(lowpass(x, cutoff), alone, atol=1e-3 * np.abs(alone).max())
    with pytest.raises(ValueError, match="cutoff=0.0: expected a share"):
        lowpass(x, 0.0)


def test_draws_are_the_same_in_64_bit_mode(rng):
    sources = jnp.asarray(rng.standard_normal((4, 1, 2 * RATE)), jnp.float32)
    keys = [jax.random.key(i) for i in range(3)]
    found = [augment(EVERYTHING, key, sources, RATE) for key in keys]
    with jax.enable_x64(True):
        again = [augment(EVERYTHING, key, sources, RATE) for key in keys]
    for a, b in zip(found, again, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-2 * np.abs(a).max())
