"""What a run says of its speed and of where it runs; dry runs, profiles, early stopping."""

import dataclasses
import json
import math
import sys
import time
from types import SimpleNamespace

import pytest
from test_training_run import config, songs  # noqa: F401 (fixtures)

import train.run
from jaxsep.errors import UserError
from train.__main__ import main
from train.clock import Clock
from train.dry_run import dry_run
from train.log import read_log
from train.validate import Validation


def test_a_row_says_where_the_time_went(config, tmp_path):  # noqa: F811
    start = time.perf_counter()
    train.run.run(config)
    whole = time.perf_counter() - start
    rows = [row for row in read_log(tmp_path / "run") if "loss" in row]
    seconds = {
        k: sum(row.get(f"seconds/{k}", 0.0) for row in rows) for k in ("waiting", "stepping", "compiling")
    }
    assert seconds["compiling"] > 0 and seconds["stepping"] > 0 and sum(seconds.values()) < whole
    assert any(row.get("seconds/saving", 0) > 0 for row in rows)
    assert any(row.get("seconds/validating", 0) > 0 for row in rows)
    for row in rows:
        rate = config.optimizer.schedule(config.optimizer.learning_rate, config.steps)(row["step"])
        assert row["learning_rate"] == pytest.approx(float(rate))
        assert row["audio_per_second"] == pytest.approx(row["examples_per_second"] * config.data.seconds)
        assert row["flops_per_second"] > 0 and math.isfinite(row["share_of_matmul_peak"])
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment["versions"]["jax"] and environment["hosts"] == 1 and "cpu" in environment["devices"]


def test_the_clock_counts_what_it_is_told():
    clock = Clock()

    def slow():
        time.sleep(0.05)
        yield 1

    assert list(clock.waiting(slow())) == [1]
    with clock.at("saving"):
        time.sleep(0.02)
    lap = clock.lap()
    assert lap["waiting"] >= 0.05 and lap["saving"] >= 0.02 and lap["stepping"] < lap["waiting"]
    assert set(clock.lap()) == {"stepping"}


def test_a_dry_run_leaves_nothing(config, tmp_path, capsys):  # noqa: F811
    assert dry_run(config) == 0
    said = capsys.readouterr().err
    for part in (
        "data.train: ",
        "batch.sources: (4, 2, 1, ",
        "parameters in ",
        "intermediate results ",
        "a step: loss ",
    ):
        assert part in said
    assert not (tmp_path / "run").exists()


def test_a_dry_run_is_an_option(capsys):
    assert main(["no-such.yaml", "--dry-run"]) == 2
    assert "no-such.yaml: cannot be read" in capsys.readouterr().err


def test_a_run_stops_when_validation_improves_no_more(config, tmp_path, monkeypatch, capsys):  # noqa: F811
    scores = iter([1.0, 3.0, 2.0, 2.5, 2.9, 9.0])
    monkeypatch.setattr(
        train.run, "validate", lambda *a: Validation(next(scores), {"high": 1.0, "low": 1.0}, {})
    )
    config = dataclasses.replace(config, valid_every=2, patience=2)  # noqa: F811
    assert train.run.run(config) == 0
    assert "stopped at step 8: validation has not improved for 2" in capsys.readouterr().err
    found = json.loads((tmp_path / "run" / "best" / "config.json").read_text())
    assert found["step"] == 4


def test_a_profile_is_of_the_steps_asked_for(config, tmp_path):  # noqa: F811
    train.run.run(dataclasses.replace(config, steps=4, valid_every=4, profile=(2, 4)))
    assert any(p.stat().st_size for p in (tmp_path / "run" / "profile").rglob("*") if p.is_file())


@pytest.mark.slow
def test_a_run_is_followed_in_weights_and_biases(config, monkeypatch, capsys):  # noqa: F811
    """By a module of its name that notes what it is told."""
    begun, logged = [], []
    run = SimpleNamespace(
        log=lambda values, step: logged.append((step, values)),
        finish=lambda exit_code: logged.append(("finish", exit_code)),
    )
    fake = SimpleNamespace(
        init=lambda **options: begun.append(options) or run,
        Image=lambda picture: ("image", picture.shape),
        Audio=lambda audio, sample_rate: ("audio", audio.shape, sample_rate),
    )
    monkeypatch.setitem(sys.modules, "wandb", fake)
    config = dataclasses.replace(config, wandb="voices", steps=4, valid_every=2, examples=1)
    for steps in (2, 4):
        assert train.run.run(dataclasses.replace(config, steps=steps, allow_changes=True)) == 0
    assert [b["project"] for b in begun] == ["voices"] * 2 and begun[0]["id"] == begun[1]["id"]
    assert begun[0]["config"]["batch_size"] == 4
    assert logged.count(("finish", 0)) == 2
    rows = [row for row in logged if row[0] != "finish"]
    assert {step for step, _ in rows} == {2, 3, 4} and any("loss" in values for _, values in rows)
    sounds = [values for _, values in rows if any(key.endswith("/sound") for key in values)]
    assert len(sounds) == 2 * 3 and any("valid/score" in values for _, values in rows)

    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match=r"wandb=voices: .*pip install 'jaxsep\[wandb\]'"):
        train.run.run(dataclasses.replace(config, steps=5, allow_changes=True))
