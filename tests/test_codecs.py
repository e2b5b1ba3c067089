"""Codecs: waveform to features and back; what fits together, and what is refused."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import librosa
import numpy as np
import pytest

from jaxsep.codecs import (
    CMVN,
    STFT,
    Codec,
    Decibels,
    Direct,
    Frames,
    GriffinLim,
    Inverse,
    Log,
    Magnitude,
    Mask,
    Mel,
    MinMax,
    NoNormalizer,
    RatioMask,
    Waveform,
    round_trip_loss,
)
from jaxsep.codecs.estimates import mixture_level
from jaxsep.codecs.mel import mel_to_magnitude
from jaxsep.losses import PIT, SNR, Discriminative, MagnitudeMSE, MaskMSE, WeightedSum
from jaxsep.networks import CNNAutoencoder, FeedForward, LSTMMask, MaskEstimation, UNet, WaveUNet
from jaxsep.separator import Separator
from jaxsep.system import System, SystemConfig
from jaxsep.training import check_loss

MEL = Codec(Mel(n_fft=256, hop_length=64, n_mels=40, sample_rate=16000))
SPECTRUM = Codec(STFT(n_fft=256, hop_length=64))
WAVEFORM = Codec(Waveform(), head=Direct(), inversion=Inverse())
SCALES = {"magnitude": Magnitude(), "log": Log(), "db": Decibels(floor_db=-100)}
NORMALIZERS = {"none": NoNormalizer(), "min_max": MinMax(), "cmvn": CMVN()}
HEADS = {"ratio": RatioMask(), "mask": Mask()}


def named(value):
    return value.transform.name if isinstance(value, Codec) else getattr(value, "name", None)


FRAMES = Codec(Frames(size=128), head=Direct(), inversion=Inverse())


@pytest.fixture
def sources(rng):
    """Two decaying harmonic tones, (1, 2, 1, 4000)."""
    time = np.arange(4000) / 16000
    tones = [sum(np.sin(2 * np.pi * f * k * time) / k for k in (1, 2, 3)) for f in (220, 990)]
    return jnp.asarray(np.stack(tones)[None, :, None] * np.exp(-4 * time), jnp.float32)


@pytest.mark.parametrize("codec", [SPECTRUM, MEL, FRAMES, WAVEFORM], ids=named)
@pytest.mark.parametrize("samples", [1, 63, 64, 65, 1000])
def test_frames_and_samples_agree_with_the_features(codec, samples):
    features = codec.encode(jnp.ones((1, 1, samples))).features
    frames = features.shape[-1]
    assert frames == codec.frames(samples)
    assert codec.frames(codec.samples(frames)) == frames
    assert codec.samples(frames) <= samples
    if codec.domain == "frames":
        assert features.shape[2] == codec.num_bins


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("normalizer", NORMALIZERS)
@pytest.mark.parametrize("codec", [SPECTRUM, MEL], ids=named)
def test_true_features_decode_to_the_sources(sources, codec, scale, normalizer):
    codec = dataclasses.replace(codec, scale=SCALES[scale], normalizer=NORMALIZERS[normalizer], head=Direct())
    encoded = codec.encode(sources.sum(1))
    truth = codec.reference(encoded, sources / encoded.level[:, None, None, None])
    estimates = codec.decode(encoded, truth.features, 4000)
    scale_of = float(jnp.abs(truth.magnitudes).max())
    np.testing.assert_allclose(estimates.magnitudes, truth.magnitudes, atol=2e-4 * scale_of)
    error = estimates.waveforms - truth.waveforms
    assert float(jnp.sum(error**2) / jnp.sum(truth.waveforms**2)) < 0.05
    if normalizer == "min_max":
        assert float(encoded.features.min()) == pytest.approx(0, abs=1e-6)
        assert float(encoded.features.max()) == pytest.approx(1, abs=1e-6)
    if normalizer == "cmvn":
        np.testing.assert_allclose(encoded.features.mean(-1), 0, atol=1e-4)
        assert float(encoded.features.std(-1).max()) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("codec", [SPECTRUM, MEL], ids=named)
@pytest.mark.parametrize("estimate", HEADS)
def test_masks_and_features_agree(rng, sources, codec, estimate):
    codec = dataclasses.replace(codec, head=HEADS[estimate], normalizer=MinMax(), scale=Log())
    encoded = codec.encode(sources.sum(1))
    shape = (1, 2, 1, *encoded.features.shape[2:])
    outputs = jnp.asarray(rng.uniform(0.1, 1, shape), jnp.float32)
    estimates = codec.decode(encoded, outputs, 4000)
    np.testing.assert_allclose(estimates.magnitudes, estimates.masks * encoded.magnitude[:, None], rtol=1e-6)
    again = dataclasses.replace(codec, head=Direct()).decode(encoded, estimates.features, 4000)
    np.testing.assert_allclose(again.magnitudes, estimates.magnitudes, atol=1e-4)
    total = estimates.waveforms.sum(1) * encoded.level
    agrees = np.allclose(total, sources.sum(1), atol=1e-4)
    assert agrees == codec.sums_to_mixture == (estimate == "ratio")


def test_mel_features_equal_librosa(sources):
    mixture = np.asarray(sources.sum(1)[0, 0])
    codec = dataclasses.replace(MEL, level="none")
    theirs = librosa.feature.melspectrogram(
        y=mixture, sr=16000, n_fft=256, hop_length=64, n_mels=40, power=1.0, pad_mode="constant"
    )
    np.testing.assert_allclose(codec.encode(mixture[None, None]).features[0, 0], theirs, atol=1e-4)


def test_mel_inversion_is_as_near_as_librosas(rng):
    transform = Mel(n_fft=512, hop_length=128, n_mels=64, sample_rate=16000)
    size = np.abs(rng.standard_normal((257, 20))).astype(np.float32)
    mel = np.asarray(transform.filters) @ size
    theirs = librosa.feature.inverse.mel_to_stft(mel, sr=16000, n_fft=512, power=1.0)
    ours = np.asarray(mel_to_magnitude(transform, jnp.asarray(mel)))
    assert ours.min() >= 0
    errors = [np.linalg.norm(transform.filters @ s - mel) / np.linalg.norm(mel) for s in (ours, theirs)]
    assert errors[0] < max(2 * errors[1], 0.01)


def test_phase_is_a_second_channel_without_a_bad_gradient(sources):
    codec = dataclasses.replace(SPECTRUM, phase=True)
    mixture = sources.sum(1).at[..., :1000].set(0.0)
    features = codec.encode(mixture).features
    spectrum = np.asarray(codec.encode(mixture).spectrum)[:, 0]
    loud = np.abs(spectrum) > 1e-3
    np.testing.assert_allclose(features[:, 1][loud], (np.angle(spectrum) / np.pi)[loud], atol=1e-4)
    gradient = jax.grad(lambda x: jnp.sum(codec.encode(x).features))(mixture)
    assert np.isfinite(gradient).all()


def test_round_trips_lose_what_they_must(sources):
    x = sources.sum((1, 2))
    for codec in (
        SPECTRUM,
        FRAMES,
        WAVEFORM,
        dataclasses.replace(SPECTRUM, head=Direct(), scale=Decibels(floor_db=-100)),
    ):
        assert float(round_trip_loss(codec, x).snr[0]) > 60
    lossy = dataclasses.replace(MEL, inversion=GriffinLim(iterations=30))
    fine = dataclasses.replace(lossy, transform=dataclasses.replace(lossy.transform, n_mels=128))
    coarse, finer = round_trip_loss(lossy, x), round_trip_loss(fine, x)
    assert float(finer.spectral[0]) > float(coarse.spectral[0]) > 0
    assert float(finer.snr[0]) < 60
    assert finer.si_sdr.shape == (1,)
    low = dataclasses.replace(SPECTRUM, transform=STFT(n_fft=256, hop_length=64, bins=40, above="residual"))
    assert float(round_trip_loss(low, x).snr[0]) > 100
    with pytest.raises(ValueError, match="x.shape"):
        round_trip_loss(SPECTRUM, np.zeros((2, 0), np.float32))


def test_silence_stays_silent():
    for codec in (SPECTRUM, MEL, FRAMES, WAVEFORM, dataclasses.replace(MEL, inversion=GriffinLim())):
        encoded = codec.encode(jnp.zeros((1, 1, 5000)))
        y = codec.decode(encoded, codec.perfect_outputs(encoded), 5000).waveforms
        assert np.array_equal(y, np.zeros((1, 1, 1, 5000)))


@pytest.mark.parametrize("above", ["average", "zeros", "residual"])
@pytest.mark.parametrize("exponent", [1.0, 2.0])
def test_what_lies_above_the_bins_goes_where_the_config_says(rng, above, exponent):
    """Two channels heard together, the lower 40 of 129 bins."""
    transform = STFT(n_fft=256, hop_length=64, bins=40, above=above)
    codec = Codec(transform, head=RatioMask(exponent=exponent))
    mixture = jnp.asarray(rng.standard_normal((1, 2, 3000)), jnp.float32)
    encoded = codec.encode(mixture)
    assert encoded.features.shape == (1, 2, 40, 47)
    outputs = jnp.asarray(rng.uniform(0.1, 1, (1, 3, 2, 40, 47)), jnp.float32)
    estimates = codec.decode(encoded, outputs, 3000, residual=2)
    expected = outputs**exponent / jnp.sum(outputs**exponent, axis=1, keepdims=True)
    np.testing.assert_allclose(estimates.masks, expected, rtol=1e-5)
    spectra = transform.masked(encoded.spectrum, estimates.masks, 2)
    np.testing.assert_array_equal(spectra, transform.masked(encoded.spectrum, estimates.masks, -1))
    shares = np.asarray(spectra[..., 40:, :] / encoded.spectrum[:, None, :, 40:]).real
    mean = np.asarray(expected.mean(axis=-2, keepdims=True))
    wanted = {"average": mean, "zeros": 0 * mean, "residual": np.eye(3)[2].reshape(1, 3, 1, 1, 1)}[above]
    np.testing.assert_allclose(shares, np.broadcast_to(wanted, shares.shape), atol=1e-4)
    others = codec.others(encoded, estimates.masks, 3000, residual=2)
    np.testing.assert_allclose(others, estimates.waveforms[:, :2], atol=1e-6)
    total = estimates.waveforms.sum(1) * encoded.level
    assert np.allclose(total, mixture, atol=1e-4) == codec.sums_to_mixture == (above != "zeros")


@pytest.mark.parametrize("residual", ["low", "middle", "high"])
@pytest.mark.parametrize("channels", [1, 2])
def test_stems_are_the_estimates_waveforms(rng, residual, channels):
    """Though the residual's is what the others leave of the mixture."""
    codec = Codec(STFT(n_fft=256, hop_length=64, bins=40, above="residual"))
    config = SystemConfig(
        sources=("low", "middle", "high"),
        residual=residual,
        channels=channels,
        codec=codec,
        network=UNet(levels=1, filters=2, dropout=0.0),
    )
    system = System(config)
    variables = system.init(jax.random.key(0))
    mixture = jnp.asarray(rng.standard_normal((2, channels, 3000)), jnp.float32)
    estimates, encoded, _ = system.forward(variables, mixture)
    expected = estimates.waveforms * encoded.level[:, None, None, None]
    np.testing.assert_allclose(system.separate_channels(variables, mixture), expected, atol=1e-5)


