"""What is said of data: the audit of class folders, the fixed list of mixtures and its scores."""

import csv
import json
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
import soundfile

from benchmarks.experiments import sounds, sounds_list
from benchmarks.experiments.intervals import first_recordings
from jaxsep.codecs import STFT, Codec
from jaxsep.errors import UserError
from jaxsep.evaluation import baseline_estimator
from jaxsep.hub import load_model, save_model
from jaxsep.networks import LSTMMask
from jaxsep.system import System, SystemConfig
from train.tools import audit, average, publish

RATE = 8000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """``a``: a clip, its copy, its copy in another format, level and rate, and another; ``b``: pauses."""
    folder = tmp_path_factory.mktemp("audit")
    rng = np.random.default_rng(0)
    envelope = np.repeat(rng.uniform(0.02, 0.3, 20), RATE // 10)
    clips = {name: envelope[::order] * noise(rng) for name, order in (("one", 1), ("two", -1))}
    for name in ("a", "b"):
        (folder / name).mkdir()
    soundfile.write(folder / "a" / "one.wav", clips["one"], RATE)
    soundfile.write(folder / "a" / "copy.wav", clips["one"], RATE)
    soundfile.write(folder / "a" / "two.wav", clips["two"], RATE)
    double = np.interp(np.arange(4 * RATE) / 2, np.arange(2 * RATE), clips["one"])
    soundfile.write(folder / "a" / "louder.flac", 2 * double, 2 * RATE)
    half = clips["two"].copy()
    half[RATE:] *= 1e-4
    soundfile.write(folder / "b" / "half.wav", half, RATE, subtype="FLOAT")
    (folder / "b" / "broken.wav").write_bytes(b"RIFF")
    return folder


def noise(rng):
    """Noise below 1 kHz, so that resampling changes little."""
    spectrum = np.fft.rfft(rng.standard_normal(2 * RATE))
    spectrum[2000:] = 0
    audio = np.fft.irfft(spectrum)
    return audio / np.abs(audio).max()


def test_duplicates_and_silence_are_counted(folder):
    files, skipped = audit.audit(folder)
    assert [line.split(":")[0] for line in skipped] == ["b/broken.wav"]
    a, b, every = audit.table(files)
    assert (a.label, a.files, a.recordings, a.identical, a.alike, a.silent_files) == ("a", 4, 4, 1, 2, 0)
    assert a.minutes == pytest.approx(4 * 2 / 60, abs=0.01)
    assert b.silence == pytest.approx(0.5, abs=0.03)
    assert (b.silent_files, every.files, every.alike) == (1, 5, 2)
    (group,) = audit.duplicates(files)
    assert [f.path for f in group] == ["a/copy.wav", "a/louder.flac", "a/one.wav"]


def test_the_audit_is_a_command(folder, tmp_path, capsys):
    assert audit.main([str(folder), "--list", "--csv", str(tmp_path / "t.csv")]) == 0
    said = capsys.readouterr()
    assert "the same sound: a/copy.wav, a/louder.flac, a/one.wav" in said.out
    assert "skipped b/broken.wav" in said.err
    with open(tmp_path / "t.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == ["a", "b", "all"]
    assert audit.main([str(tmp_path / "nowhere")]) == 2
    assert "there is no such folder" in capsys.readouterr().err


def test_scores_are_summed_up_over_active_sources():
    rng = np.random.default_rng(0)
    recordings = np.array([[f"{s}{i % 4}" for s in range(5)] for i in range(200)])
    offset = np.array([int(r[0][-1]) for r in recordings])[:, None]  # recordings differ, mixtures do not
    gained = 6.0 + offset + 0.1 * rng.standard_normal((200, 5))
    scores = np.stack([gained - 7, gained], axis=1)
    scores[:50, :, 2] = np.nan
    rows = sounds.summarize(scores, recordings)
    assert rows["dog"]["mixtures"] == 150
    assert rows["siren"]["si_sdri"] == pytest.approx(gained[:, 1].mean(), abs=0.01)
    assert rows["siren"]["si_sdr"] == pytest.approx(gained[:, 1].mean() - 7, abs=0.01)
    for source in sounds_list.SOURCES:
        row = rows[source]
        assert row["low"] < row["si_sdri"] < row["high"]
        assert 1.5 < row["high"] - row["low"] <= 3.1  # as wide as four recordings are, not 200 mixtures
    assert rows["mean"]["high"] - rows["mean"]["low"] < rows["siren"]["high"] - rows["siren"]["low"]


def test_the_list_is_what_its_script_draws(recordings, tmp_path):
    out = tmp_path / "list.csv"
    assert sounds_list.main([str(recordings / "fiveclass"), "-o", str(out)]) == 0
    assert out.read_text() == sounds_list.LIST.read_text()


def test_the_list_renders_to_what_was_drawn(recordings):
    bank = sounds_list.development_bank(str(recordings / "fiveclass"))
    drawn, parts = sounds_list.mixtures(bank), sounds_list.read_list(bank)
    assert len(parts) == 200
    for i in (0, 57, 199):
        np.testing.assert_allclose(drawn.render(parts[i]), drawn.track(i), atol=2e-3)
    assert all(bank.tracks[p.clip].label == sounds_list.SOURCES[p.source] for mix in parts for p in mix)
    assert first_recordings(bank, parts[0], 5)[1] == bank.tracks[parts[0][1].clip].recording


def test_the_oracle_scores_as_ideal_ratio_masks_do(recordings):
    bank = sounds_list.development_bank(str(recordings / "fiveclass"))
    drawn, parts = sounds_list.mixtures(bank), sounds_list.read_list(bank)[:20]
    ideal, mixture = baseline_estimator("irm"), baseline_estimator("mixture")
    gained = np.array([sounds._score(ideal, drawn.render(p)[:, 0])[1] for p in parts])
    assert 12 < gained.mean() < 19
    nothing = np.array([sounds._score(mixture, drawn.render(p)[:, 0]) for p in parts])
    np.testing.assert_array_equal(nothing[:, 1], 0)
    assert -9 < nothing[:, 0].mean() < -5


def test_a_clip_that_is_missing_is_named(tmp_path):
    listed = tmp_path / "list.csv"
    listed.write_text("mixture,source,clip,start,gain_db\n3,dog,dog/x.wav,0.0,1.0\n")

    class Bank:
        names, sample_rate = ["dog/y.wav"], sounds_list.RATE
        tracks = []

    with pytest.raises(UserError, match=r"lack dog/x\.wav, which mixture 3 needs"):
        sounds_list.read_list(Bank(), listed)


def test_a_model_is_published_with_the_scores_of_the_benchmark(tmp_path, capsys):
    config = SystemConfig(codec=Codec(STFT(n_fft=64, hop_length=16)), network=LSTMMask(layers=1, width=4))
    system = System(config)
    save_model(tmp_path / "sounds", system, system.init(jax.random.key(0)), info={"step": 3})
    row = {"si_sdr": 1.234, "si_sdri": 6.789, "low": 5.0, "high": 7.0, "mixtures": 200, "recordings": 3}
    scores = tmp_path / "scores.json"
    scores.write_text(json.dumps({"results": {"sounds": {"dog": row, "mean": row}}}))
    card = Path(__file__).parent.parent / "train" / "cards" / "sounds.yaml"
    out = tmp_path / "published"
    given = [str(tmp_path / "sounds"), str(out), "--about", str(card), "--data", "200 mixtures"]
    assert publish.main([*given, "--scores", str(scores)]) == 0
    assert "| dog | 1.23 | 6.79 | 5.0 | 7.0 | 200 | 3 |" in (out / "README.md").read_text()
    _, _, info = load_model(out)
    assert info["scores"]["200 mixtures"]["mean"]["si_sdri"] == 6.79
    scores.write_text(json.dumps({"results": {}}))
    assert publish.main([*given, "--scores", str(scores)]) == 2
    assert "holds no scores of sounds" in capsys.readouterr().err


@pytest.mark.parametrize(("shares", "first"), [(None, 0.5), ("1,3", 0.25), ("1,0", 1.0)])
def test_models_are_averaged_array_by_array(tmp_path, shares, first):
    system = _small_models(tmp_path, "a", "b")
    out = tmp_path / "both"
    given = [str(tmp_path / "a"), str(tmp_path / "b"), "-o", str(out)]
    given += ["--shares", shares] if shares else []
    assert average.main(given) == 0
    one, two, mean = (load_model(tmp_path / name)[1] for name in ("a", "b", "both"))
    expected = jax.tree.map(lambda x, y: first * x + (1 - first) * y, one, two)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-7), mean, expected)
    assert load_model(out)[0].config == system.config
    assert load_model(out)[2]["license"] == "license of a; license of b"


