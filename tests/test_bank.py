"""Decoded recordings: whole, those that were meant, and nothing left by what stops the decoding."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from test_train_step import in_time

from train.data.bank import Signal, Track, build_bank
from train.data.listing import shuffled

ROOT = Path(__file__).parent.parent


def write(path, seed, seconds=1.0, subtype="FLOAT"):
    x = np.random.default_rng(seed).standard_normal(round(8000 * seconds)) / 9
    soundfile.write(path, x, 8000, subtype=subtype)
    return Track(path.stem, ((Signal(str(path)),),))


@pytest.fixture
def build(tmp_path):
    return lambda *tracks: build_bank(list(tracks), 8000, tmp_path / "cache")


@pytest.mark.parametrize("damage", ["cut", "gone", "longer", "index"])
def test_a_damaged_cache_is_decoded_again(tmp_path, build, damage):
    track = write(tmp_path / "a.wav", 0)
    whole = build(track).track(0).copy()
    (audio,), (index,) = (list((tmp_path / "cache").glob(f"*.{end}")) for end in ("f32", "json"))
    if damage == "index":
        index.write_text(index.read_text()[:-9])
    elif damage == "gone":
        audio.unlink()
    else:
        data = audio.read_bytes()
        audio.write_bytes(data[: len(data) // 2] if damage == "cut" else data + data)
    np.testing.assert_array_equal(build(track).track(0), whole)


def test_other_sound_under_the_same_name_is_other_data(tmp_path, build):
    # Files of floats say when they were written.
    digests = [build(write(tmp_path / "a.wav", seed, subtype="PCM_16")).digest() for seed in (0, 1, 0)]
    assert digests[0] != digests[1]
    assert digests[0] == digests[2]


def test_a_file_that_is_not_there_is_skipped_and_listed(tmp_path, build):
    there = write(tmp_path / "a.wav", 0)
    (tmp_path / "b.wav").symlink_to(tmp_path / "nothing.wav")
    bank = build(there, Track("b", ((Signal(str(tmp_path / "b.wav")),),)))
    assert bank.names == ["a"]
    assert "b.wav: there is no such file" in bank.skipped[0]


@pytest.mark.parametrize("number", in_time((signal.SIGTERM, signal.SIGINT), (signal.SIGTERM,)))
def test_a_signal_while_decoding_leaves_nothing(tmp_path, number):
    (tmp_path / "songs").mkdir()
    for i in range(4):
        x = np.random.default_rng(i).standard_normal((4_000_000, 2)).astype(np.float32) / 9
        soundfile.write(tmp_path / "songs" / f"{i}.flac", x, 8000)
    config = {
        "system": {"sources": ["a", "b"], "residual": "b", "sample_rate": 44100},
        "data": {
            "recipe": {"name": "stereo_pairs", "channels": ["a", "b"]},
            "train": str(tmp_path / "songs"),
            "valid": str(tmp_path / "songs"),
            "cache": str(tmp_path / "cache"),
        },
        "out": str(tmp_path / "run"),
    }
    (tmp_path / "run.yaml").write_text(json.dumps(config))
    # A shell without job control starts what it puts in the background with SIGINT ignored.
    heard = "signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"import signal, sys; {heard}; from train.__main__ import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, str(tmp_path / "run.yaml")]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ}, stderr=subprocess.PIPE, text=True)
    for _ in range(1000):
        if list((tmp_path / "cache").glob("*.part")):
            break
        time.sleep(0.05)
    else:
        pytest.fail(f"nothing was decoded: {process.stderr.read()}")
    process.send_signal(number)
    try:
        _, said = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 128 + number
    assert "Traceback" not in said
    assert list((tmp_path / "cache").iterdir()) == []


def test_recordings_of_one_name_are_two(tmp_path, build):
    (tmp_path / "other").mkdir()
    tracks = [write(tmp_path / "a.wav", 0), write(tmp_path / "other" / "a.wav", 1)]
    for bank in (build(*tracks), build(*tracks)):
        assert bank.names == ["a", "a"] and bank.tracks == tracks


@pytest.mark.skipif(os.name != "posix", reason="names that are not UTF-8")
def test_a_name_that_is_no_utf8_is_decoded_and_shuffled(tmp_path, build):
    name = os.fsdecode(b"caf\xe9.wav")
    try:
        plain = write(tmp_path / "plain.wav", 0)
        path = (tmp_path / "plain.wav").rename(tmp_path / name)
    except OSError:
        pytest.skip("the file system takes no such name")
    track = Track(path.stem, ((Signal(str(path)),),))
    assert build(track).names == [track.name] != [plain.name]
    assert shuffled([track.name]) == [track.name]
