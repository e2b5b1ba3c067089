"""Files that users really have: damaged, odd, long-named, loud; and disks that fail."""

import contextlib
import os
import struct
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile

from jaxsep.audio import AudioReader, AudioWriter, read_audio
from jaxsep.cli import main
from jaxsep.codecs import STFT, Codec
from jaxsep.errors import AudioWarning, UserError
from jaxsep.hub import save_model
from jaxsep.networks import LSTMMask
from jaxsep.system import System, SystemConfig

RATE = 8000


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A small untrained model's folder."""
    import jax

    system = System(
        SystemConfig(
            sample_rate=RATE,
            codec=Codec(STFT(n_fft=256, hop_length=64)),
            network=LSTMMask(layers=1, width=8),
            segment_seconds=1.0,
            overlap_seconds=0.2,
        )
    )
    return save_model(tmp_path_factory.mktemp("models") / "tiny", system, system.init(jax.random.key(0)))


@pytest.fixture
def separate(model, tmp_path, capsys):
    """Run ``jaxsep separate`` into ``tmp_path/out``; return exit status, folder and messages."""

    def run(*files, options=()):
        command = [
            "separate",
            "-m",
            str(model),
            "-o",
            str(tmp_path / "out"),
            *options,
            "--",
            *map(str, files),
        ]
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            status = main(command)
        leftovers = [p.name for p in (tmp_path / "out").rglob("*") if p.name.endswith(".part")]
        assert leftovers == []
        return status, tmp_path / "out" / "tiny", capsys.readouterr().err

    return run


@pytest.fixture
def music(tmp_path):
    """Two tones, one second, in every format."""
    x = 0.2 * np.sin(np.arange(RATE)[:, None] * [0.3, 0.2]).astype(np.float32)
    for suffix in ("wav", "flac", "ogg", "mp3"):
        soundfile.write(tmp_path / f"song.{suffix}", x, RATE)
    return tmp_path


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_every_format_is_read_and_its_stems_sum_to_it(separate, music, suffix):
    path = music / f"song.{suffix}"
    status, folder, _ = separate(path)
    assert status == 0
    stems = [read_audio(folder / "song" / f"{s}.wav") for s in ("vocals", "accompaniment")]
    mixture = read_audio(path)
    assert stems[0].shape == mixture.shape
    np.testing.assert_allclose(sum(stems), mixture, atol=1e-4)
    assert soundfile.info(folder / "song" / "vocals.wav").subtype == "FLOAT"
    assert soundfile.info(folder / "song" / "vocals.wav").samplerate == RATE


@pytest.mark.parametrize(("suffix", "tolerance"), [("flac", 1e-6), ("ogg", 0.1), ("mp3", 0.2)])
def test_every_format_is_written(separate, music, suffix, tolerance):
    status, folder, _ = separate(music / "song.wav", options=["--format", suffix, "--stems", "vocals"])
    assert status == 0
    assert {p.name for p in (folder / "song").iterdir()} == {f"vocals.{suffix}", "source.json"}
    written = read_audio(folder / "song" / f"vocals.{suffix}")
    separate(music / "song.wav")
    expected = read_audio(folder / "song" / "vocals.wav")
    assert np.sqrt(np.mean((written[:, : expected.shape[1]] - expected) ** 2)) < tolerance * 0.2


def test_loud_floats_neither_wrap_nor_clip(separate, tmp_path, rng):
    x = rng.standard_normal((RATE, 1)).astype(np.float32)
    x *= 2 / np.abs(x).max()
    soundfile.write(tmp_path / "loud.wav", x, RATE, subtype="FLOAT")
    separate(tmp_path / "loud.wav")
    _, folder, _ = separate(tmp_path / "loud.wav", options=["--format", "flac"])
    wav, flac = (
        sum(read_audio(folder / "loud" / f"{s}.{f}") for s in ("vocals", "accompaniment"))
        for f in ("wav", "flac")
    )
    np.testing.assert_allclose(wav, x.T, atol=1e-4)
    gain = float(np.vdot(flac, x.T) / np.vdot(x, x))
    assert gain < 1
    np.testing.assert_allclose(flac, gain * x.T, atol=1e-4)