@dataclasses.dataclass(frozen=True)
class Together:
    """An inversion that looks at all sources, and does not say that each is of its own mask."""

    name = "together"
    exact = True

    def __call__(self, transform, encoded, masks, magnitudes, length, residual, direct):
        stems = transform.synthesize(transform.masked(encoded.spectrum, masks, residual % 2), length)
        return stems + stems[:, :1] - stems[:, 1:]


def test_an_inversion_of_ones_own_is_given_every_source(rng):
    codec = Codec(STFT(n_fft=256, hop_length=64), inversion=Together())
    assert not codec.apart and codec.sums_to_mixture and Codec().apart
    system = System(SystemConfig(codec=codec, network=LSTMMask(layers=1, width=4)))
    variables = system.init(jax.random.key(0))
    mixture = jnp.asarray(rng.standard_normal((1, 1, 3000)), jnp.float32)
    estimates, encoded, _ = system.forward(variables, mixture)
    expected = estimates.waveforms * encoded.level[:, None, None, None]
    np.testing.assert_array_equal(system.separate_channels(variables, mixture), expected)


def test_estimates_above_the_mixture_are_its_shares(sources):
    """Direct estimates three times too loud: left, cut to shares there, or taken as shares everywhere."""
    direct = dataclasses.replace(SPECTRUM, head=Direct(), scale=Log())
    encoded = direct.encode(sources.sum(1))
    truth = direct.reference(encoded, sources / encoded.level[:, None, None, None])
    loud = direct.scale(3 * truth.magnitudes)
    size = np.asarray(encoded.magnitude[:, None])
    for limit in ("none", "exceeding", "shares"):
        codec = dataclasses.replace(direct, head=Direct(limit=limit))
        total = np.asarray(codec.decode(encoded, loud, 4000).magnitudes).sum(1, keepdims=True)
        assert np.all(total <= size * 1.001 + 1e-6) == (limit != "none")
        if codec.head.shares:
            np.testing.assert_allclose(total, size, atol=1e-5)
        quiet = np.asarray(0.1 * truth.magnitudes)
        found = np.asarray(codec.decode(encoded, direct.scale(quiet), 4000).magnitudes)
        below = np.broadcast_to(quiet.sum(1, keepdims=True) < size, quiet.shape)
        assert np.allclose(found[below], quiet[below], atol=1e-4) == (limit != "shares")
    assert not dataclasses.replace(direct, head=Direct(limit="exceeding")).sums_to_mixture


