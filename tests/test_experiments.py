"""The table of experiments, its figures, and the round trip: commands over small runs."""

import json
import os
from types import SimpleNamespace

import jax
import numpy as np
import pytest
import soundfile
import yaml

import benchmarks.__main__ as command
from benchmarks import commands, gpu, growth, memory, paths, record, train_step_bound
from benchmarks.experiments import (
    drums,
    figures,
    memorization,
    pages,
    round_trip,
    silent_references,
    table,
    voice_over_piano,
)
from benchmarks.timing import Result
from jaxsep.errors import UserError
from jaxsep.parts import find, names
from train.config import load_config
from train.data.bank import Signal, Track
from train.run import run

RATE = 8000
LIST = yaml.safe_load(table._LIST.read_text())


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """One experiment of two steps on two tones, listed in a folder of its own."""
    time = np.arange(2 * RATE) / RATE
    for part in ("train", "valid"):
        (tmp_path / part).mkdir()
        pair = np.stack([np.sin(2 * np.pi * f * time) for f in (300, 1500)], axis=1)
        soundfile.write(tmp_path / part / "tones.wav", 0.3 * pair, RATE, subtype="FLOAT")
    config = {
        "system": {
            "sources": ["high", "low"],
            "residual": "low",
            "sample_rate": RATE,
            "codec": {"transform": {"n_fft": 256, "hop_length": 64}},
            "network": {"layers": 1, "width": 8},
        },
        "data": {
            "train": str(tmp_path / "train"),
            "valid": str(tmp_path / "valid"),
            "recipe": {"channels": ["low", "high"]},
            "seconds": 0.5,
            "cache": str(tmp_path / "cache"),
        },
        "loss": {"name": "magnitude_mse", "reduction": "sum"},
        "batch_size": 4,
    }
    (tmp_path / "tones.yaml").write_text(yaml.safe_dump(config))
    tones = {"title": "Tones", "config": "tones.yaml", "options": {"steps": 2, "log_every": 1}}
    listed = {
        "unready": {
            **tones,
            "options": {"steps": 2, "init_from": "nowhere"},
            "figure": "sir",
            "published": None,
        },
        "by_loss": {**tones, "figure": "loss", "published": {"train": 5}},
        "by_score": {**tones, "figure": "sir", "stem": "low", "published": None, "note": "bleed"},
    }
    (tmp_path / "list.yaml").write_text(yaml.safe_dump(listed))
    monkeypatch.setattr(table, "_LIST", tmp_path / "list.yaml")
    monkeypatch.setattr(table, "_CONFIGS", tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", LIST)
def test_every_experiment_is_a_config_and_a_figure(name):
    entry = LIST[name]
    options = table.overrides(entry.get("options", {}))
    config = load_config(str(table._CONFIGS / entry["config"]), options)
    if entry["figure"] == "loss":
        assert config.loss.reduction == "sum"  # as published ones
    else:
        assert entry["stem"] in config.system.sources
    assert set(entry["published"] or {}) <= {"train", "dev", entry["figure"]}


def test_memorized_mixtures_are_told_from_others(runs, capsys, monkeypatch):
    """On a fixed set of two excerpts of noise the loss falls, on other noise it does not."""
    rng = np.random.default_rng(0)
    for part in ("train", "valid"):
        noise = 0.1 * rng.standard_normal((2 * RATE, 2))
        soundfile.write(runs / part / "tones.wav", noise, RATE, subtype="FLOAT")
    out = str(runs / "noise")
    options = {
        "steps": 200,
        "batch_size": 2,
        "data.distinct": 2,
        "out": out,
        "optimizer.learning_rate": 0.003,
    }
    options |= {"data.recipe.remix": 0.0, "system.network.width": 128}
    config = load_config(str(runs / "tones.yaml"), table.overrides(options))
    assert run(config) == 0
    capsys.readouterr()
    monkeypatch.setattr(memorization, "_COUNT", 8)
    assert memorization.main([out]) == 0
    lines = capsys.readouterr().out.splitlines()
    losses = memorization.losses_of(runs / "noise")
    assert [line.split(": ")[1] for line in lines] == list(losses)
    known, same, other = (float(line.split(": ")[2].split()[0]) for line in lines)
    assert known < 0.8 * min(same, other)
    assert len(losses["mixtures that it was trained on"]) == 2
    (runs / "empty").mkdir()
    (runs / "empty" / "config.json").write_text((runs / "noise" / "config.json").read_text())
    assert memorization.main([str(runs / "empty")]) == 2
    assert "empty: has no whole checkpoint" in capsys.readouterr().err
    assert memorization.main([str(runs / "nowhere")]) == 2
    assert "nowhere" in capsys.readouterr().err


@pytest.mark.slow
def test_an_experiment_is_trained_scored_and_drawn(runs, capsys):
    command = ["--runs", str(runs / "runs"), "--json", str(runs / "rows.json")]
    assert table.main(["by_score", *command]) == 0
    assert table.main(["unready", "by_loss", *command]) == 2  # what one misses keeps no other
    rows = json.loads((runs / "rows.json").read_text())
    assert list(rows) == ["by_loss", "by_score"]  # as they are listed
    log = [json.loads(line) for line in (runs / "runs" / "by_loss" / "log.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in log if "loss" in line]
    assert rows["by_loss"]["ours"]["train"] == pytest.approx(np.mean(losses), abs=0.06)
    assert rows["by_loss"]["ours"]["dev"] > 0
    row = rows["by_score"]
    assert row["ours"] == {"sir": row["scores"]["low"]["sir"]}
    for source in ("high", "low"):
        assert row["mixture"][source]["si_sdri"] == 0
        assert row["oracle"][source]["si_sdri"] > 20
        assert {"sdr", "sir", "sar"} <= row["scores"][source].keys()
    assert row["parameters"] > 1000
    printed = capsys.readouterr().out
    assert "| Tones (`by_loss`) | train 5 |" in printed
    assert "| Tones (`by_score`) | bleed | sir " in printed
    out = runs / "figures"
    out.mkdir()
    figures.draw_run(runs / "runs" / "by_loss", out)
    figures.draw_scores(rows, out)
    drawn = {p.name for p in out.glob("*.png")}
    assert {"by_loss-learning-curve.png", "by_loss-layers.png", "by_loss-spectrograms.png"} <= drawn
    assert {"high-low-sdr.png", "high-low-sir.png", "by_loss-waveforms.png"} <= drawn


def test_an_unknown_experiment_is_named(runs, capsys):
    assert table.main(["nothing"]) == 2
    assert "nothing: expected some of by_loss, by_score, unready" in capsys.readouterr().err
    assert memory.main(["nothing"]) == 2


@pytest.mark.slow
def test_figures_of_synthesis_are_drawn(tmp_path):
    figures.draw_synthesis(tmp_path)
    assert {p.name for p in tmp_path.glob("*.png")} == {
        "mel-reconstruction.png",
        "tone-and-snare-spectra.png",
        "tone-and-snare-spectrograms.png",
        "tone-and-snare-waveforms.png",
    }


def test_round_trips_lose_what_they_make_up(tmp_path, rng, monkeypatch):
    kept = ("waveform", "STFT 1024 / 256, mixture phase", "128 mel bands, mixture phase")
    kept += ("128 mel bands, Griffin-Lim 32",)
    monkeypatch.setattr(round_trip, "CODECS", {k: round_trip.CODECS[k] for k in kept})
    soundfile.write(tmp_path / "a.wav", 0.1 * rng.standard_normal(2 * RATE), RATE)
    assert round_trip.main([str(tmp_path / "a.wav"), "--json", str(tmp_path / "r.json")]) == 0
    rows = json.loads((tmp_path / "r.json").read_text())["results"]
    whole, exact, phase, inverted = (rows[k] for k in kept)
    assert min(whole["snr"], exact["snr"], phase["snr"]) > 60
    assert inverted["snr"] < 10
    assert round_trip.main([str(tmp_path / "none.wav")]) == 2


@pytest.mark.slow
def test_the_benchmark_of_accelerators_is_rehearsed_at_small_sizes(tmp_path):
    """Every network of ours, both precisions, every operation; with what it was measured on."""
    report = gpu.main(small=True, path=tmp_path / "gpu.json", say=lambda text: None)
    assert json.loads((tmp_path / "gpu.json").read_text()) == report
    assert report["environment"]["versions"]["jax"] and report["date"] and report["small"]
    rows = {(row["case"], row.get("precision", "")): row for row in report["rows"]}
    holders = {"per_source", "remainder", "complement"}  # they cost what they hold
    ours = {n for n in names("network") if find("network", n).__module__.startswith("jaxsep.")}
    for network in ours - holders:
        for precision in ("float32", "bfloat16"):
            row = rows[f"step {network}", precision]
            assert row["ms"] > 0 and row["flops_per_second"] > 0 and row["share_of_matmul"] > 0
    for case in ("stft", "fastica", "auxiva", "bss_eval"):
        assert rows[case, ""]["agrees"] and rows[case, ""]["ms"] > 0
    assert rows["separate, sounds", ""]["times_real_time"] > 0


def test_rows_say_what_they_were_measured_on_and_what_changed(tmp_path, monkeypatch, capsys):
    def run(say, factor=1.0):
        say("hello")
        return [
            Result("a", "peer", 1.0, 2.0 * factor, 2.0 * factor, float("nan"), 0.01),
            Result("b$", "peer", 1, 3, 3, 0),
        ]

    for name, factor in (("old", 1.0), ("new", 1.5)):
        (tmp_path / name).mkdir()
        monkeypatch.setattr("benchmarks.stft.run", lambda say, factor=factor: run(say, factor))
        command._run("stft", tmp_path / name)
    rows = record.read_rows(tmp_path / "new")
    assert {"date", "commit", "processor", "jax", "load", "spread", "command"} <= rows[0].keys()
    assert rows[0]["error"] is None and rows[0]["spread"] == 0.01 and rows[1]["spread"] is None
    changes = list(record.compared(record.read_rows(tmp_path / "old" / "stft.jsonl"), rows))
    assert changes[0].endswith("2.00 -> 3.00 times (+50 %)") and changes[1].endswith("(within the spread)")
    record.plot(rows, tmp_path / "rows.png")
    assert (tmp_path / "rows.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UserError, match="no rows of benchmarks"):
        record.read_rows(tmp_path / "nowhere")


def test_rows_by_another_jax_stay_where_new_ones_are_written(tmp_path):
    path = tmp_path / "rows.jsonl"
    for jax_version, ratio in (("0.10.2", 1.0), ("0.12.0", 2.0), ("0.10.2", 3.0)):
        record.write_rows(path, [{"jax": jax_version, "ratio": ratio}])
    kept = {row["jax"]: row["ratio"] for row in record.read_rows(path)}
    assert kept == {"0.10.2": 3.0, "0.12.0": 2.0}


def test_the_benchmarks_are_listed_and_leave_the_record_alone(capsys):
    assert command.main(["--list"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert len(listed) == len(command.NAMES) + 1 and all(len(line.split()) > 3 for line in listed)
    assert command.main(["nonesuch"]) == 2
    options = command._parser().parse_args(["stft"])
    assert not options.record and options.out == "benchmarks-out"


def test_an_interval_draws_what_is_of_one_recording_together():
    """Ten rows of two recordings that differ: no draw of two knows less than both ends."""
    rows = [{"si_sdri": 2.0 + 4.0 * (k % 2), "seconds": 3.0} for k in range(10)]
    silent = {"si_sdri": None, "seconds": 3.0}
    ends, recordings = table._interval([*rows, silent], [f"r{k % 2}" for k in range(11)])
    assert ends == [2.0, 6.0] and recordings == 2
    ends, recordings = table._interval(rows, [f"r{k}" for k in range(10)])
    assert 2.0 < ends[0] < 4.0 < ends[1] < 6.0 and recordings == 10
    assert table._interval([silent], ["r0"]) == (None, 0)
    assert table._interval(rows, ["r0"] * 10) == (None, 1)
    clips = [Track(f"{name}_{k}", ((Signal("no.wav"),),), "", name) for name in ("Ani_1", "") for k in (1, 2)]
    bank = SimpleNamespace(tracks=clips, names=[clip.name for clip in clips])
    assert [table._recordings(bank, i, 2)[0] for i in range(4)] == ["Ani_1", "Ani_1", "_1", "_2"]


def test_the_pages_of_the_systems_have_the_rows_of_the_record():
    rows = json.loads(table._RESULTS.read_text())
    folder = table._ROOT / "docs" / "systems"
    for page in folder.glob("*.md"):
        assert pages.filled(page.read_text(), rows) == page.read_text(), (
            "run python -m benchmarks.experiments.pages"
        )


@pytest.mark.slow
def test_every_path_gives_one_set_of_stems():
    rows = list(paths.compare("speech_live", 0.05))
    assert [row["path"] for row in rows] == list(paths.PATHS)
    assert all(row["samples_off"] == 0 and row["difference"] < 1e-4 for row in rows)


@pytest.mark.slow
def test_the_memory_of_a_command_is_measured():
    row = commands.measure("separate -m speech_live", 0.02)
    assert 0.1 < row["peak_gb"] < 3 and row["seconds"] > 0


def test_an_sdr_of_minus_139_db_comes_from_silent_references(rng):
    """As the CNN auto-encoder's document scored: what is silent decides, whatever the estimates are."""
    references = rng.standard_normal((3, 4000))
    references[2] = 0
    estimates = references + 0.1 * rng.standard_normal(references.shape)
    rows = silent_references.summary([silent_references.score(references, estimates)])
    assert (rows["sources"], rows["silent"]) == (3, 1)
    assert rows["silent references of 1e-20, those alone"]["sdr"] < -350
    assert rows["silent references of 1e-20, all"]["sdr"] < -100
    assert rows["silent references left out"]["sdr"] == pytest.approx(20, abs=1)
    assert "| -139 |" in silent_references.table({"model": rows})


def test_growth_is_measured_drawn_and_tabulated(tmp_path, monkeypatch, capsys):
    make = growth.OPERATIONS["stft"][0]
    monkeypatch.setitem(growth.OPERATIONS, "stft", (make, {"length": (0.1, 0.2), "batch": (1, 2)}))
    monkeypatch.setattr(growth, "_RESULTS", tmp_path / "growth.json")
    monkeypatch.setenv("XLA_FLAGS", os.environ.get("XLA_FLAGS", ""))  # it simulates devices otherwise
    monkeypatch.setattr(growth, "OPERATIONS", {"stft": growth.OPERATIONS["stft"]})
    assert growth.main(["-o", str(tmp_path), "--record"]) == 0
    assert (tmp_path / "stft.png").read_bytes()[1:4] == b"PNG"
    rows = json.loads((tmp_path / "growth.json").read_text())["rows"]
    assert [row["axis"] for row in rows][:2] == ["length", "batch"]
    assert all(len(row["ms"]) == len(row["sizes"]) and min(row["ms"]) > 0 for row in rows)
    assert "| stft |" in capsys.readouterr().out
    assert growth.exponent([1, 2, 4, 8], [1, 1, 4, 16]) == 2
    assert growth.main(["stft", "--record"]) == 2
    assert growth.main(["nothing"]) == 2
    assert "nothing: expected some of stft" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("name", growth.OPERATIONS)
def test_every_operation_whose_growth_is_measured_runs(name):
    axes = growth.OPERATIONS[name][1]
    assert growth.measure(name, "batch", axes["batch"][:2])["ms"][0] > 0


def test_voices_over_pianos_are_mixed_as_loud_and_only_of_what_validates(tmp_path, rng):
    for name in ("voices", "pianos/kept", "pianos/trained"):
        (tmp_path / name).mkdir(parents=True)
    for i in range(3):
        soundfile.write(tmp_path / "voices" / f"v{i}.wav", 0.1 * rng.standard_normal((8000, 2)), 16000)
    for name in ("kept", "trained"):
        soundfile.write(tmp_path / "pianos" / name / "piano.wav", 0.01 * rng.standard_normal(20000), 16000)
    table = "path,source_id,split\nkept/piano.wav,a,dev\ntrained/piano.wav,b,train\n"
    (tmp_path / "pianos" / "manifest.csv").write_text(table)
    found = voice_over_piano.mixtures(tmp_path / "voices", tmp_path / "pianos", 2)
    assert list(found) == ["v0 over kept", "v2 over kept"]
    for stems in found.values():
        voice, piano = stems["vocals"], stems["accompaniment"]
        assert voice.shape == piano.shape == (1, 8000)
        assert np.mean(piano**2) == pytest.approx(np.mean(voice**2), rel=1e-4)
    right = soundfile.read(tmp_path / "voices" / "v2.wav")[0][:, 1]
    np.testing.assert_allclose(found["v2 over kept"]["vocals"][0], right, atol=1e-6)
    with pytest.raises(UserError, match="too few recordings for 4 mixtures"):
        voice_over_piano.mixtures(tmp_path / "voices", tmp_path / "pianos", 4)


def test_drums_are_scored_by_waveform_and_blind_to_phase(tmp_path, rng, capsys):
    time = np.arange(3 * RATE) / RATE
    splits = {"a": "train", "b": "dev", "c": "dev"}  # of which c has no drums to speak of
    tones = {name: 0.1 * np.sin(2 * np.pi * f * time) for name, f in (("vocals", 300), ("other", 900))}
    rows = ["path,source_id,split"]
    for part, split in splits.items():
        folder = tmp_path / "songs" / f"song_{part}" / "seg00"
        folder.mkdir(parents=True)
        level = 1e-6 if part == "c" else 0.5
        clicks = level * rng.standard_normal(time.size) * (time % 0.5 < 0.05)
        for name, sound in {"drums": clicks, **tones}.items():
            soundfile.write(folder / f"{name}.wav", sound, RATE, subtype="FLOAT")
            rows.append(f"song_{part}/seg00/{name}.wav,{part},{split}")
    (tmp_path / "songs" / "manifest.csv").write_text("\n".join(rows) + "\n")
    out = tmp_path / "drums.json"
    assert drums.main(["--data", str(tmp_path / "songs"), "--json", str(out)]) == 0
    results = json.loads(out.read_text())
    assert all(list(row["sections"]) == ["song_b/seg00"] for row in results.values())
    mixture, ideal, mel = results.values()
    assert mixture["summary"]["si_sdri"][0] == 0 < 5 < ideal["summary"]["si_sdri"][0]
    assert ideal["summary"]["distance"][0] < mixture["summary"]["distance"][0] / 2
    assert ideal["summary"]["correlation"][0] > mixture["summary"]["correlation"][0]
    assert mel["summary"]["correlation"][0] > mixture["summary"]["correlation"][0]
    assert mel["summary"]["si_sdri"][0] < 0  # whose phase is made up
    assert drums.main(["--data", str(tmp_path / "nowhere"), "--json", str(out)]) == 2
    assert "nowhere" in capsys.readouterr().err


SMALL_BOUNDS = {
    train_step_bound.lstm_products: dict(frames=3, batch=2, bins=5, width=4, layers=2, outputs=6),
    train_step_bound.unet_convolutions: dict(batch=1, bins=16, frames=8, levels=2, filters=2),
    train_step_bound.cnn_products: dict(batch=1, bins=9, frames=12, sources=2, span=4),
}


@pytest.mark.parametrize("make", SMALL_BOUNDS)
def test_products_alone_have_a_gradient_of_every_weight(make, rng):
    program, arrays = make(rng, **SMALL_BOUNDS[make])
    gradients = jax.tree.leaves(jax.jit(program)(*arrays))
    weights = [a for a in jax.tree.leaves(arrays) if a.shape not in ((3, 2, 5), (1, 16, 8, 1), (1, 12, 9))]
    assert sorted(g.shape for g in gradients) == sorted(w.shape for w in weights)
    assert all(np.isfinite(g).all() and np.any(g) for g in gradients)


def test_a_record_names_no_path_of_this_machine(monkeypatch):
    monkeypatch.setenv("JAXSEP_DATA", "/data/")
    found = record.command_line(
        "benchmarks.x", "/data/mir1k/valid", "/data2/a", "vocals", "runs/a", "--every", 4
    )
    assert found == "python -m benchmarks.x $JAXSEP_DATA/mir1k/valid a vocals runs/a --every 4"
