"""Models of windows while sound comes: the ends of windows that end every so often, cross-faded."""

import warnings

import jax
import numpy as np
import pytest
from test_live import piped, streamed

from benchmarks.experiments.models import open_model
from jaxsep.cli import main
from jaxsep.codecs import STFT, Codec, Log
from jaxsep.commands.live import _warn_of_lagging, block_samples
from jaxsep.errors import AudioWarning, UserError
from jaxsep.live_windows import LiveWindows
from jaxsep.networks import UNet
from jaxsep.separator import Separator
from jaxsep.system import System, SystemConfig

RATE = 8000
CODEC = Codec(STFT(n_fft=128, hop_length=32), scale=Log())
NETWORK = UNet(levels=2, filters=4)


@pytest.fixture(scope="module", params=[1, 2], ids=["mono", "stereo"])
def live(request):
    """Windows of 0.2 s that end every 50 ms, of which 30 ms are not kept."""
    times = dict(sample_rate=RATE, segment_seconds=0.2, overlap_seconds=0.05)
    system = System(SystemConfig(codec=CODEC, network=NETWORK, channels=request.param, **times))
    return LiveWindows(system, system.init(jax.random.key(0)), every=0.05, ahead=0.03)


def by_hand(live, x):
    """Every window by itself, its end faded in and out and added where it belongs."""
    hop, ahead, fade, segment = 400, 240, 80, 1600
    behind = np.pad(x, ((0, 0), (0, 3 * segment)), mode="symmetric")[:, x.shape[1] :]
    first = np.concatenate([x, behind], axis=1)[:, :hop]
    before = np.pad(first, ((0, 0), (segment, 0)), mode="symmetric")[:, :segment]
    padded = np.concatenate([before, x, behind], axis=1)
    out = np.zeros((2, len(x), segment + padded.shape[1]))
    rise = (np.arange(fade) + 0.5) / fade
    weight = np.concatenate([rise, np.ones(hop - fade), rise[::-1]])
    separate = jax.jit(live.system.separate_channels)
    for end in range(segment + hop, segment + x.shape[1] + hop + fade + ahead, hop):
        stems = np.asarray(separate(live.variables, padded[:, end - segment : end]))
        out[..., end - ahead - hop - fade : end - ahead] += stems[..., -ahead - hop - fade : -ahead] * weight
    return out[..., segment : segment + x.shape[1]]


def test_stems_are_the_ends_of_windows_whatever_the_blocks(rng, live):
    for samples in (1000, 2977):
        x = rng.standard_normal((2, samples)).astype(np.float32)
        expected = by_hand(live, x)
        for sizes in ([samples], [7, 900, 33]):
            found, _ = streamed(live, x, sizes, frames=2)
            assert found.shape == expected.shape
            np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize("samples", [1, 399, 400, 401])
def test_short_streams_are_as_long_as_they_were(rng, live, samples):
    x = rng.standard_normal((2, samples)).astype(np.float32)
    found, _ = streamed(live, x, [100])
    assert found.shape == (2, 2, samples)
    np.testing.assert_allclose(found, by_hand(live, x), atol=2e-5)


def test_stems_lag_by_what_is_said_and_hear_no_further(rng, live):
    x = rng.standard_normal((2, 4000)).astype(np.float32)
    assert live.delay == 400 + 80 + 240
    found, out = streamed(live, x, [live.hop], frames=1)
    given = np.cumsum([piece.shape[-1] for piece in out])
    heard = live.hop * np.arange(1, len(given) + 1)
    assert (heard - given).max() == live.delay - live.hop  # and a hop to fill the block
    other = x.copy()
    other[:, 2400:] = 0
    changed, _ = streamed(live, other, [live.hop])
    done = 2400 - live.delay + live.hop
    np.testing.assert_array_equal(found[..., :done], changed[..., :done])
    assert np.abs(found - changed)[..., done : done + live.hop].max() > 1e-3


def test_times_must_fit_a_window(live):
    system, variables = live.system, live.variables
    for every, ahead in (
        (0.0, 0.0),
        (float("nan"), 0.0),
        (0.05, float("inf")),
        (0.05, -0.1),
        (0.1, 0.1),
        (0.17, 0.0),
    ):
        with pytest.raises(ValueError, match=f"every={every}, ahead={ahead}: .* within a window of 0.2 s"):
            LiveWindows(system, variables, every, ahead)
    exact, rate = 104.55 / system.config.sample_rate, system.config.sample_rate  # each is rounded up
    with pytest.raises(ValueError, match="within a window"):
        LiveWindows(system, variables, exact, (system.segment - 1.2 * 104.55 - 1e-6) / rate)
    carry = live.start(np.zeros((2, 0)))
    with pytest.raises(ValueError, match="chunk.shape"):
        live.step(carry, np.zeros((2, live.hop + 1), np.float32))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    times = dict(sample_rate=RATE, segment_seconds=0.2, overlap_seconds=0.05)
    config = SystemConfig(codec=CODEC, network=NETWORK, speeds=(0.8, 1.25), **times)
    system = System(config)
    separator = Separator(system, system.init(jax.random.key(0)), name="small")
    return separator.save_pretrained(tmp_path_factory.mktemp("models") / "small")


