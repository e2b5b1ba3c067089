"""Causal systems frame by frame: the stems of the whole waveform, whatever the blocks."""

import dataclasses
import io
import os
import subprocess
import sys
import zipfile
from functools import partial
from pathlib import Path

import flax.linen as nn
import jax
import numpy as np
import pytest
from test_train_step import in_time

from jaxsep.cli import main
from jaxsep.codecs import STFT, Codec, Direct, GriffinLim, Log, Mel, MinMax
from jaxsep.commands.live import read_pcm, write_pcm
from jaxsep.errors import UserError
from jaxsep.export import export_model, export_stream
from jaxsep.live import Live, LiveStream, live_step, why_not_live
from jaxsep.networks import (
    DPCRN,
    Complement,
    FeedForward,
    GRUMask,
    LSTMMask,
    OpenUnmix,
    PerSource,
    Remainder,
    RNNMask,
    UNet,
)
from jaxsep.networks.network import LinenNetwork
from jaxsep.parts import register
from jaxsep.separator import Separator
from jaxsep.system import System, SystemConfig

ROOT = Path(__file__).parents[1]
CODEC = Codec(STFT(n_fft=128, hop_length=32), scale=Log(), level="none")
LSTM = LSTMMask(layers=2, width=8, input_norm=True)
OPEN = OpenUnmix(layers=2, width=8, bidirectional=False)
BANDS = Mel(n_fft=128, hop_length=32, sample_rate=16000, n_mels=20)
PLAIN = dataclasses.replace(CODEC, scale=type(Codec().scale)())


@register("network", "forgetful")
@dataclasses.dataclass(frozen=True)
class Forgetful(LinenNetwork):
    """Causal, with a memory that it cannot hand on."""

    causal = True
    activation = "sigmoid"

    def module(self, num_sources, num_bins):
        return nn.Dense(num_bins)


SYSTEMS = {
    "lstm_mask": (LSTM, CODEC),
    "gru_mask": (GRUMask(layers=2, width=8), CODEC),
    "rnn_mask": (RNNMask(layers=1, width=8), CODEC),
    "dpcrn": (DPCRN(levels=3, filters=3, width=8, input_norm=True), CODEC),
    "feed_forward": (FeedForward(layers=(8,), context=0, activation="sigmoid"), CODEC),
    "per_source": (PerSource(LSTM), CODEC),
    "complement": (Complement(dataclasses.replace(LSTM, activation="sigmoid")), CODEC),
    "openunmix": (OPEN, dataclasses.replace(PLAIN, head=Direct())),
    "remainder": (Remainder(PerSource(OPEN)), dataclasses.replace(PLAIN, head=Direct())),
    "hops that do not divide": (LSTM, dataclasses.replace(CODEC, transform=STFT(n_fft=120, hop_length=50))),
    "hops of half": (LSTM, dataclasses.replace(CODEC, transform=STFT(n_fft=128, hop_length=64))),
    "lower bins": (LSTM, dataclasses.replace(CODEC, transform=STFT(n_fft=128, hop_length=32, bins=40))),
    "mel bands": (LSTM, dataclasses.replace(CODEC, transform=BANDS)),
    "phase": (LSTM, dataclasses.replace(CODEC, phase=True)),
}


OFTEN = ("lstm_mask", "gru_mask", "dpcrn", "mel bands", "hops that do not divide")


def system_of(name, channels=1):
    network, codec = SYSTEMS[name]
    times = dict(segment_seconds=0.1, overlap_seconds=0.015)
    return System(SystemConfig(codec=codec, network=network, channels=channels, **times))


def streamed(live, x, sizes, frames=4, soon=True):
    """The stems of blocks of these lengths, the last as often as there is input."""
    stream, out, start = LiveStream(live, len(x), frames, soon=soon), [], 0
    sizes = list(sizes)
    while start < x.shape[1]:
        size = sizes.pop(0) if len(sizes) > 1 else sizes[0]
        out.append(stream.push(x[:, start : start + size]))
        start += size
    return np.concatenate([*out, stream.finish()], axis=-1), out


