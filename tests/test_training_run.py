"""A run on generated recordings: learns, stops, resumes bit for bit, and says what is wrong."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
import soundfile
from test_train_step import in_time

import train.log
import train.run
import train.validate
from jaxsep.augment import AugmentConfig
from jaxsep.checkpoints import Checkpoints, run_lock
from jaxsep.codecs import STFT, Codec, Log, Mask
from jaxsep.distillation import Distillation
from jaxsep.errors import UserError
from jaxsep.fine_tuning import FineTuning
from jaxsep.hub import save_model
from jaxsep.losses import SNR
from jaxsep.networks import CNNAutoencoder, FeedForward, LSTMMask
from jaxsep.optimizers import SGD, AdamW, Cosine
from jaxsep.separator import Separator
from jaxsep.system import System, SystemConfig
from jaxsep.training import init_state
from train.__main__ import main
from train.config import DataConfig, TrainConfig, changed_fields, load_config
from train.data.bank import build_bank
from train.data.batches import batches
from train.data.excerpts import Excerpts
from train.data.recipes import SongFolders, StereoPairs, find_tracks
from train.validate import validate

ROOT = Path(__file__).parent.parent
STEPS = 12


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    """Stereo files: a low tone left, a high one right; and one each empty, silent, short."""
    folder = tmp_path_factory.mktemp("songs")
    rng = np.random.default_rng(1)
    time = np.arange(8000) / 4000
    for i in range(4):
        low, high = (
            np.sin(2 * np.pi * f * time + i) * rng.uniform(0.1, 0.4) for f in (200 + 20 * i, 1200 + 50 * i)
        )
        soundfile.write(folder / f"song{i}.wav", np.stack([low, high], axis=1), 4000, subtype="FLOAT")
    (folder / "empty.wav").write_bytes(b"")
    soundfile.write(folder / "silent.wav", np.zeros((8000, 2)), 4000)
    soundfile.write(folder / "short.wav", np.ones((100, 2)) / 2, 4000)
    soundfile.write(folder / "mono.wav", np.ones(8000) / 2, 4000)
    return folder


@pytest.fixture
def config(songs, tmp_path):
    return TrainConfig(
        system=SystemConfig(
            sources=("high", "low"),
            residual="low",
            sample_rate=4000,
            codec=Codec(STFT(n_fft=128, hop_length=32), scale=Log()),
            network=LSTMMask(layers=1, width=8, input_norm=True, dropout=0.2, bidirectional=True),
            segment_seconds=1.0,
            overlap_seconds=0.1,
        ),
        data=DataConfig(
            StereoPairs(channels=("low", "high")),
            train=str(songs),
            valid=str(songs),
            seconds=0.5,
            cache=str(tmp_path / "cache"),
        ),
        loss=SNR(),
        augment=AugmentConfig(gain_db=2.0, speed_semitones=1.0, polarity=True),
        optimizer=AdamW(learning_rate=0.01, clip_norm=5.0, schedule=Cosine()),
        out=str(tmp_path / "run"),
        steps=STEPS,
        batch_size=4,
        ema_decay=0.9,
        log_every=3,
        valid_every=6,
        save_every=4,
        examples=1,
    )


def test_validation_leaves_out_what_is_silent_but_for_rounding(config, rng):
    system = System(config.system)
    variables = init_state(system, config.optimizer(1), 0).variables()
    tracks = rng.standard_normal((2, 2, 1, 4000)).astype(np.float32)
    tracks[1, 0] *= 1e-6

    def recordings(*chosen):
        return SimpleNamespace(
            names=[str(i) for i in chosen],
            lengths=np.full(len(chosen), 4000),
            track=lambda i: tracks[chosen[i]],
        )

    both, first = (validate(system, variables, recordings(*which)) for which in ((0, 1), (0,)))
    assert config.system.sources == ("high", "low")
    assert both.mean["high"] == first.mean["high"]
    assert both.mean["low"] != first.mean["low"]


def test_the_residual_is_scored_as_a_separator_gives_it(config, rng):
    """What the others leave, though masks of their own do not sum to 1."""
    network = LSTMMask(layers=1, width=8, activation="sigmoid")
    codec = dataclasses.replace(config.system.codec, head=Mask())
    system = System(dataclasses.replace(config.system, network=network, codec=codec))
    variables = system.init(jax.random.key(3))
    track = rng.standard_normal((2, 1, 4000)).astype(np.float32)
    recordings = SimpleNamespace(names=["x"], lengths=np.array([4000]), track=lambda i: track)
    found = validate(system, variables, recordings, examples=1)
    mixture = track.sum(axis=0)
    stems = Separator(system, variables)(mixture, config.system.sample_rate)
    for name in config.system.sources:
        np.testing.assert_allclose(found.examples["x"][name], stems[name], atol=1e-4)


def test_a_stem_that_is_silent_where_its_source_is_not_scores_worse_than_any_other(rng):
    sources = rng.standard_normal((2, 1, 400)).astype(np.float32)
    mixture = sources.sum(axis=0)
    found = train.validate._improvement(sources, np.stack([0 * mixture, mixture]), mixture)
    np.testing.assert_allclose(found, [-60, 0], atol=1e-3)
    alone = np.stack([sources[0], 0 * sources[0]])
    found = train.validate._improvement(alone, np.stack([0.9 * sources[0] + 0.01, 0 * mixture]), sources[0])
    assert not np.isfinite(found).any()  # nothing to improve: left out
    silent = np.stack([0 * sources[0], sources[1]])
    assert np.isnan(train.validate._improvement(silent, np.stack([0 * mixture, mixture]), mixture)[0])


def final_state(config, step=STEPS):
    system = System(config.system)
    checkpoints = Checkpoints(config.out)
    like = init_state(system, config.optimizer(config.steps), config.seed, ema=True)
    return jax.device_get(checkpoints.state(step, like))


def identical(a, b):
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, a, b)))


def test_a_run_is_compiled_with_the_networks_options(config, monkeypatch):
    monkeypatch.setattr("train.program.compiler_options", lambda network: {"xla_no_such_option": "1"})
    with pytest.raises(jax.errors.JaxRuntimeError, match="no_such_option"):
        train.run.run(dataclasses.replace(config, steps=1))


@pytest.mark.parametrize("seconds, said", [(2.5, True), (2.0, False)])
def test_excerpts_longer_than_every_recording_are_said(config, capsys, seconds, said):
    longer = dataclasses.replace(config, data=dataclasses.replace(config.data, seconds=seconds))
    train.run._open(longer, "train", train.log.Log(Path(config.out), longer))
    line = "data.seconds=2.5: longer than every recording, at most 2.00 s"
    assert (line in capsys.readouterr().err) == said


def test_a_run_learns_logs_and_leaves_a_model(config, capsys):
    assert train.run.run(dataclasses.replace(config, steps=40)) == 0
    rows = [json.loads(line) for line in (Path(config.out) / "log.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row]
    assert losses[-1] < losses[0]
    assert {"grad_norm", "param_norm", "update_norm", "skipped", "seconds_per_step"} <= rows[0].keys()
    assert [row["step"] for row in rows if "valid/score" in row] == [6, 12, 18, 24, 30, 36, 40]
    said = capsys.readouterr().err
    for name in ("empty", "silent", "short", "mono"):
        assert f"skipped {name}:" in said
    assert list((Path(config.out) / "tensorboard").glob("events*"))
    separator = Separator.from_pretrained(config.out)
    assert separator.sources == ("high", "low")
    stems = separator(np.sin(np.arange(4000, dtype=np.float32)), 4000)
    np.testing.assert_allclose(stems["high"] + stems["low"], np.sin(np.arange(4000)), atol=1e-4)


@pytest.mark.parametrize("stops", in_time(((1,), (6, 12), (5, 8)), ((5, 8),)))
def test_an_interrupted_run_ends_with_the_same_bits(config, monkeypatch, tmp_path, stops):
    """SIGTERM after the given steps; each time the same command goes on."""
    train.run.run(config)
    broken = dataclasses.replace(config, out=str(tmp_path / "broken"))
    note = train.log.Log.step
    for stop in stops:

        def step(self, number, *rest, stop=stop):
            note(self, number, *rest)
            if number == stop:
                os.kill(os.getpid(), signal.SIGTERM)

        monkeypatch.setattr(train.log.Log, "step", step)
        assert train.run.run(broken) == 128 + signal.SIGTERM
    monkeypatch.setattr(train.log.Log, "step", note)
    assert train.run.run(broken) == 0
    assert identical(final_state(config), final_state(broken))
    logs = [(Path(c.out) / "log.jsonl").read_text().splitlines() for c in (config, broken)]
    for name in ("model.safetensors", "config.json"):
        best = [(Path(c.out) / "best" / name).read_text("latin-1") for c in (config, broken)]
        assert best[0].replace('"run"', '"broken"') == best[1]
    timed = ("seconds_per_step", "valid/share_of_time")
    last = [{k: v for k, v in json.loads(log[-1]).items() if k not in timed} for log in logs]
    assert 0 < json.loads(logs[0][-1])["valid/share_of_time"] < 1
    assert last[0] == last[1]


KILL = """
import dataclasses, os, pickle, signal, sys
import train.log, train.run
config, stop = pickle.load(open(sys.argv[1], "rb")), int(sys.argv[2])
note = train.log.Log.step
def step(self, number, *rest):
    note(self, number, *rest)
    if number == stop:
        os.kill(os.getpid(), signal.SIGKILL)