def test_a_separator_takes_the_step_and_hears_at_one_speed(rng, model, tmp_path):
    x = rng.standard_normal(3000).astype(np.float32)
    separator = open_model(f"{model}@0.05+0.03")
    assert separator.live.system.config.speeds == () and separator.live.delay == 720
    stems = separator(x, RATE)
    np.testing.assert_allclose(sum(stems.values()), x, atol=1e-5)
    expected, _ = streamed(separator.live, x[None], [3000])
    np.testing.assert_allclose(stems["vocals"], expected[0, 0], atol=1e-5)
    heard = open_model(f"{model}@0.05+0.03+speeds")
    assert heard.live.system.config.speeds == (0.8, 1.25) and heard.live.delay == 720
    assert np.abs(heard(x, RATE)["vocals"] - stems["vocals"]).max() > 1e-3
    files = Separator.from_pretrained(model)
    assert files.live is None and np.abs(files(x, RATE)["vocals"] - stems["vocals"]).max() > 1e-3
    with pytest.raises(UserError, match="@0.3: every=0.3"):
        open_model(f"{model}@0.3")
    with pytest.raises(UserError, match="frame by frame"):
        open_model("speech_live@0.25")
    separator.wiener = 1
    with pytest.raises(ValueError, match="wiener=1"):
        separator(x, RATE)


def waits(separator, x, rate, size):
    """Seconds that the oldest sample has waited, at most, in blocks of so many samples."""
    read, given, longest = 0, 0, 0

    def blocks():
        nonlocal read, longest
        for start in range(0, x.shape[1], size):
            read += size
            longest = max(longest, read - given)
            yield x[:, start : start + size]

    for block in separator.stream(blocks(), rate, 1):
        given += block.mixture.shape[1]
    assert given == x.shape[1]
    return longest / rate


def test_what_is_heard_at_another_rate_comes_no_hop_later(rng, model):
    """A resampler keeps samples back, so blocks of a hop complete one only with the next."""
    separator = open_model(f"{model}@0.05+0.03")
    size = block_samples(separator.live.hop, RATE, 2 * RATE)
    assert size == 160 and block_samples(400, RATE, RATE) == 400
    x = rng.standard_normal((1, 16000)).astype(np.float32)
    assert waits(separator, x, RATE, 400) == separator.live.delay / RATE
    assert waits(separator, x, 2 * RATE, size) < waits(separator, x, 2 * RATE, 800) - 0.01


def test_a_mono_stream_into_a_stereo_model(rng, live):
    if live.system.config.channels == 1:
        pytest.skip("of the stereo system")
    separator = Separator(live.system, live.variables)
    separator.live = live
    x = rng.standard_normal((1, 1500)).astype(np.float32)
    stems = separator(x, RATE)
    both, _ = streamed(live, np.repeat(x, 2, axis=0), [1500])
    np.testing.assert_allclose(stems["vocals"], both[0].mean(axis=0, keepdims=True), atol=1e-5)


def test_output_that_will_fall_behind_is_told():
    with pytest.warns(AudioWarning, match="250 ms of sound take 300 ms here"):
        _warn_of_lagging(0.25, 0.3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _warn_of_lagging(0.25, 0.2)


def test_raw_samples_through_a_pipe(rng, model):
    x = np.round(rng.uniform(-0.5, 0.5, (1, 3001)) * 2**15).astype("<i2")
    options = ["-m", str(model), "--stem", "vocals", "--every", "0.05", "--segment", "0.15"]
    found = piped(options, x.T.tobytes())
    assert found.returncode == 0, found.stderr
    assert b"8000 Hz, s16, 1 in, 1 out; 60 ms behind" in found.stderr
    separator = Separator.from_pretrained(model, segment=0.15)
    separator.live = LiveWindows(separator.system, separator.variables, every=0.05)
    expected = separator(x / np.float32(2**15), RATE)["vocals"]
    np.testing.assert_allclose(np.frombuffer(found.stdout, "<i2") / 2**15, expected[0], atol=1e-4)


def test_what_does_not_fit_is_said(model, capsys):
    assert main(["live", "-m", str(model), "--stem", "vocals", "--every", "0.19"]) == 2
    assert "--every, --ahead, --segment: every=0.19" in capsys.readouterr().err
    for option in (["--every", "0.1"], ["--ahead", "0.1"], ["--speeds"]):
        assert main(["live", "--stem", "speech", *option]) == 2
        assert "speech_live goes on frame by frame" in capsys.readouterr().err