@pytest.mark.parametrize("name", in_time(SYSTEMS, OFTEN))
def test_stems_are_those_of_the_whole(rng, name):
    system = system_of(name)
    variables = system.init(jax.random.key(0))
    live = Live(system, variables)
    whole = jax.jit(partial(system.separate_channels, variables))
    for samples in (1, 31, 64, 129, 1000):
        x = rng.standard_normal((2, samples)).astype(np.float32)
        expected = whole(x)
        for sizes in ([1000], [7, 200, 33], [32]):
            found, _ = streamed(live, x, sizes)
            assert found.shape == expected.shape
            np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize("name", in_time(("lstm_mask", "openunmix"), ("lstm_mask",)))
def test_two_channels_heard_together(rng, name):
    system = system_of(name, channels=2)
    variables = system.init(jax.random.key(0))
    x = rng.standard_normal((2, 777)).astype(np.float32)
    found, _ = streamed(Live(system, variables), x, [100])
    np.testing.assert_allclose(found, jax.jit(system.separate_channels)(variables, x), atol=2e-5)


def test_stems_lag_by_no_more_than_is_said(rng):
    """Of blocks of a hop, those of every sample are out ``delay`` samples behind it."""
    system = system_of("lstm_mask")
    live = Live(system, system.init(jax.random.key(0)))
    _, out = streamed(live, rng.standard_normal((1, 1984)).astype(np.float32), [live.hop], frames=1)
    given = np.cumsum([piece.shape[-1] for piece in out])
    heard = live.hop * np.arange(1, len(given) + 1)
    lag = (heard - given)[given > 0]
    assert lag.max() <= live.delay - live.hop  # and a hop to fill the block


def test_what_need_not_come_soon_is_heard_in_steps_of_one_size(rng):
    """Of a file: one program, and the same stems."""
    system, sizes = system_of("lstm_mask"), set()

    class Counted(Live):
        def step(self, carry, chunk, keep=None):
            sizes.add(chunk.shape[1] // self.hop)
            return super().step(carry, chunk, keep)

    live = Counted(system, system.init(jax.random.key(0)))
    for samples in (1, 31, 64, 127, 128, 129, 1000):
        x = rng.standard_normal((2, samples)).astype(np.float32)
        for blocks in ([1000], [7, 200, 33], [32]):
            found, _ = streamed(live, x, blocks, soon=False)
            np.testing.assert_allclose(found, streamed(live, x, blocks)[0], atol=2e-5)
            sizes.clear()
            streamed(live, x, blocks, soon=False)
            assert sizes == {4}


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="the options are a CPU's")
def test_steps_are_compiled_with_the_options_of_the_network(rng, monkeypatch):
    monkeypatch.setattr("jaxsep.live.compiler_options", lambda network: {"xla_cpu_no_such_option": "1"})
    system = system_of("lstm_mask")
    live = Live(system, system.init(jax.random.key(0)))
    with pytest.raises(jax.errors.JaxRuntimeError, match="no_such_option"):
        streamed(live, rng.standard_normal((1, 1000)).astype(np.float32), [100])


def test_what_comes_later_changes_nothing(rng):
    system = system_of("lstm_mask")
    live = Live(system, system.init(jax.random.key(0)))
    x = rng.standard_normal((1, 1000)).astype(np.float32)
    other = x.copy()
    other[:, 600:] = 0
    found, changed = (streamed(live, y, [50])[0] for y in (x, other))
    np.testing.assert_array_equal(found[..., : 600 - live.n_fft], changed[..., : 600 - live.n_fft])
    assert np.abs(found - changed).max() > 1e-3


