"""Grids, folds, and runs trained as one program: the same runs as one after the other."""

import csv
import dataclasses
import json
import signal
from pathlib import Path

import jax
import numpy as np
import pytest
import soundfile
import yaml

import train.log
import train.run
from jaxsep.codecs import STFT, Codec, Log
from jaxsep.errors import UserError
from jaxsep.fine_tuning import FineTuning
from jaxsep.hub import load_model, save_model
from jaxsep.losses import SNR, Discriminative
from jaxsep.networks import LSTMMask
from jaxsep.optimizers import SGD, AdamW, Cosine
from jaxsep.parts import to_dict
from jaxsep.separator import Separator
from jaxsep.system import System, SystemConfig
from train.config import DataConfig, TrainConfig
from train.data.recipes import StereoPairs, find_part
from train.tools import sweep

RATE = 4000


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    """Seven songs in two parts each: a low tone left, a high one right."""
    folder = tmp_path_factory.mktemp("songs")
    time = np.arange(2 * RATE) / RATE
    for k in range(7):
        for part in range(2):
            low, high = (0.3 * np.sin(2 * np.pi * f * time + k) for f in (200 + 9 * k, 1200 + 9 * k + part))
            pair = np.stack([low, high], axis=1)
            soundfile.write(folder / f"song{k}b_{part}.wav", pair, RATE, subtype="FLOAT")
    return folder


@pytest.fixture
def config(songs, tmp_path):
    return TrainConfig(
        system=SystemConfig(
            sources=("high", "low"),
            residual="low",
            sample_rate=RATE,
            codec=Codec(STFT(n_fft=128, hop_length=64), scale=Log()),
            network=LSTMMask(layers=1, width=8),
            segment_seconds=2.1,
            overlap_seconds=0.1,
        ),
        data=DataConfig(
            StereoPairs(channels=("low", "high")),
            train=str(songs),
            valid=str(songs),
            seconds=0.5,
            cache=str(tmp_path / "c"),
        ),
        loss=SNR(),
        optimizer=AdamW(learning_rate=0.01, clip_norm=1.0, schedule=Cosine()),
        steps=6,
        batch_size=4,
        ema_decay=0.9,
        log_every=2,
        valid_every=3,
        save_every=2,
        examples=0,
    )


def rows(out):
    with open(out / "sweep.csv", newline="") as file:
        return list(csv.DictReader(file))


def losses(folder):
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [row["loss"] for row in lines if "loss" in row], [
        row["valid/score"] for row in lines if "valid/score" in row
    ]


@pytest.mark.slow
def test_a_grid_runs_what_can_be_refuses_what_cannot_and_goes_on(config, tmp_path, capsys):
    path, out = tmp_path / "config.yaml", tmp_path / "sweep"
    path.write_text(yaml.safe_dump(to_dict(config)))
    grid = ["--grid", "system.codec.transform.hop_length=64,100", "--grid", "optimizer.learning_rate=1e-2"]
    command = [str(path), *grid, "-o", str(out), "--", "--steps", "3"]
    assert sweep.main(command) == 0
    said = capsys.readouterr()
    assert "refused {'system.codec.transform.hop_length': 100" in said.err
    assert "hop_length=100: expected 1 to n_fft // 2=64" in said.out
    table = rows(out)
    assert [row["status"] for row in table] == ["done", "refused"], table
    assert "hop_length=100" in table[1]["reason"]
    printed = [line for line in said.out.splitlines() if line.startswith("system.")]
    assert f"{float(table[0]['score']):+.2f}" in printed[0]
    stamps = {p: p.stat().st_mtime_ns for p in out.rglob("log.jsonl")}
    assert len(stamps) == 1
    assert sweep.main(command) == 0
    assert {p: p.stat().st_mtime_ns for p in out.rglob("log.jsonl")} == stamps
    assert rows(out) == table


def test_a_shape_that_cannot_be_is_refused_before_anything_runs(config):
    assert sweep.why_impossible(config) == ""
    assert sweep.why_impossible(dataclasses.replace(config, accumulate=2)) == ""
    with pytest.raises(ValueError, match="gamma=2.0: has no lower bound"):
        dataclasses.replace(config, loss=Discriminative(gamma=2.0))


@pytest.mark.parametrize(
    ("values", "part"),
    [
        ({"optimizer.rate": 1.0}, "config.optimizer.rate: unknown"),
        ({"optimizers.learning_rate": 1.0}, "optimizers.learning_rate: there is no such field"),
        ({"steps": 0}, "steps=0"),
        ({"steps": "many"}, "config.steps='many'"),
    ],
)
def test_wrong_fields_and_values_are_named(values, part):
    with pytest.raises(ValueError, match="=|:") as error:
        sweep.with_values(TrainConfig(), values)
    assert part in str(error.value)


def test_a_run_has_ended_at_its_last_step_or_when_it_settled_whatever_a_crash_left(config, tmp_path):
    config = dataclasses.replace(config, steps=100, out=str(tmp_path))
    assert sweep._result(config) is None
    rows = [{"step": 3 * i, "valid/score": score} for i, score in enumerate([1.0, 4.0, 2.0, 3.0])]
    log = "".join(json.dumps(row) + "\n" for row in rows) + '{"step": 12, "valid/sc'
    (tmp_path / "log.jsonl").write_text(log)
    assert sweep._result(config) is None
    assert sweep._result(dataclasses.replace(config, patience=3)) is None
    for ended in ({"patience": 2}, {"steps": 9}):
        assert sweep._result(dataclasses.replace(config, **ended)) == rows[1]