def test_models_that_cannot_be_averaged(tmp_path, capsys):
    _small_models(tmp_path, "a", "b")
    _small_models(tmp_path, "other", width=5)
    _small_models(tmp_path, "stereo", channels=2)
    for others, reason in (
        (["other"], "lacks"),
        (["b", "--shares", "1"], "expected 2 numbers"),
        (["b", "--shares", "1,-1"], "expected 2 numbers"),
        (["b", "--shares", "0,0"], "expected 2 numbers"),
        (["b", "--shares", "1,x"], "expected 2 numbers"),
        (["nowhere"], "nowhere"),
        (["stereo"], "channels=2"),
    ):
        given = [str(tmp_path / "a"), str(tmp_path / others[0]), *others[1:]]
        assert average.main([*given, "-o", str(tmp_path / "out")]) == 2
        assert reason in capsys.readouterr().err
        assert not (tmp_path / "out").exists()


def _small_models(folder, *names, width=4, channels=1):
    """Models of one system, each begun elsewhere and with a license of its own."""
    codec = Codec(STFT(n_fft=64, hop_length=16))
    config = SystemConfig(codec=codec, network=LSTMMask(layers=1, width=width), channels=channels)
    system = System(config)
    for i, name in enumerate(names):
        about = {"license": f"license of {name}"}
        save_model(folder / name, system, system.init(jax.random.key(i)), info=about, storage="float32")
    return system