def test_two_channels_are_heard_together(rng):
    """A stereo system: one mask a channel, stems that sum to the song; a mono file is heard on both."""
    network = LSTMMask(layers=1, width=8)
    system = System(
        SystemConfig(channels=2, codec=SPECTRUM, network=network, segment_seconds=0.1, overlap_seconds=0.02)
    )
    variables = system.init(jax.random.key(0))
    song = rng.standard_normal((2, 5000)).astype(np.float32)
    separator = Separator(system, variables)
    stems = separator(song, 16000)
    np.testing.assert_allclose(sum(stems.values()), song, atol=1e-4)
    swapped = separator(song[::-1], 16000)["vocals"][::-1]
    assert not np.allclose(swapped, stems["vocals"], atol=1e-3)  # unlike one channel at a time
    mono = separator(song[0], 16000)
    both = separator(np.stack([song[0]] * 2), 16000)
    np.testing.assert_allclose(mono["vocals"], both["vocals"].mean(axis=0), atol=1e-5)
    whole = system.separate(variables, song[:, :1600])
    assert whole.shape == (2, 2, 1600)
    with pytest.raises(ValueError, match="channels=3: the model model hears two together"):
        separator(np.zeros((3, 5000), np.float32), 16000)
    with pytest.raises(ValueError, match=r"expected \(\.\.\., 2, samples\)"):
        system.separate(variables, np.zeros((3, 5000), np.float32))


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (
            dict(codec=WAVEFORM),
            "'lstm_mask' works on frames, codec.transform.name='waveform' gives samples",
        ),
        (dict(network=WaveUNet()), "'wave_unet' works on samples"),
        (
            dict(codec=Codec(Frames(), head=Direct(), inversion=Inverse())),
            "'lstm_mask': its outputs are not negative",
        ),
        (dict(codec=Codec(head=Mask())), "'lstm_mask': its outputs are not negative"),
        (dict(network=FeedForward()), "'feed_forward': its outputs are any"),
        (dict(codec=Codec(head=Direct(), scale=Decibels())), "needs ['any']"),
        (
            dict(codec=Codec(Mel(), inversion=GriffinLim())),
            "codec.transform.sample_rate=22050: expected the system's, sample_rate=16000",
        ),
        (dict(network=CNNAutoencoder(frequency_kernel=600)), "frequency_kernel=600"),
        (dict(network=CNNAutoencoder(frames=200)), "overlap_seconds=4"),
    ],
)
def test_what_does_not_fit_is_refused(options, part):
    with pytest.raises(ValueError) as error:
        SystemConfig(**{"overlap_seconds": 4.0, **options})
    assert part in str(error.value)


