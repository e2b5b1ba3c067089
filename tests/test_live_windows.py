"""Models of windows while sound comes: the ends of windows that end every so often, cross-faded."""

import jax
import numpy as np
import pytest
from test_live import piped, streamed

from benchmarks.experiments.models import open_model
from jaxsep.cli import main
from jaxsep.codecs import STFT, Codec, Log
from jaxsep.errors import UserError
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
    before = np.pad(x[:, :hop], ((0, 0), (segment, 0)), mode="symmetric")[:, :segment]
    behind = np.pad(x, ((0, 0), (0, 3 * segment)), mode="symmetric")[:, x.shape[1] :]
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
    assert found.shape == (2, 2, samples) and np.isfinite(found).all()
    np.testing.assert_allclose(found.sum(axis=0), x, atol=1e-4)


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
    for every, ahead in ((0.0, 0.0), (0.05, -0.1), (0.1, 0.1), (0.17, 0.0)):
        with pytest.raises(ValueError, match=f"every={every}, ahead={ahead}: .* within a window of 0.2 s"):
            LiveWindows(system, variables, every, ahead)
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
    files = Separator.from_pretrained(model)
    assert files.live is None and np.abs(files(x, RATE)["vocals"] - stems["vocals"]).max() > 1e-3
    for wrong in ("@0.3", "@soon", "@0.05+late"):
        with pytest.raises(UserError, match="expected MODEL@EVERY"):
            open_model(f"{model}{wrong}")


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
    assert "--every, --ahead: every=0.19" in capsys.readouterr().err
    for option in ("--every", "--ahead"):
        assert main(["live", "--stem", "speech", option, "0.1"]) == 2
        assert "speech_live goes on frame by frame" in capsys.readouterr().err