def test_what_a_format_cannot_hold_is_refused(separate, tmp_path):
    soundfile.write(tmp_path / "six.wav", np.zeros((500, 6)), RATE)
    soundfile.write(tmp_path / "odd.wav", np.zeros((500, 1)), 12345)
    for name, part in (("six.wav", "6 channels"), ("odd.wav", "12345 Hz")):
        status, folder, said = separate(tmp_path / name, options=["--format", "mp3"])
        assert status == 2
        assert part in said
        assert not list(folder.iterdir())
    assert separate(tmp_path / "six.wav", options=["--format", "wma"])[0] == 2
    assert separate(tmp_path / "six.wav")[0] == 0


@pytest.mark.parametrize(
    ("at", "form", "value"),
    [
        (24, "<I", 2**31 - 1),
        (24, "<I", 1),
        (24, "<I", 0),
        (22, "<H", 0),
        (22, "<H", 65535),
        (40, "<I", 2**32 - 16),
    ],
    ids=["2 GHz", "1 Hz", "0 Hz", "no channel", "65535 channels", "4 GB"],
)
def test_headers_that_state_absurd_numbers(separate, music, at, form, value):
    """What a header states makes neither work nor memory: it is refused, or what is there is read."""
    data = bytearray((music / "song.wav").read_bytes())
    struct.pack_into(form, data, at, value)
    (music / "odd.wav").write_bytes(data)
    start = time.perf_counter()
    status, folder, said = separate(music / "odd.wav")
    assert time.perf_counter() - start < 30
    if status == 0:
        assert read_audio(folder / "odd" / "vocals.wav").shape == (2, RATE)
    else:
        assert status == 2 and "odd.wav: " in said and not list(folder.glob("*/*"))