@pytest.mark.parametrize(
    ("loss", "options", "part"),
    [
        (SNR(), dict(codec=Codec(inversion=GriffinLim())), "reads waveforms"),
        (
            MaskMSE(),
            dict(codec=Codec(head=Direct()), network=UNet(activation="linear")),
            "reads masks",
        ),
        (
            Discriminative(),
            dict(codec=WAVEFORM, network=WaveUNet()),
            "reads magnitudes, which the codec",
        ),
        (Discriminative(gamma=1.0), {}, "gamma=1.0"),
        (
            PIT(WeightedSum((SNR(), MagnitudeMSE()))),
            dict(codec=Codec(inversion=GriffinLim())),
            "reads waveforms",
        ),
        (WeightedSum((SNR(), Discriminative(gamma=1.0))), {}, "gamma=1.0"),
        (PIT(SNR()), dict(codec=Codec(inversion=GriffinLim())), "reads waveforms"),
        (
            MaskMSE(target="phase_sensitive"),
            dict(codec=MEL, network=MaskEstimation()),
            "have no phase",
        ),
    ],
)
def test_a_loss_that_reads_what_is_not_there_is_refused(loss, options, part):
    with pytest.raises(ValueError) as error:
        check_loss(loss, SystemConfig(**options))
    assert part in str(error.value)