def test_another_network_starts_from_its_own_options(config):
    values = {"system.network.width": 5, "system.network.name": "lstm_mask"}
    assert sweep.with_values(config, values).system.network.layers == 1
    with pytest.raises(ValueError, match="config.system.network.name='other': expected one of|expected"):
        sweep.with_values(config, values | {"system.network.name": "other"})


@pytest.mark.parametrize("text", ["seed", "=1", "seed=", "seed={"])
def test_wrong_axes_are_refused(text):
    with pytest.raises(UserError, match="--grid"):
        sweep.parse_axis(text)


def test_folds_part_the_recordings_and_never_a_recording(config):
    held_out = []
    for fold in range(3):
        data = dataclasses.replace(config.data, folds=3, fold=fold)
        train_part, valid = (find_part(data, ("high", "low"), p) for p in ("train", "valid"))
        assert len(train_part) + len(valid) == 14
        assert not {t.recording for t in train_part} & {t.recording for t in valid}
        held_out += [t.name for t in valid]
    assert sorted(held_out) == sorted(f"song{k}b_{p}" for k in range(7) for p in range(2))
    with pytest.raises(UserError, match=r"data\.folds=20: too many"):
        find_part(dataclasses.replace(config.data, folds=20, fold=19), ("high", "low"), "valid")
    with pytest.raises(ValueError, match="folds=3, fold=3"):
        dataclasses.replace(config.data, folds=3, fold=3)


@pytest.mark.slow
def test_every_fold_is_run_and_summed_up(config, tmp_path, capsys):
    config = dataclasses.replace(config, steps=2)
    assert sweep.sweep(config, {"seed": [0]}, 2, tmp_path / "sweep") == 0
    table = rows(tmp_path / "sweep")
    assert [(row["fold"], row["status"]) for row in table] == [("0", "done"), ("1", "done")]
    mean = np.mean([float(row["score"]) for row in table])
    assert f"seed=0  {mean:+.2f} +- " in capsys.readouterr().out


@pytest.mark.slow
def test_runs_trained_together_are_the_runs_trained_alone(config, tmp_path, monkeypatch):
    """Stopped half-way too; float32 sums in another order, so equal to rounding."""
    grid = {"seed": [0, 1], "optimizer.learning_rate": [0.01, 0.001]}
    out = tmp_path / "sweep"
    note = train.log.Log.step

    def step(self, number, *rest):
        note(self, number, *rest)
        if number == 4:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(train.log.Log, "step", step)
    assert sweep.sweep(config, grid, 0, out, together=True) == 128 + signal.SIGTERM
    monkeypatch.setattr(train.log.Log, "step", note)
    assert sweep.sweep(config, grid, 0, out, together=True) == 0
    table = rows(out)
    assert len({row["score"] for row in table}) == 4
    for row in (table[3],):
        values = {field: yaml.safe_load(row[field]) for field in grid}
        alone = dataclasses.replace(sweep.with_values(config, values), out=str(tmp_path / row["seed"]))
        assert train.run.run(alone) == 0
        theirs = out / sweep.Run(values, None, None).name
        for a, b in zip(losses(Path(alone.out)), losses(theirs), strict=True):
            np.testing.assert_allclose(b, a, rtol=2e-3, atol=2e-3)
        mix = np.sin(np.arange(RATE, dtype=np.float32))
        stems = [Separator.from_pretrained(f)(mix, RATE)["low"] for f in (Path(alone.out), theirs / "best")]
        np.testing.assert_allclose(*stems, atol=2e-3)


def test_runs_trained_together_start_from_another_models_weights(config, tmp_path):
    """No step changes anything, so what is published is what they started from."""
    donor = System(config.system)
    variables = donor.init(jax.random.key(9))
    save_model(tmp_path / "donor", donor, variables, storage="float32")
    config = dataclasses.replace(
        config, init_from=str(tmp_path / "donor"), optimizer=SGD(), steps=1, valid_every=1, ema_decay=0.0
    )
    grid = {"seed": [0, 1], "optimizer.learning_rate": [0.0]}
    assert sweep.sweep(config, grid, 0, tmp_path / "sweep", together=True) == 0
    for best in (tmp_path / "sweep").glob("*/best"):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-3), load_model(best)[1], variables)
    assert len(list((tmp_path / "sweep").glob("*/best"))) == 2
    frozen = FineTuning(freeze=("nothing_of_that_name",))
    lost = dataclasses.replace(config, fine_tuning=frozen, out=str(tmp_path / "one"))
    with pytest.raises(UserError, match="nothing_of_that_name"):
        train.run.run_together([lost, dataclasses.replace(lost, seed=1, out=str(tmp_path / "two"))])


def test_runs_trained_together_are_compiled_with_the_networks_options(config, monkeypatch, tmp_path):
    monkeypatch.setattr("train.program.compiler_options", lambda network: {"xla_no_such_option": "1"})
    with pytest.raises(jax.errors.JaxRuntimeError, match="no_such_option"):
        sweep.sweep(config, {"seed": [0, 1]}, 0, tmp_path / "sweep", together=True)


def test_a_run_gone_bad_leaves_the_others(config, tmp_path, capsys):
    config = dataclasses.replace(
        config,
        optimizer=SGD(learning_rate=0.01),
        max_bad_steps=2,
        steps=6,
        log_every=1,
        ema_decay=0.0,
    )
    grid = {"optimizer.learning_rate": [1e-3, 1e38]}
    assert sweep.sweep(config, grid, 0, tmp_path / "sweep", together=True) == 0
    good, bad = rows(tmp_path / "sweep")
    assert (good["status"], bad["status"]) == ("done", "failed")
    assert "not finite in steps" in bad["reason"]
    assert "not finite" in capsys.readouterr().out