def damaged(folder):
    """Name -> bytes of files that cannot be separated."""
    song = {s: (folder / f"song.{s}").read_bytes() for s in ("wav", "flac", "mp3")}
    flac = bytearray(song["flac"])
    flac[5000:5010] = bytes(255 - b for b in flac[5000:5010])
    huge = bytearray(song["wav"])
    huge[24:28] = struct.pack("<I", 2**31 - 1)
    many, none = bytearray(song["wav"]), bytearray(song["wav"])
    many[22:24], none[22:24] = struct.pack("<H", 65535), struct.pack("<H", 0)
    nan = np.full((100, 1), np.nan, np.float32)
    soundfile.write(folder / "nan.wav", nan, RATE, subtype="FLOAT")
    soundfile.write(folder / "none.wav", np.zeros((0, 1)), RATE)
    return {
        "empty.wav": b"",
        "text.wav": b"this is not audio\n" * 100,
        "head.wav": song["wav"][:20],
        "frameless.wav": (folder / "none.wav").read_bytes(),
        "half.flac": song["flac"][: len(song["flac"]) // 2],
        "flipped.flac": bytes(flac),
        "garbage.mp3": song["mp3"][:2000] + bytes(range(256)) * 2 + song["mp3"][2000:],
        "rate.wav": bytes(huge),
        "channels.wav": bytes(many),
        "channelless.wav": bytes(none),
        "nan.wav": (folder / "nan.wav").read_bytes(),
    }


def test_a_file_that_cannot_be_read_is_named_and_the_rest_is_done(separate, music):
    bad = damaged(music)
    for name, data in bad.items():
        (music / name).write_bytes(data)
    missing, empty = music / "missing.wav", music / "nothing"
    empty.mkdir()
    status, folder, said = separate(
        music / "song.wav", *(music / n for n in bad), missing, empty, music / "song.flac"
    )
    assert status == 2
    lines = [line for line in said.splitlines() if line]
    assert len(lines) == len(bad) + 2
    for line, name in zip(lines, [*bad, "missing.wav", "nothing"], strict=True):
        assert name in line
        assert "Traceback" not in line
    assert {p.name for p in folder.iterdir()} == {"song", "song-2"}


@pytest.mark.parametrize("suffix", ["wav", "ogg", "mp3"])
def test_a_file_that_is_cut_off_is_used_with_a_warning_or_refused(separate, music, suffix):
    x = np.random.default_rng(0).standard_normal((4 * RATE, 1)) * 0.1
    soundfile.write(music / f"long.{suffix}", x, RATE)
    data = (music / f"long.{suffix}").read_bytes()
    (music / f"cut.{suffix}").write_bytes(data[: len(data) // 2])
    assert separate(music / f"cut.{suffix}", options=["--strict"])[0] == 2
    status, folder, said = separate(music / f"cut.{suffix}")
    assert status == 0
    assert "cut off" in said
    assert 0.5 * RATE < soundfile.info(folder / "cut" / "vocals.wav").frames < 3.9 * RATE
    with warnings.catch_warnings():
        warnings.simplefilter("error", AudioWarning)
        read_audio(music / f"long.{suffix}")


def test_samples_that_are_not_finite_can_be_zeroed(separate, tmp_path):
    x = np.ones((500, 1), np.float32) / 4
    x[10:13] = [[np.nan], [np.inf], [-np.inf]]
    soundfile.write(tmp_path / "nan.wav", x, RATE, subtype="FLOAT")
    status, folder, said = separate(tmp_path / "nan.wav", options=["--sanitize"])
    assert status == 0
    assert "3 samples" in said
    total = read_audio(folder / "nan" / "vocals.wav") + read_audio(folder / "nan" / "accompaniment.wav")
    np.testing.assert_allclose(total[0, 10:13], 0, atol=1e-4)


@pytest.mark.parametrize(
    "name",
    [
        "歌 🎤.wav",
        'it\'s "quoted" & spaced.wav',
        "-o.wav",
        "n" * 190 + ".wav",
        "Cafe\u0301.wav",
        os.fsdecode(b"caf\xe9.wav"),
    ],
)
def test_any_name_works(separate, music, name):
    if sys.platform == "darwin" and "\udce9" in name:
        pytest.skip("macOS refuses names that are not UTF-8")
    path = music / name
    path.write_bytes((music / "song.wav").read_bytes())
    status, folder, _ = separate(path)
    assert status == 0
    assert (folder / Path(name).stem / "vocals.wav").exists()


def test_inputs_of_one_name_do_not_overwrite_each_other(separate, music, rng):
    (music / "other").mkdir()
    soundfile.write(music / "other" / "song.wav", rng.standard_normal((500, 1)) * 0.1, RATE)
    _, folder, _ = separate(music / "song.wav")
    first = (folder / "song" / "vocals.wav").read_bytes()
    separate(music / "other" / "song.wav")
    assert (folder / "song" / "vocals.wav").read_bytes() == first
    assert soundfile.info(folder / "song-2" / "vocals.wav").frames == 500
    separate(music / "song.wav")
    assert {p.name for p in folder.iterdir()} == {"song", "song-2"}


def test_an_output_that_leads_elsewhere_or_cannot_be_is_refused(separate, music, tmp_path):
    (tmp_path / "out" / "tiny").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "tiny" / "song").symlink_to(tmp_path / "elsewhere")
    status, _, said = separate(music / "song.wav")
    assert status == 2
    assert "leads out" in said
    assert not list((tmp_path / "elsewhere").iterdir())
    (tmp_path / "file").write_text("")
    assert main(["separate", str(music / "song.wav"), "-o", str(tmp_path / "file")]) == 2


def test_a_full_disk_leaves_nothing_under_a_final_name(separate, music, monkeypatch):
    written = AudioWriter.write
    calls = []

    def full(self, block):
        calls.append(1)
        if len(calls) > 1:
            raise UserError("song: could not be written (no space left on device)")
        written(self, block)

    monkeypatch.setattr(AudioWriter, "write", full)
    status, folder, said = separate(music / "song.wav")
    assert status == 2
    assert "no space" in said
    assert not list(folder.iterdir())


def test_a_writer_that_fails_says_so_and_cleans_up(tmp_path):
    writer = AudioWriter(tmp_path / "x.wav", RATE, 1)
    writer._file.close()  # as a broken file does, writing now fails
    with pytest.raises(UserError, match="could not be written"):
        writer.write(np.zeros((1, 10), np.float32))
    assert not list(tmp_path.iterdir())


def test_stems_of_one_file_appear_together_or_not_at_all(separate, music, monkeypatch):
    convert, calls = AudioWriter._convert, []

    def full(self, gain, clamp):
        calls.append(1)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        convert(self, gain, clamp)

    monkeypatch.setattr(AudioWriter, "_convert", full)
    status, folder, said = separate(music / "song.wav", options=["--format", "flac"])
    assert status == 2
    assert "No space" in said
    assert not list(folder.iterdir())


def test_stems_of_a_folder_that_is_not_ours_are_left_alone(separate, music, tmp_path):
    theirs = tmp_path / "out" / "tiny" / "song"
    theirs.mkdir(parents=True)
    (theirs / "vocals.wav").write_bytes(b"theirs")
    separate(music / "song.wav")
    assert (theirs / "vocals.wav").read_bytes() == b"theirs"
    assert (theirs.parent / "song-2" / "vocals.wav").exists()


def test_a_length_is_read_from_the_chunk_that_states_it(tmp_path):
    soundfile.write(tmp_path / "plain.wav", np.zeros((5000, 1)), RATE)
    data = (tmp_path / "plain.wav").read_bytes()
    note = b"LIST" + struct.pack("<I", 32) + b"INFOICMT" + struct.pack("<I", 20) + b"data from the tapes\0"
    start = data.index(b"data")
    (tmp_path / "noted.wav").write_bytes(data[:start] + note + data[start:])
    (tmp_path / "short.wav").write_bytes(data[:-200])
    assert read_audio(tmp_path / "noted.wav", strict=True).shape == (1, 5000)
    with pytest.raises(UserError, match="4900 of 5000"):
        read_audio(tmp_path / "short.wav", strict=True)


@pytest.mark.parametrize("rate", [16000, 48000])
def test_opus_is_as_long_as_it_says(tmp_path, rate):
    if "OPUS" not in soundfile.available_subtypes("OGG"):
        pytest.skip("this libsndfile lacks Opus")
    soundfile.write(tmp_path / "x.opus", np.zeros((3 * rate, 1)), rate, format="OGG", subtype="OPUS")
    assert read_audio(tmp_path / "x.opus", strict=True).shape[1] >= 3 * rate - rate // 50


def test_threads_that_read_leave_the_error_stream_alone(music):
    before = os.fstat(2).st_ino
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(read_audio, [music / "song.mp3"] * 40))
    assert os.fstat(2).st_ino == before


def test_random_damage_never_crashes(music):
    """Byte changes anywhere: an array or a UserError, nothing else."""
    rng = np.random.default_rng(0)
    for suffix in ("wav", "flac", "ogg", "mp3"):
        data = (music / f"song.{suffix}").read_bytes()
        for _ in range(15):
            changed = bytearray(data)
            for at in rng.integers(0, len(data), 5):
                changed[at] = rng.integers(256)
            path = music / f"changed.{suffix}"
            path.write_bytes(changed)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with contextlib.suppress(UserError):
                    assert np.isfinite(read_audio(path)).all()


def test_the_reader_states_what_the_file_is(music):
    reader = AudioReader(music / "song.flac")
    assert (reader.sample_rate, reader.channels, reader.frames) == (RATE, 2, RATE)
    reader.close()
    assert read_audio(music / "song.flac", 16000).shape == (2, 16000)