def test_a_codec_field_that_is_wrong_is_refused():
    for make, part in [
        (lambda: Codec(Mel(n_mels=0), inversion=GriffinLim()), "n_mels=0"),
        (lambda: Codec(Mel(fmin=9000.0, fmax=100.0), inversion=GriffinLim()), "fmin=9000.0"),
        (lambda: Codec(Mel(sample_rate=0), inversion=GriffinLim()), "sample_rate=0"),
        (lambda: Codec(Frames(size=7), head=Direct(), inversion=Inverse()), "size=7"),
        (lambda: GriffinLim(iterations=-1), "iterations=-1"),
        (lambda: STFT(n_fft=256, hop_length=64, bins=400), "bins=400"),
        (lambda: SNR(floor_db=-30.0), "floor_db=-30.0"),
        (lambda: Codec(Waveform()), "inversion.name"),
        (lambda: Codec(Mel(), phase=True), "phase=True"),
    ]:
        with pytest.raises(ValueError, match=part):
            make()


@dataclasses.dataclass(frozen=True)
class Halved:
    """An inversion of one's own, for transforms without magnitudes."""

    name = "halved"
    exact = False
    spectral = False

    def __call__(self, transform, encoded, masks, outputs, length, residual, direct):
        return 0.5 * transform.synthesize(outputs, length)


def test_an_inversion_says_what_transforms_it_is_for(rng):
    codec = Codec(Waveform(), head=Direct(), inversion=Halved())
    mixture = jnp.asarray(rng.standard_normal((1, 1, 100)), jnp.float32)
    encoded = codec.encode(mixture)
    stems = codec.decode(encoded, codec.perfect_outputs(encoded), 100).waveforms
    np.testing.assert_allclose(stems[:, 0] * encoded.level, 0.5 * mixture, rtol=1e-6)
    with pytest.raises(ValueError, match="does not go with transform.name='stft'"):
        Codec(SPECTRUM.transform, inversion=Halved())


def fixed_window_system():
    network = CNNAutoencoder(
        frames=30, frequency_filters=3, time_filters=3, time_kernel=5, width=4, activation="softplus"
    )
    return System(SystemConfig(codec=SPECTRUM, network=network, overlap_seconds=0.02))


def test_a_fixed_window_is_said_and_kept(rng):
    system = fixed_window_system()
    assert system.window == system.segment == 29 * 64
    assert SPECTRUM.frames(system.window) == 30
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
        (dataclasses.replace(SPECTRUM, phase=True), UNet(levels=2, filters=2)),
        (dataclasses.replace(SPECTRUM, head=Mask()), MaskEstimation(layers=(4,))),
        (MEL, LSTMMask(layers=1, width=4)),
        (dataclasses.replace(MEL, inversion=GriffinLim(iterations=2)), UNet(levels=2, filters=2)),
        (FRAMES, FeedForward(layers=(4,))),
        (FRAMES, LSTMMask(layers=1, width=4, activation="linear")),
        (WAVEFORM, WaveUNet(levels=2, filters=2)),
    ],
    ids=named,
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


def test_the_level_of_any_loudness_is_its_root_mean_square(rng):
    x = jnp.asarray(rng.standard_normal((2, 1, 500)), jnp.float32)
    expected = np.sqrt(np.mean(np.square(x, dtype=np.float64), axis=(1, 2)))
    for level in (1e-30, 1.0, 1e25):
        np.testing.assert_allclose(mixture_level("rms", level * x), level * expected, rtol=1e-5)
    np.testing.assert_array_equal(mixture_level("rms", 0 * x), 1.0)
    assert np.isfinite(jax.grad(lambda x: mixture_level("rms", x).sum())(0 * x)).all()