def test_systems_that_need_what_comes_later_say_why():
    for network, codec, reason in (
        (dataclasses.replace(LSTM, bidirectional=True), CODEC, "network.name='lstm_mask'.*later frames"),
        (DPCRN(levels=2, bidirectional=True), CODEC, "network.name='dpcrn'.*later frames"),
        (UNet(levels=2, filters=4), CODEC, "network.name='unet'.*later frames"),
        (LSTM, dataclasses.replace(CODEC, level="peak"), "codec.level='peak'"),
        (LSTM, dataclasses.replace(CODEC, normalizer=MinMax()), "codec.normalizer.name='min_max'"),
        (LSTM, dataclasses.replace(CODEC, inversion=GriffinLim()), "'stft' or 'mel' with 'mixture_phase'"),
        (Forgetful(), CODEC, "network.name='forgetful': has no start and advance"),
        (PerSource(Forgetful()), CODEC, "network.name='per_source': has no start and advance"),
    ):
        times = dict(segment_seconds=0.1, overlap_seconds=0.015)
        system = System(SystemConfig(codec=codec, network=network, **times))
        assert why_not_live(system.config)
        with pytest.raises(ValueError, match=reason):
            Live(system, {})


def test_a_step_takes_whole_hops(rng):
    system = system_of("lstm_mask")
    live = Live(system, system.init(jax.random.key(0)))
    with pytest.raises(ValueError, match="first.shape"):
        live.start(np.zeros((1, live.lead + 1)))
    carry = live.start(np.zeros((1, live.lead)))
    with pytest.raises(ValueError, match="chunk.shape"):
        live_step(system, live.variables, carry, np.zeros((1, live.hop + 1), np.float32))