train.log.Log.step = step
sys.exit(train.run.run(config))
"""


def run_and_kill(config, tmp_path, step):
    import pickle

    (tmp_path / "config.pickle").write_bytes(pickle.dumps(config))
    command = [sys.executable, "-c", KILL, str(tmp_path / "config.pickle"), str(step)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, timeout=300)


@pytest.mark.slow
def test_a_killed_run_ends_with_the_same_bits(config, tmp_path):
    broken = dataclasses.replace(config, out=str(tmp_path / "broken"))
    assert run_and_kill(broken, tmp_path, 7).returncode == -signal.SIGKILL
    assert run_and_kill(broken, tmp_path, 0).returncode == 0
    assert run_and_kill(config, tmp_path, 0).returncode == 0
    assert identical(final_state(config), final_state(broken))


@pytest.mark.slow
def test_a_run_killed_at_random_instants_ends_with_the_same_bits(config, tmp_path):
    """Twenty times kill -9, at any instant: inside saves, validation and compilation too."""
    long = dataclasses.replace(config, steps=200, save_every=10, valid_every=50)
    assert run_and_kill(long, tmp_path, 0).returncode == 0
    broken = dataclasses.replace(long, out=str(tmp_path / "broken"))
    rng = np.random.default_rng(0)
    import pickle

    (tmp_path / "config.pickle").write_bytes(pickle.dumps(broken))
    for _ in range(20):
        command = [sys.executable, "-c", KILL, str(tmp_path / "config.pickle"), "0"]
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
        time.sleep(rng.uniform(3, 15))
        process.kill()
        process.wait()
    assert run_and_kill(broken, tmp_path, 0).returncode == 0
    assert identical(final_state(long, 200), final_state(broken, 200))


@pytest.mark.parametrize("damage", in_time(("flip", "truncate", "delete", "sums"), ("flip", "sums")))
def test_a_damaged_checkpoint_is_passed_over(config, capsys, damage):
    train.run.run(config)
    expected = final_state(config)
    newest = Path(config.out) / "checkpoints" / str(STEPS)
    victim = max((p for p in newest.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    data = bytearray(victim.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
        victim.write_bytes(data)
    elif damage == "sums":
        (newest.parent / "sha256" / f"{STEPS}.json").write_text('{"cut')
    elif damage == "truncate":
        victim.write_bytes(data[: len(data) // 2])
    else:
        victim.unlink()
    (newest.parent / "99").mkdir()  # an empty step folder, as a crash leaves
    capsys.readouterr()
    assert train.run.run(config) == 0
    said = capsys.readouterr().err
    assert f"checkpoint {STEPS} is damaged" in said
    assert "resuming at step 8" in said
    assert (Path(config.out) / "damaged" / str(STEPS)).is_dir()
    assert identical(final_state(config), expected)


def test_where_no_checkpoint_is_whole_nothing_is_started_over_unasked(config, capsys):
    short = dataclasses.replace(config, steps=6)
    train.run.run(short)
    out = Path(config.out)
    sums = sorted((out / "checkpoints" / "sha256").glob("*.json"))
    for path in sums:
        path.write_text("{}")
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file() and "tensorboard" not in p.parts}
    with pytest.raises(UserError, match=r"none of its 2 checkpoints is whole.*--from-scratch"):
        train.run.run(short)
    kept = {p: p.read_bytes() for p in before if p.name not in ("lock", "config.json")}
    assert all(before[p] == data for p, data in kept.items())
    assert train.run.run(dataclasses.replace(short, from_scratch=True)) == 0
    assert "starting over" in capsys.readouterr().err
    aside = {p.name for p in (out / "damaged").iterdir()}
    assert aside == {"4", "6", "best of run before 6"}
    assert Checkpoints(config.out).newest_whole() == 6


def test_checkpoints_without_checksums_are_neither_passed_over_nor_lost(config):
    short = dataclasses.replace(config, steps=6)
    train.run.run(short)
    checkpoints = Path(config.out) / "checkpoints"
    shutil.rmtree(checkpoints / "sha256")
    with pytest.raises(UserError, match="none of its 2 checkpoints is whole"):
        train.run.run(short)
    assert {p.name for p in checkpoints.iterdir()} >= {"4", "6"}


def test_a_run_whose_recordings_lie_on_the_device_is_that_of_the_host(config, tmp_path):
    """Excerpts that wrap, and sources of different recordings; sent by the host where they are too large."""
    logs = []
    for name, options in {"host": {}, "placed": {"on_device": True}, "far": {"device_gib": 1e-9}}.items():
        data = dataclasses.replace(config.data, **({"on_device": name != "host"} | options))
        run = dataclasses.replace(config, data=data, out=str(tmp_path / name))
        assert train.run.run(run) == 0
        logs.append([row["loss"] for row in train.log.read_log(tmp_path / name) if "loss" in row])
    np.testing.assert_allclose(logs[1], logs[0], rtol=2e-4)  # another program rounds otherwise
    np.testing.assert_array_equal(logs[2], logs[0])


@pytest.mark.slow
def test_a_run_whose_state_is_spread_over_the_devices_goes_on_as_any_other(config, tmp_path):
    """Its checkpoints are those of any run, and its model is whole."""
    network = LSTMMask(layers=1, width=128)
    system, out = dataclasses.replace(config.system, network=network), str(tmp_path / "spread")
    config = dataclasses.replace(config, system=system, optimizer=SGD(learning_rate=0.01))
    assert train.run.run(config) == 0
    spread = dataclasses.replace(config, out=out, fsdp=True)
    assert train.run.run(dataclasses.replace(spread, steps=STEPS // 2)) == 0
    assert Checkpoints(out).newest_whole() == STEPS // 2
    assert train.run.run(dataclasses.replace(spread, fsdp=False)) == 0
    found, expected = (jax.tree.leaves(final_state(c).params) for c in (spread, config))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
    assert Separator.from_pretrained(out).sources == ("high", "low")


def test_what_is_saved_is_the_state_as_it_was_though_the_next_step_takes_its_place(tmp_path):
    step = jax.jit(lambda state: {"x": state["x"] + 1}, donate_argnums=0)
    state, checkpoints = {"x": jax.numpy.zeros(1_000_000)}, Checkpoints(tmp_path)
    for number in range(3):
        checkpoints.save(number, state, {"number": number})
        for _ in range(10):
            state = step(state)
    checkpoints.close()
    saved = Checkpoints(tmp_path)
    assert saved.steps() == [1, 2] and saved.config(2)["number"] == 2
    np.testing.assert_array_equal(saved.state(2, state)["x"], 20)
    assert saved.damage(1) == saved.damage(2) == []
    saved._sum_file(2).write_text("[]")
    assert saved.damage(2) == [saved._sum_file(2).name]


def test_notes_are_saved_as_they_were_and_a_whole_step_is_never_written_over(tmp_path):
    checkpoints, notes = Checkpoints(tmp_path), {"validated": 1}
    for step in range(1, 6):
        notes["validated"] = step
        checkpoints.save(step, {"x": jax.numpy.zeros(3)}, {"notes": notes})
        notes["validated"] = -1
    checkpoints.wait()
    assert [checkpoints.config(step)["notes"]["validated"] for step in checkpoints.steps()] == [4, 5]
    with pytest.raises(ValueError, match="keep=1: expected an integer of at least 2"):
        Checkpoints(tmp_path, keep=1)
    with pytest.raises(UserError, match="there is a whole one"):
        checkpoints.save(5, {"x": jax.numpy.ones(3)}, {})
    assert checkpoints.steps() == [4, 5] and checkpoints.damage(5) == []


def test_a_step_that_was_never_finished_does_not_push_out_whole_ones(tmp_path):
    checkpoints, state = Checkpoints(tmp_path), {"x": jax.numpy.zeros(3)}
    for number in range(1, 6):
        checkpoints.save(number, state, {})
        checkpoints.wait()
        assert 1 in checkpoints.steps() or number > 2
        if number in (2, 4):  # as if the process had died before its checksums were there
            (tmp_path / "checkpoints" / "sha256" / f"{number}.json").unlink()
    assert checkpoints.steps() == [3, 5]


def test_a_save_that_fails_in_the_background_is_told_at_the_next(tmp_path, monkeypatch):
    checkpoints, state = Checkpoints(tmp_path), {"x": jax.numpy.zeros(3)}
    checkpoints.save(1, state, {})
    checkpoints.wait()
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "_hashes", lambda self, step: (_ for _ in ()).throw(OSError("full")))
        checkpoints.save(2, state, {})
        with pytest.raises(UserError, match=r"2: the checkpoint could not be saved \(full\)"):
            checkpoints.save(3, state, {})
    checkpoints.save(3, state, {})
    checkpoints.close()
    assert Checkpoints(tmp_path).steps() == [1, 3]


def test_another_config_is_refused_unless_allowed(config):
    train.run.run(dataclasses.replace(config, steps=4))
    other = dataclasses.replace(config, steps=4, seed=7, batch_size=8)
    before = (Path(config.out) / "config.json").read_text()
    with pytest.raises(UserError, match="batch_size: 4 -> 8; seed: 0 -> 7"):
        train.run.run(other)
    assert (Path(config.out) / "config.json").read_text() == before
    assert train.run.run(dataclasses.replace(other, allow_changes=True)) == 0
    wider = dataclasses.replace(config.system, network=dataclasses.replace(config.system.network, width=9))
    with pytest.raises(UserError, match="holds the state of another network"):
        train.run.run(dataclasses.replace(other, system=wider, allow_changes=True))
    assert changed_fields({"data": {"cache": "a", "remix": 0}}, {"data": {"cache": "b", "remix": 0}}) == []


def test_a_second_trainer_is_refused(config):
    with run_lock(config.out), pytest.raises(UserError, match="another process"):
        train.run.run(config)


@pytest.mark.parametrize("rate", in_time((1e25, 1e30, 1e38), (1e25, 1e38)))
def test_a_run_gone_bad_stops_and_names_the_steps(config, rate):
    """Whether the loss still looks finite or not: a ratio mask of infinite outputs is one half."""
    bad = dataclasses.replace(
        config, optimizer=SGD(learning_rate=rate), max_bad_steps=3, steps=30, valid_every=100
    )
    with pytest.raises(UserError, match=r"not finite in steps \d+ to \d+; the last good step is \d+; .*song"):
        train.run.run(bad)
    assert not (Path(config.out) / "best").exists()


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_a_model_that_is_not_finite_has_no_score(config, rng, value):
    system = System(config.system)
    variables = init_state(system, config.optimizer(1), 0).variables()
    variables["params"]["heads"]["bias"] = variables["params"]["heads"]["bias"].at[0].set(value)
    with pytest.raises(UserError, match="not finite"):
        validate(system, variables, SimpleNamespace(names=[], lengths=np.zeros(0)))


def test_fine_tuning_starts_from_another_model(config, tmp_path, capsys):
    train.run.run(dataclasses.replace(config, steps=6))
    tuned = dataclasses.replace(config, steps=1, init_from=config.out, out=str(tmp_path / "tuned"))
    assert train.run.run(tuned) == 0
    assert "starting from the weights" in capsys.readouterr().err
    narrow = dataclasses.replace(config.system.network, width=9)
    wider = dataclasses.replace(config.system, network=narrow, sources=("low", "high"))
    assert train.run.run(dataclasses.replace(tuned, out=str(tmp_path / "wider"), system=wider)) == 0
    said = capsys.readouterr().err  # what fits is taken, what does not is listed
    assert "its sources are high, low" in said and "fresh: " in said and "params/heads/kernel" in said
    network = FeedForward(layers=(7,), activation="relu")
    apart = dataclasses.replace(config.system, network=network)
    with pytest.raises(UserError, match="none of its arrays fits"):
        train.run.run(dataclasses.replace(tuned, out=str(tmp_path / "apart"), system=apart))
    frozen = FineTuning(freeze=("no_such/*",))
    with pytest.raises(UserError, match=r"no parameter is called 'no_such/\*'"):
        train.run.run(dataclasses.replace(tuned, out=str(tmp_path / "none"), fine_tuning=frozen))


def test_a_run_learns_from_another_model(config, tmp_path, capsys):
    """Goes on bit for bit, and says what cannot teach it."""
    train.run.run(dataclasses.replace(config, steps=4))
    taught = Distillation(config.out, share=0.7)
    student = dataclasses.replace(config, steps=4, save_every=2, distillation=taught)
    outs = [str(tmp_path / name) for name in ("whole", "parts")]
    assert train.run.run(dataclasses.replace(student, out=outs[0])) == 0
    checkpoint = Path(outs[0]) / "checkpoints" / "4"
    shutil.copytree(outs[0], outs[1], ignore=lambda _, names: [n for n in names if n == checkpoint.name])
    assert train.run.run(dataclasses.replace(student, out=outs[1])) == 0
    assert "resuming at step 2" in capsys.readouterr().err
    whole, parts = (Checkpoints(Path(out), 2) for out in outs)
    state = init_state(System(config.system), config.optimizer(4), config.seed, ema=config.ema_decay > 0)
    jax.tree.map(np.testing.assert_array_equal, whole.state(4, state), parts.state(4, state))
    inside = dataclasses.replace(taught, network="student")
    other = dataclasses.replace(student, out=str(tmp_path / "inside"), distillation=inside, steps=1)
    assert train.run.run(other) == 0
    wider = dataclasses.replace(config.system.network, width=9)
    apart = dataclasses.replace(other.system, network=wider)
    with pytest.raises(UserError, match="network='student': the model lacks params/"):
        train.run.run(dataclasses.replace(other, out=str(tmp_path / "apart"), system=apart))
    fixed = System(dataclasses.replace(config.system, network=CNNAutoencoder(frames=300, time_kernel=3)))
    save_model(tmp_path / "fixed", fixed, fixed.init(jax.random.key(0)))
    teacher = Distillation(str(tmp_path / "fixed"))
    with pytest.raises(UserError, match=r"fixed: takes windows of .* s alone, not data.seconds"):
        train.run.run(dataclasses.replace(student, out=str(tmp_path / "windows"), distillation=teacher))
    swapped = dataclasses.replace(config.system, sources=("low", "high"))
    with pytest.raises(UserError, match=r"its sources are \('high', 'low'\); expected \('low', 'high'\)"):
        train.run.run(dataclasses.replace(student, out=str(tmp_path / "swapped"), system=swapped))


def excerpts(config, seed=0, count=40, **data):
    options = dataclasses.replace(config.data, recipe=dataclasses.replace(config.data.recipe, **data))
    tracks = find_tracks(options, Path(options.train), config.system.sources)
    bank = build_bank(tracks, 4000, options.cache)
    return Excerpts(bank, options.recipe, seed, 1000, count)


def test_a_batch_is_a_function_of_seed_and_step(config, monkeypatch):
    whole = list(batches(excerpts(config), 4, 0, threads=0))
    assert len(whole) == 10
    for threads, start in ((1, 0), (4, 0), (2, 7)):
        for a, b in zip(batches(excerpts(config), 4, start, threads), whole[start:], strict=True):
            np.testing.assert_array_equal(a["sources"], b["sources"])
    assert not np.array_equal(
        next(batches(excerpts(config, seed=1), 4, 0, 1))["sources"], whole[0]["sources"]
    )
    monkeypatch.setattr(jax, "local_device_count", lambda: 2)  # of four on two hosts
    halves = []
    for host in range(2):
        monkeypatch.setattr(jax, "process_index", lambda host=host: host)
        halves.append(list(batches(excerpts(config), 4, 3, 2)))
    for k, (a, b) in enumerate(zip(*halves, strict=True)):
        np.testing.assert_array_equal(np.concatenate([a["sources"], b["sources"]]), whole[3 + k]["sources"])
        np.testing.assert_array_equal(np.concatenate([a["id"], b["id"]]), np.arange(4))
    fixed = []  # six examples, and the same again
    for host in range(2):
        monkeypatch.setattr(jax, "process_index", lambda host=host: host)
        fixed.append(list(batches(excerpts(config), 4, 3, 2, distinct=6)))
    for k, pair in enumerate(zip(*fixed, strict=True), 3):
        drawn = np.stack([whole[n // 4]["sources"][n % 4] for n in (4 * k + np.arange(4)) % 6])
        np.testing.assert_array_equal(np.concatenate([half["sources"] for half in pair]), drawn)


def test_padding_has_no_weight(config, monkeypatch):
    monkeypatch.setattr(jax, "local_device_count", lambda: 2)  # of four on two hosts
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    uneven = next(batches(excerpts(config), 5, 0, 2))
    assert uneven["weight"].tolist() == [1, 0, 0, 0]  # the second host's: one example and padding
    assert next(batches(excerpts(config), 5, 0, 2, spread=False))["weight"].tolist() == [1] * 5


def test_excerpts_are_what_the_files_hold(config, songs):
    source = excerpts(config, remix=0.0, circular=False)
    for i in range(10):
        example = source[i]
        track = example["track"][0]
        audio, _ = soundfile.read(songs / f"{source.bank.names[track]}.wav", dtype="float32")
        both = audio[:, ::-1].T  # channels are (low, high), sources (high, low)
        starts = [s for s in range(7001) if np.array_equal(both[:, s : s + 1000], example["sources"][:, 0])]
        assert len(starts) >= 1
    remixed = excerpts(config, remix=1.0)
    assert any(len(set(remixed[i]["track"])) == 2 for i in range(10))


def test_song_folders_sum_the_files_of_a_source(tmp_path, rng):
    audio = rng.standard_normal((3, 4000)).astype(np.float32) * 0.1
    for song in ("one", "two"):
        (tmp_path / song).mkdir()
        for name, x in zip(("drums", "bass", "other"), audio, strict=True):
            soundfile.write(tmp_path / song / f"{name}.wav", x, 4000, subtype="FLOAT")
    (tmp_path / "half").mkdir()
    soundfile.write(tmp_path / "half" / "drums.wav", audio[0], 4000)
    files = {"drums": ("drums.*",), "rest": ("bass.*", "other.*")}
    options = DataConfig(SongFolders(files=files), cache=str(tmp_path / "cache"))
    tracks = find_tracks(options, tmp_path, ("drums", "rest"))
    assert [t.name for t in tracks] == ["one", "two"]
    bank = build_bank(tracks, 4000, options.cache)
    np.testing.assert_allclose(bank.track(1)[:, 0], [audio[0], audio[1] + audio[2]], atol=1e-6)
    assert isinstance(bank.audio, np.memmap)
    assert len(find_tracks(options, tmp_path, ("bass",))) == 2  # bass.* where nothing is said
    with pytest.raises(UserError, match=r"no folder .* \(drums: drums\.\*; voice: voice\.\*\)"):
        find_tracks(options, tmp_path, ("drums", "voice"))


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["nowhere.yaml"], "nowhere.yaml: cannot be read"),
        (["configs/vocals_mir1k.yaml"], "JAXSEP_DATA is not set"),
        (
            ["configs/vocals_mir1k.yaml", "--data.train", "/nowhere", "--data.valid", "/nowhere"],
            "no such folder",
        ),
    ],
)
def test_what_is_missing_is_said_plainly(arguments, part, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("JAXSEP_DATA", raising=False)
    extra = ["--out", str(tmp_path / "run")] if len(arguments) > 1 or "vocals" in arguments[0] else []
    assert main([*arguments, *extra]) == 2
    assert part in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("stepz: 3", "config.stepz: unknown"),
        ("log_every: 0", "log_every=0"),
        ("data: {recipe: {remix: 7.0}}", "remix=7.0"),
        ("steps: many", "config.steps='many': expected int"),
        ("system: {network: {name: magic}}", "config.system.network.name='magic'"),
        ("system: {codec: {transform: {n_fft: -4}}}", "n_fft=-4"),
        ("system: {codec: {transform: {n_fft: 1000000000}}}", "n_fft=1000000000"),
        ("system: {sources: [a/b], residual: a/b}", "a/b"),
        ("{system: {network: {name: cnn_autoencoder}}, data: {seconds: 3.0}}", "takes 517 frames, not 188"),
        ("loss: !!python/object/apply:os.system ['true']", "not plain YAML"),
        ("[" * 5000, "not plain YAML"),
    ],
)
def test_a_wrong_config_is_refused_by_field(tmp_path, text, part):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        load_config(str(path), [])
    assert part in str(error.value)


def test_excerpts_and_a_networks_window_are_given_together(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("system: {codec: {transform: {n_fft: 512, hop_length: 128}}}")
    network = ["--system.network.name", "cnn_autoencoder"]
    with pytest.raises(UserError, match=r"takes 517 frames, not 501; expected 4\.1280 s"):
        load_config(str(path), network)
    config = load_config(str(path), [*network, "--data.seconds", "4.128"])
    assert config.excerpt_samples == 66048


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_config_loads_and_can_be_overridden(path):
    config = load_config(str(path), ["--system.overlap-seconds", "0.3", "--steps", "3"])
    assert (config.system.overlap_seconds, config.steps) == (0.3, 3)
    inner = ".network" if hasattr(config.system.network, "network") else ""  # one that holds another
    network = getattr(config.system.network, "network", config.system.network)
    option = next(f for f in ("width", "filters", "layers") if hasattr(network, f))
    network = load_config(str(path), [f"--system.network{inner}.{option}", "8"]).system.network
    assert getattr(getattr(network, "network", network), option) in (8, (8,))
    head = path.read_text().split("\nsystem:")[0]
    for word in ("Source:", "Command:", "Time:", "Score:"):
        assert word in head
