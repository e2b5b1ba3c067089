"""Codecs: waveform to features and back; what fits together, and what is refused."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import librosa
import numpy as np
import pytest

from jaxsep.codec import CODECS, FramesCodec, MelCodec, STFTCodec, WaveformCodec, round_trip_loss
from jaxsep.codec.mel import mel_to_magnitude
from jaxsep.models import (
    CNNAutoencoderConfig,
    FeedForwardConfig,
    LSTMMaskConfig,
    MaskEstimationConfig,
    UNetConfig,
    WaveUNetConfig,
)
from jaxsep.separator import Separator
from jaxsep.system import System, SystemConfig
from jaxsep.training import LossConfig, check_loss

MEL = MelCodec(n_fft=256, hop_length=64, n_mels=40, sample_rate=16000, inversion="mixture_phase")
STFT = STFTCodec(n_fft=256, hop_length=64)
FRAMES = FramesCodec(size=128)


@pytest.fixture
def sources(rng):
    """Two decaying harmonic tones, (1, 2, 4000)."""
    time = np.arange(4000) / 16000
    tones = [sum(np.sin(2 * np.pi * f * k * time) / k for k in (1, 2, 3)) for f in (220, 990)]
    return jnp.asarray(np.stack(tones)[None] * np.exp(-4 * time), jnp.float32)


@pytest.mark.parametrize("codec", [STFT, MEL, FRAMES, WaveformCodec()], ids=lambda c: c.name)
@pytest.mark.parametrize("samples", [1, 63, 64, 65, 1000])
def test_frames_and_samples_agree_with_the_features(codec, samples):
    features = codec.encode(jnp.ones((1, samples))).features
    frames = features.shape[-1]
    assert frames == codec.frames(samples)
    assert codec.frames(codec.samples(frames)) == frames
    assert codec.samples(frames) <= samples
    if codec.domain == "frames":
        assert features.shape[2] == codec.num_bins


@pytest.mark.parametrize("scale", ["magnitude", "log", "db"])
@pytest.mark.parametrize("normalise", ["none", "min_max", "cmvn"])
@pytest.mark.parametrize("codec", [STFT, MEL], ids=lambda c: c.name)
def test_true_features_decode_to_the_sources(sources, codec, scale, normalise):
    codec = dataclasses.replace(codec, scale=scale, normalise=normalise, estimate="features")
    encoded = codec.encode(sources.sum(1))
    truth = codec.reference(encoded, sources / encoded.level[:, None, None])
    estimates = codec.decode(encoded, truth.features, 4000)
    scale_of = float(jnp.abs(truth.magnitudes).max())
    np.testing.assert_allclose(estimates.magnitudes, truth.magnitudes, atol=2e-4 * scale_of)
    error = estimates.waveforms - truth.waveforms
    assert float(jnp.sum(error**2) / jnp.sum(truth.waveforms**2)) < 0.05
    if normalise == "min_max":
        assert float(encoded.features.min()) == pytest.approx(0, abs=1e-6)
        assert float(encoded.features.max()) == pytest.approx(1, abs=1e-6)
    if normalise == "cmvn":
        np.testing.assert_allclose(encoded.features.mean(-1), 0, atol=1e-4)
        assert float(encoded.features.std(-1).max()) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("codec", [STFT, MEL], ids=lambda c: c.name)
@pytest.mark.parametrize("estimate", ["ratio", "mask"])
def test_masks_and_features_agree(rng, sources, codec, estimate):
    codec = dataclasses.replace(codec, estimate=estimate, normalise="min_max", scale="log")
    encoded = codec.encode(sources.sum(1))
    shape = (1, 2, *encoded.features.shape[2:])
    outputs = jnp.asarray(rng.uniform(0.1, 1, shape), jnp.float32)
    estimates = codec.decode(encoded, outputs, 4000)
    np.testing.assert_allclose(estimates.magnitudes, estimates.masks * encoded.magnitude, rtol=1e-6)
    again = dataclasses.replace(codec, estimate="features").decode(encoded, estimates.features, 4000)
    np.testing.assert_allclose(again.magnitudes, estimates.magnitudes, atol=1e-4)
    total = estimates.waveforms.sum(1) * encoded.level
    agrees = np.allclose(total, sources.sum(1), atol=1e-4)
    assert agrees == codec.sums_to_mixture == (estimate == "ratio")


def test_mel_features_equal_librosa(sources):
    mixture = np.asarray(sources.sum(1)[0])
    codec = dataclasses.replace(MEL, level="none")
    theirs = librosa.feature.melspectrogram(
        y=mixture, sr=16000, n_fft=256, hop_length=64, n_mels=40, power=1.0, pad_mode="constant"
    )
    np.testing.assert_allclose(codec.encode(mixture[None]).features[0, 0], theirs, atol=1e-4)


def test_mel_inversion_is_as_near_as_librosas(rng):
    codec = MelCodec(n_fft=512, hop_length=128, n_mels=64, sample_rate=16000)
    size = np.abs(rng.standard_normal((257, 20))).astype(np.float32)
    mel = np.asarray(codec._filters) @ size
    theirs = librosa.feature.inverse.mel_to_stft(mel, sr=16000, n_fft=512, power=1.0)
    ours = np.asarray(mel_to_magnitude(codec, jnp.asarray(mel)))
    assert ours.min() >= 0
    errors = [np.linalg.norm(codec._filters @ s - mel) / np.linalg.norm(mel) for s in (ours, theirs)]
    assert errors[0] < max(2 * errors[1], 0.01)


def test_phase_is_a_second_channel_without_a_bad_gradient(sources):
    codec = dataclasses.replace(STFT, phase=True)
    mixture = sources.sum(1).at[:, :1000].set(0.0)
    features = codec.encode(mixture).features
    spectrum = np.asarray(codec.encode(mixture).spectrum)
    loud = np.abs(spectrum) > 1e-3
    np.testing.assert_allclose(features[:, 1][loud], (np.angle(spectrum) / np.pi)[loud], atol=1e-4)
    gradient = jax.grad(lambda x: jnp.sum(codec.encode(x).features))(mixture)
    assert np.isfinite(gradient).all()


def test_round_trips_lose_what_they_must(sources):
    x = sources.sum(1)
    for codec in (STFT, FRAMES, WaveformCodec(), dataclasses.replace(STFT, estimate="features", scale="db")):
        assert float(round_trip_loss(codec, x).snr[0]) > 60
    lossy = dataclasses.replace(MEL, inversion="griffin_lim", iterations=30)
    fine = dataclasses.replace(lossy, n_mels=128)
    coarse, finer = round_trip_loss(lossy, x), round_trip_loss(fine, x)
    assert float(finer.spectral[0]) > float(coarse.spectral[0]) > 0
    assert float(finer.snr[0]) < 60
    assert finer.si_sdr.shape == (1,)
    with pytest.raises(ValueError, match="x.shape"):
        round_trip_loss(STFT, np.zeros((2, 0), np.float32))


def test_silence_stays_silent():
    for name, codec in CODECS.items():
        options = {"sample_rate": 16000} if name == "mel" else {}
        codec = codec(**options)
        encoded = codec.encode(jnp.zeros((1, 5000)))
        y = codec.decode(encoded, codec.perfect_outputs(encoded), 5000).waveforms
        assert np.array_equal(y, np.zeros((1, 1, 5000)))


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (dict(codec=WaveformCodec()), "'lstm_mask' works on frames, codec.name='waveform' gives samples"),
        (dict(network=WaveUNetConfig()), "'wave_unet' works on samples"),
        (dict(codec=FramesCodec()), "activation='relu': its outputs are not negative"),
        (dict(codec=STFTCodec(estimate="mask")), "activation='relu'"),
        (dict(network=FeedForwardConfig()), "activation='linear': its outputs are any"),
        (dict(codec=STFTCodec(estimate="features", scale="db")), "activation='relu'"),
        (dict(codec=MelCodec()), "codec.sample_rate=22050: expected the system's, sample_rate=16000"),
        (dict(network=CNNAutoencoderConfig(frequency_kernel=600)), "frequency_kernel=600"),
        (dict(network=CNNAutoencoderConfig(frames=200)), "overlap_seconds=4"),
    ],
)
def test_what_does_not_fit_is_refused(options, part):
    with pytest.raises(ValueError) as error:
        SystemConfig(**{"overlap_seconds": 4.0, **options})
    assert part in str(error.value)


@pytest.mark.parametrize(
    ("loss", "options", "part"),
    [
        (LossConfig("snr"), dict(codec=STFTCodec(inversion="griffin_lim")), "reads waveforms"),
        (
            LossConfig("mask_mse"),
            dict(codec=STFTCodec(estimate="features"), network=UNetConfig(activation="linear")),
            "reads masks",
        ),
        (
            LossConfig("discriminative"),
            dict(codec=WaveformCodec(), network=WaveUNetConfig()),
            "reads magnitudes, which codec.name='waveform'",
        ),
        (LossConfig("discriminative", gamma=1.0), {}, "gamma=1.0"),
        (LossConfig("si_sdr", floor_db=30.0), {}, "floor_db=30.0 with loss.name='si_sdr'"),
        (LossConfig("snr", floor_db=-30.0), {}, "floor_db=-30.0"),
        (
            LossConfig("mask_mse", target="phase_sensitive"),
            dict(codec=MEL, network=MaskEstimationConfig()),
            "mel bands have no phase",
        ),
    ],
)
def test_a_loss_that_reads_what_is_not_there_is_refused(loss, options, part):
    with pytest.raises(ValueError) as error:
        check_loss(loss, SystemConfig(**options))
    assert part in str(error.value)


def test_a_codec_field_that_is_wrong_is_refused():
    for make, part in [
        (lambda: MelCodec(n_mels=0), "n_mels=0"),
        (lambda: MelCodec(fmin=9000.0, fmax=100.0), "fmin=9000.0"),
        (lambda: MelCodec(sample_rate=0), "sample_rate=0"),
        (lambda: FramesCodec(size=7), "size=7"),
        (lambda: STFTCodec(iterations=-1), "iterations=-1"),
    ]:
        with pytest.raises(ValueError, match=part):
            make()


def fixed_window_system():
    network = CNNAutoencoderConfig(
        frames=30, frequency_filters=3, time_filters=3, time_kernel=5, width=4, activation="softplus"
    )
    return System(SystemConfig(codec=STFT, network=network, overlap_seconds=0.02))


def test_a_fixed_window_is_said_and_kept(rng):
    system = fixed_window_system()
    assert system.window == system.segment == 29 * 64
    assert STFT.frames(system.window) == 30
    variables = system.init(jax.random.key(0))
    with pytest.raises(ValueError, match="takes windows of 30 frames, 1856 samples"):
        system.separate(variables, np.zeros(5000, np.float32))
    x = rng.standard_normal((2, 5000)).astype(np.float32)
    stems = Separator(system, variables)(x, 16000)
    assert all(stem.shape == x.shape for stem in stems.values())
    np.testing.assert_allclose(sum(stems.values()), x, atol=1e-4)


@pytest.mark.parametrize(
    ("codec", "network"),
    [
        (dataclasses.replace(STFT, phase=True), UNetConfig(levels=2, filters=2)),
        (dataclasses.replace(STFT, estimate="mask"), MaskEstimationConfig(layers=(4,))),
        (MEL, LSTMMaskConfig(layers=1, width=4)),
        (dataclasses.replace(MEL, inversion="griffin_lim", iterations=2), UNetConfig(levels=2, filters=2)),
        (FRAMES, FeedForwardConfig(layers=(4,))),
        (FRAMES, LSTMMaskConfig(layers=1, width=4, activation="linear")),
        (WaveformCodec(), WaveUNetConfig(levels=2, filters=2)),
    ],
    ids=lambda c: c.name,
)
def test_every_pair_separates_and_is_exported(rng, codec, network):
    pytest.importorskip("flatbuffers", reason="flatbuffers is not installed")
    from jaxsep.export import export_stream

    config = SystemConfig(
        sources=("a", "b", "c"), residual="c", codec=codec, network=network,
        segment_seconds=0.1, overlap_seconds=0.02,
    )  # fmt: skip
    system = System(config)
    variables = jax.jit(system.init)(jax.random.key(0))
    x = rng.standard_normal((1, 1600)).astype(np.float32)
    stems = jax.jit(partial(system.separate, variables))(x)
    assert stems.shape == (1, 3, 1600)
    assert np.allclose(stems.sum(1), x, atol=1e-3) == system.sums_to_mixture
    separator = Separator(system, variables)
    run = jax.export.deserialize(bytearray(export_stream(separator))).call
    zeros = [jnp.zeros((1, 320)), jnp.zeros((3, 1, 320))]
    *_, out = run(*zeros, x[:, :1280])
    windows = jnp.concatenate([jnp.zeros((1, 320)), x[:, :1280]], axis=1)
    fade = jnp.concatenate([(jnp.arange(320) + 0.5) / 320, jnp.ones(960)])
    expected = system.separate(variables, windows)[0, :, :1280] * fade
    np.testing.assert_allclose(out[:, 0], expected, atol=2e-3)