def test_a_separator_streams_and_exports_them_the_same(rng, tmp_path):
    """One carry through the whole, not windows of which each forgets what was before."""
    pytest.importorskip("flatbuffers", reason="flatbuffers is not installed")
    system = system_of("lstm_mask")
    system = System(dataclasses.replace(system.config, sample_rate=8000, segment_seconds=0.5))
    separator = Separator(system, system.init(jax.random.key(0)))
    x = rng.standard_normal((2, 20000)).astype(np.float32)
    whole = np.asarray(system.separate_channels(separator.variables, x))
    stems = separator(x, 8000)
    blocks = list(separator.stream([x[:, :333], x[:, 333:]], 8000, 2))
    for k, name in enumerate(separator.sources):
        np.testing.assert_allclose(stems[name], whole[k], atol=1e-4)
        streamed = np.concatenate([block.stems[name] for block in blocks], axis=1)
        np.testing.assert_allclose(streamed, stems[name], atol=1e-5)
    model = export_model(separator, tmp_path / "live.jaxsep", platforms=("cpu",))
    assert model["delay_samples"] == 0
    with zipfile.ZipFile(tmp_path / "live.jaxsep") as file:
        program = jax.export.deserialize(bytearray(file.read("program.bin")))
    for samples in (100, 20000):
        found = program.call(x[:1, :samples])
        expected = np.asarray(system.separate_channels(separator.variables, x[:1, :samples]))
        np.testing.assert_allclose(found, expected, atol=1e-4)

    step = jax.export.deserialize(bytearray(export_stream(separator, channels=2, windows=5))).call
    live = Live(system, separator.variables)
    carry, out, size = jax.tree.leaves(live.start(x[:, : live.lead])), [], 5 * live.hop
    frames = system.config.codec.frames(20000)
    rest = np.pad(x[:, live.lead :], ((0, 0), (0, live.skip + live.lead + size)))  # silence behind the end
    for k in range((20000 + live.skip) // size + 1):
        keep = (np.arange(5 * k, 5 * k + 5) < frames).astype(np.float32)
        *carry, stems = step(*carry, rest[:, k * size : (k + 1) * size], keep)
        out.append(stems)
    out = np.concatenate(out, axis=-1)[..., live.skip : live.skip + 20000]
    np.testing.assert_allclose(out, whole, atol=1e-4)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    system = system_of("lstm_mask")
    system = System(dataclasses.replace(system.config, sample_rate=8000, segment_seconds=0.5))
    separator = Separator(system, system.init(jax.random.key(0)), name="small")
    return separator.save_pretrained(tmp_path_factory.mktemp("models") / "small")


def piped(arguments, data):
    command = [sys.executable, "-m", "jaxsep", "live", *arguments]
    return subprocess.run(command, input=data, capture_output=True, timeout=120, cwd=ROOT)


def test_raw_samples_through_a_pipe(model, rng):
    """Two channels of 16 bits in, a stem of as many samples out, as the separator gives it."""
    x = np.round(rng.uniform(-0.5, 0.5, (2, 6001)) * 2**15).astype("<i2")
    found = piped(["-m", str(model), "--stem", "vocals", "--channels", "2", "-v"], x.T.tobytes() + b"\x01")
    assert found.returncode == 0, found.stderr
    assert b"8000 Hz, s16, 2 in, 2 out; 16 ms behind" in found.stderr
    assert b"0.75 s of sound; real-time factor" in found.stderr
    assert b"ended 1 bytes into a frame of 4: left out" in found.stderr
    stems = np.frombuffer(found.stdout, "<i2").reshape(-1, 2).T / 2**15
    expected = Separator.from_pretrained(model)(x / np.float32(2**15), 8000)["vocals"]
    np.testing.assert_allclose(stems, expected, atol=1e-4)


@pytest.mark.slow
def test_other_rates_encodings_and_all_stems_through_a_pipe(model, rng):
    x = rng.uniform(-0.5, 0.5, (1, 12000)).astype("<f4")
    options = ["-m", str(model), "--rate", "16000", "--encoding", "f32", "-q"]
    separator = Separator.from_pretrained(model)
    stems = separator(x, 16000)
    for stem, expected in (
        (["--stem", "all"], np.concatenate(list(stems.values()))),
        (["--without", "vocals"], stems["accompaniment"]),
    ):
        found = piped([*options, *stem], x.T.tobytes())
        assert found.returncode == 0 and found.stderr == b""
        np.testing.assert_allclose(
            np.frombuffer(found.stdout, "<f4").reshape(-1, len(expected)).T, expected, atol=1e-4
        )


@pytest.mark.parametrize("beginning", [b"RIFF", b"fLaC", b"OggS", b"ID3\x04"])
def test_a_file_with_a_header_is_not_taken_for_samples(beginning):
    read, write = os.pipe()
    os.write(write, beginning + bytes(60))
    os.close(write)
    with pytest.raises(UserError, match="expected raw samples, not an audio file"):
        list(read_pcm(read, "s16", 1, 16))
    os.close(read)


def test_a_live_model_that_is_filtered_is_heard_by_windows_of_any_length(model):
    separator = Separator.from_pretrained(model, segment=0.25, wiener=1)
    assert separator.live is None and separator.system.config.segment_seconds == 0.25
    with pytest.raises(UserError, match="goes on frame by frame"):
        Separator.from_pretrained(model, segment=0.25)


def test_what_cannot_be_written_is_said():
    read, write = os.pipe()
    with pytest.raises(UserError, match="standard output: cannot be written"):
        write_pcm(read, np.zeros((1, 9), np.float32), "s16")
    os.close(read)
    os.close(write)


def test_what_cannot_run_live_is_said(model, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", None)
    assert main(["live", "-m", str(model), "--stem", "vocals"]) == 2
    assert "expected raw samples from a pipe" in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert main(["live", "-m", "vocals", "--stem", "vocals", "--channels", "3"]) == 2
    assert "--channels 3: vocals hears two" in capsys.readouterr().err
    assert main(["live", "-m", str(model), "--stem", "bass"]) == 2
    assert "stem 'bass'" in capsys.readouterr().err
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert main(["live", "-m", str(model), "--stem", "vocals"]) == 2
    assert "not a terminal" in capsys.readouterr().err


def test_a_buffer_that_is_filled_again_changes_nothing(rng):
    system = system_of("lstm_mask")
    live = Live(system, system.init(jax.random.key(0)))
    x = rng.standard_normal((1, 400)).astype(np.float32)
    expected, _ = streamed(live, x, [10])
    stream, buffer, out = LiveStream(live, 1), np.empty((1, 10), np.float32), []
    for start in range(0, 400, 10):
        buffer[:] = x[:, start : start + 10]
        out.append(stream.push(buffer))
    np.testing.assert_array_equal(np.concatenate([*out, stream.finish()], axis=-1), expected)
    with pytest.raises(ValueError, match="this stream was finished"):
        stream.push(buffer)
    with pytest.raises(ValueError, match="block.dtype=int16: expected floats"):
        LiveStream(live, 1).push(np.ones((1, 10), np.int16))
