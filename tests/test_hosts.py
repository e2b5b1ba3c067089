"""Two hosts, each a process of its own: the run of one, through kills and signals, and back to one."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
import soundfile
import yaml

from jaxsep.checkpoints import Checkpoints
from jaxsep.errors import UserError
from jaxsep.system import System
from jaxsep.training import init_state
from train import hosts
from train.config import load_config
from train.log import read_log

ROOT = Path(__file__).parent.parent
STEPS = 20


@pytest.fixture
def job(tmp_path):
    """A small run with batch norm and dropout, whose batch of 5 does not divide by two devices."""
    folder = tmp_path / "songs"
    folder.mkdir()
    rng = np.random.default_rng(1)
    for i in range(4):
        x = rng.standard_normal((8000, 2)) * [0.3, 0.1]
        soundfile.write(folder / f"song{i}.wav", x.astype(np.float32), 4000, subtype="FLOAT")
    config = {
        "system": {
            "sources": ["high", "low"],
            "residual": "low",
            "sample_rate": 4000,
            "codec": {"transform": {"n_fft": 128, "hop_length": 32}, "scale": "log"},
            "network": {"name": "unet", "levels": 2, "filters": 4, "dropout": 0.2},
            "segment_seconds": 1.0,
            "overlap_seconds": 0.1,
        },
        "data": {
            "recipe": {"name": "stereo_pairs", "channels": ["low", "high"]},
            "train": str(folder),
            "valid": str(folder),
            "seconds": 0.5,
            "cache": str(tmp_path / "cache"),
        },
        "optimizer": {"name": "sgd", "learning_rate": 0.01},
        "steps": STEPS,
        "batch_size": 5,
        "log_every": 5,
        "valid_every": 10,
        "save_every": 5,
        "examples": 0,
    }
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def port():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def begin(job, out, count, *options, devices=1):
    """Start the run on ``count`` hosts of so many devices."""
    flags = [f for f in os.environ["XLA_FLAGS"].split() if "device_count" not in f]
    environment = dict(
        os.environ, XLA_FLAGS=" ".join([*flags, f"--xla_force_host_platform_device_count={devices}"])
    )
    command = [sys.executable, "-m", "train", str(job), "--out", str(out), *options]
    where = f"localhost:{port()}"
    job_of = [[], *([] for _ in range(count - 1))]
    if count > 1:
        job_of = [["--coordinator", where, "--hosts", str(count), "--host", str(i)] for i in range(count)]
    return [
        subprocess.Popen(
            [*command, *own], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        for own in job_of
    ]


def finish(processes):
    """What each host said, and how it ended."""
    said = [p.communicate(timeout=240)[0].decode() for p in processes]
    return [p.returncode for p in processes], said


def state(job, out, step=STEPS):
    config = load_config(str(job), [])
    like = init_state(System(config.system), config.optimizer(config.steps), config.seed)
    return jax.device_get(Checkpoints(out).state(step, like))


def assert_near(a, b, atol=1e-5):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, atol=atol, rtol=1e-4)


@pytest.fixture
def one(job, tmp_path):
    """The run on one host of one device."""
    codes, said = finish(begin(job, tmp_path / "one", 1))
    assert codes == [0], said
    return state(job, tmp_path / "one")


@pytest.mark.slow
def test_two_hosts_train_what_one_does(job, one, tmp_path):
    codes, said = finish(begin(job, tmp_path / "two", 2))
    assert codes == [0, 0], said
    assert_near(state(job, tmp_path / "two"), one)
    rows = [read_log(tmp_path / name) for name in ("one", "two")]
    for alone, together in zip(*rows, strict=True):
        for key in alone.keys() & {"step", "loss", "valid/score"}:
            assert together[key] == pytest.approx(alone[key], abs=1e-4), key
    assert "step 20/20" in said[0] and "step" not in said[1]
    assert json.loads((tmp_path / "two" / "best" / "config.json").read_text())["name"] == "two"


@pytest.mark.slow
def test_a_signal_to_one_host_stops_both_behind_the_same_step(job, one, tmp_path):
    """And the run goes on, on one host."""
    out = tmp_path / "stopped"
    processes = begin(job, out, 2)
    wait_for(out, 5, processes)
    processes[1].send_signal(signal.SIGTERM)
    codes, said = finish(processes)
    assert codes == [143, 143], said
    steps = Checkpoints(out).steps()
    assert f"stopped at step {steps[-1]}" in said[0]
    codes, said = finish(begin(job, out, 1))
    assert codes == [0], said
    assert f"resuming at step {steps[-1]}" in said[0]
    assert_near(state(job, out), one)


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2])
def test_a_killed_host_costs_no_more_than_the_steps_since_the_last_save(job, one, tmp_path, count):
    out = tmp_path / "killed"
    processes = begin(job, out, 2)
    wait_for(out, 5, processes)
    for process in reversed(processes):  # what is left of a job, its launcher ends
        process.kill()
    finish(processes)
    codes, said = finish(begin(job, out, count))
    assert codes == [0] * count, said
    assert "resuming at step" in said[0]
    assert_near(state(job, out), one)


@pytest.mark.slow
def test_a_run_of_one_host_goes_on_on_two(job, one, tmp_path):
    out = tmp_path / "grown"
    processes = begin(job, out, 1, devices=2)
    wait_for(out, 5, processes)
    processes[0].send_signal(signal.SIGTERM)
    assert finish(processes)[0] == [143]
    codes, said = finish(begin(job, out, 2))
    assert codes == [0, 0], said
    assert_near(state(job, out), one)


@pytest.mark.slow
def test_a_second_job_in_the_folder_is_refused_on_every_host(job, tmp_path):
    out = tmp_path / "held"
    processes = begin(job, out, 1, "--steps", "100000")
    wait_for(out, 5, processes)
    codes, said = finish(begin(job, out, 2))
    processes[0].kill()
    finish(processes)
    assert codes == [2, 2]
    assert all("another process is training in this folder" in text for text in said)


def wait_for(out, step, processes):
    """Wait until a checkpoint of that step is whole."""
    deadline = time.monotonic() + 120
    while not (out / "checkpoints" / "sha256" / f"{step}.json").exists():
        assert all(p.poll() is None for p in processes), finish(processes)
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_options_that_do_not_fit_together_are_refused():
    with pytest.raises(UserError, match="give all three"):
        hosts.start("localhost:1234", 2)
    with pytest.raises(UserError, match="--host 2: expected 0 to 1"):
        hosts.start("localhost:1234", 2, 2)


def test_alone_nothing_is_started(monkeypatch):
    for name in ("SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE"):
        monkeypatch.setenv(name, "1")
    hosts.start()
    assert hosts.first() and not hosts.several()
    assert hosts.told(lambda: [1, None, "a"]) == [1, None, "a"]


@pytest.mark.slow
@pytest.mark.parametrize("devices", [2, 4, 8])
def test_any_number_of_devices_trains_what_one_does(job, one, tmp_path, devices):
    """Twenty steps of an uneven batch: the same losses within 1e-5."""
    codes, said = finish(begin(job, tmp_path / "many", 1, devices=devices))
    assert codes == [0], said
    losses = [[row["loss"] for row in read_log(tmp_path / name) if "loss" in row] for name in ("one", "many")]
    np.testing.assert_allclose(losses[1], losses[0], atol=1e-5, rtol=1e-5)
    assert_near(state(job, tmp_path / "many"), one)
