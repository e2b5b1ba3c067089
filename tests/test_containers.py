"""Every sample of a file is read, whatever its container says of the length; what is missing is said."""

import os
import shutil
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest
import soundfile

from jaxsep.audio import AudioReader, AudioWriter, read_audio
from jaxsep.audio.containers import look
from jaxsep.errors import AudioWarning, UserError

RATE, SECONDS = 44100, 5


@pytest.fixture(scope="module")
def sound():
    """Quiet, then loud: its first bit rate says nothing of the rest."""
    rng = np.random.default_rng(0)
    level = np.where(np.arange(RATE * SECONDS) < 2 * RATE, 0.001, 0.15)
    return (level * rng.standard_normal(RATE * SECONDS)).astype(np.float32)


def encoded(path, sound, **options):
    soundfile.write(path, sound, RATE, **options)
    return path.read_bytes()


def without_table(mp3):
    """An MP3 file without its first frame, which holds the number of frames."""
    assert mp3[21:25] == b"Xing"
    rates = [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320]
    return mp3[144000 * rates[mp3[2] >> 4] // RATE + (mp3[2] >> 1 & 1) :]


@pytest.fixture(scope="module")
def mp3(tmp_path_factory, sound):
    return encoded(tmp_path_factory.mktemp("mp3") / "a.mp3", sound, bitrate_mode="VARIABLE")


def quiet_read(path, data, **options):
    """Read a file, warnings being errors."""
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("error", AudioWarning)
        return read_audio(path, **options)


TAG = b"ID3\x04\0\0\0\0\x10\0" + bytes(2048)


@pytest.mark.parametrize("before", [b"", TAG, TAG + TAG], ids=["bare", "tag", "two tags"])
@pytest.mark.parametrize(
    "after",
    [b"", b"TAG" + bytes(125), bytes(16), bytes(4096), b"LYRICSBEGININD0000200LYRICS200", b"<html>\n"],
    ids=["", "old tag", "16 zeros", "a page of zeros", "lyrics", "markup"],
)
def test_an_mp3_without_a_table_is_read_to_its_end(tmp_path, mp3, sound, before, after):
    data = before + without_table(mp3) + after
    (tmp_path / "x.mp3").write_bytes(data)
    assert soundfile.info(tmp_path / "x.mp3").frames < len(sound) / 2  # what libsndfile estimates
    x = quiet_read(tmp_path / "x.mp3", data)
    assert len(sound) <= x.shape[1] <= len(sound) + 3 * 1152
    start = 1105  # samples that the encoder and the decoder put before
    np.testing.assert_allclose(x[0, start : start + len(sound)].std(), sound.std(), rtol=0.1)


@pytest.mark.parametrize("missing", [1, 100, 10000])
def test_an_mp3_without_a_table_that_ends_in_a_frame_is_cut_off(tmp_path, mp3, sound, missing):
    (tmp_path / "x.mp3").write_bytes(without_table(mp3)[:-missing])
    with pytest.warns(AudioWarning, match="cut off"):
        x = read_audio(tmp_path / "x.mp3")
    assert 0.5 * len(sound) < x.shape[1] < len(sound) + 1152
    with pytest.raises(UserError, match="cut off"):
        read_audio(tmp_path / "x.mp3", strict=True)


def test_foreign_bytes_between_mp3_frames_are_still_damage(tmp_path, mp3):
    data = without_table(mp3)
    (tmp_path / "x.mp3").write_bytes(data[:20000] + bytes(range(256)) * 2 + data[20000:])
    with pytest.raises(UserError, match="damaged"):
        read_audio(tmp_path / "x.mp3")


def test_an_mp3_of_low_rate_is_read_to_its_end(tmp_path, sound):
    soundfile.write(tmp_path / "x.mp3", sound, 22050, bitrate_mode="VARIABLE")
    data = (tmp_path / "x.mp3").read_bytes()
    second = data.find(data[:2], 40)  # MPEG 2: the header with the number of frames is the first frame
    x = quiet_read(tmp_path / "x.mp3", data[second:])
    assert len(sound) <= x.shape[1] <= len(sound) + 4 * 576


def test_an_mp3_that_goes_on_behind_its_table_is_read_to_its_end(tmp_path, mp3, sound):
    once, twice = (quiet_read(tmp_path / "x.mp3", data) for data in (mp3, mp3 + mp3))
    assert once.shape[1] == len(sound)
    assert twice.shape[1] >= 2 * len(sound)


def test_an_mp3_of_which_the_end_is_missing_is_said_to_be_cut_off(tmp_path, mp3):
    with pytest.warns(AudioWarning, match="cut off"):
        (tmp_path / "x.mp3").write_bytes(mp3[: len(mp3) // 2])
        read_audio(tmp_path / "x.mp3")


def test_a_flac_whose_encoder_wrote_to_a_pipe_is_read_to_its_end(tmp_path, sound):
    data = bytearray(encoded(tmp_path / "x.flac", sound))
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    x = quiet_read(tmp_path / "x.flac", bytes(data), strict=True)
    np.testing.assert_allclose(x[0], sound, atol=1e-4)


@pytest.mark.parametrize("size", [0, 0x7FFFF000, 0x7FFFFFFF, 0x80000000, 0xFFFFF000, 0xFFFFFFFF])
@pytest.mark.parametrize("subtype", ["FLOAT", "PCM_16"])
def test_a_wav_whose_writer_did_not_know_its_length_is_read_to_its_end(tmp_path, sound, size, subtype):
    data = bytearray(encoded(tmp_path / "x.wav", sound, subtype=subtype))
    at = data.find(b"data") + 4
    data[at : at + 4] = data[4:8] = size.to_bytes(4, "little")
    x = quiet_read(tmp_path / "x.wav", bytes(data), strict=True)
    np.testing.assert_allclose(x[0], sound, atol=1e-4)


def test_a_wav_of_which_the_end_is_missing_is_said_to_be_cut_off(tmp_path, sound):
    data = encoded(tmp_path / "x.wav", sound)
    (tmp_path / "x.wav").write_bytes(data[:-2000])
    with pytest.warns(AudioWarning, match=f"cut off: {len(sound) - 1000} of {len(sound)} samples"):
        assert read_audio(tmp_path / "x.wav").shape[1] == len(sound) - 1000
    with pytest.raises(UserError, match="cut off"):
        read_audio(tmp_path / "x.wav", strict=True)


def test_ogg_streams_one_after_another_are_all_read(tmp_path, sound):
    one = encoded(tmp_path / "one.ogg", sound)
    two = encoded(tmp_path / "two.ogg", sound[:RATE])
    x = quiet_read(tmp_path / "x.ogg", one + two + one, strict=True)
    assert x.shape[1] == 2 * len(sound) + RATE
    soundfile.write(tmp_path / "other.ogg", np.zeros(4000, np.float32) + 0.1, 16000)
    (tmp_path / "x.ogg").write_bytes(one + (tmp_path / "other.ogg").read_bytes())
    with pytest.raises(UserError, match="changes after 5.00 s from 44100 Hz .* to 16000 Hz"):
        read_audio(tmp_path / "x.ogg")


def test_an_ogg_with_bytes_behind_it_is_whole_and_one_with_a_cut_link_is_not(tmp_path, sound):
    one = encoded(tmp_path / "one.ogg", sound)
    for after in (b"\0", b"TAG" + bytes(125), bytes(70000)):
        assert quiet_read(tmp_path / "x.ogg", one + after, strict=True).shape[1] == len(sound)
    (tmp_path / "x.ogg").write_bytes(one[: len(one) // 2] + one)
    with pytest.raises(UserError, match="cut off"):
        read_audio(tmp_path / "x.ogg", strict=True)


def crc(page):
    """Checksum of an Ogg page."""
    value = 0
    for byte in page:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1) ^ (0x04C11DB7 if value & 0x80000000 else 0)
        value &= 0xFFFFFFFF
    return value.to_bytes(4, "little")


@pytest.mark.parametrize(("subtype", "rate"), [("VORBIS", 44100), ("OPUS", 48000)])
def test_an_ogg_cut_out_of_a_longer_one_is_whole(tmp_path, sound, subtype, rate):
    soundfile.write(tmp_path / "x.ogg", sound, rate, format="OGG", subtype=subtype)
    data, at = bytearray((tmp_path / "x.ogg").read_bytes()), 0
    while at < len(data):
        end = at + 27 + data[at + 26]
        end += sum(data[at + 27 : end])
        if (granule := int.from_bytes(data[at + 6 : at + 14], "little")) > 0:
            data[at + 6 : at + 14] = (granule + 10**7).to_bytes(8, "little")
            data[at + 22 : at + 26] = bytes(4)
            data[at + 22 : at + 26] = crc(data[at:end])
        at = end
    x = quiet_read(tmp_path / "y.ogg", bytes(data), strict=True)
    assert abs(x.shape[1] - len(sound)) <= (1024 if subtype == "VORBIS" else rate // 50)


def test_a_wav_of_unknown_length_beyond_4_gib_is_taken_whole(tmp_path, sound):
    data = bytearray(encoded(tmp_path / "x.wav", sound[:100], subtype="FLOAT"))
    at = data.find(b"data")
    for size in (0, 0xFFFFFFFF):
        data[at + 4 : at + 8] = size.to_bytes(4, "little")
        (tmp_path / "x.wav").write_bytes(data)
        os.truncate(tmp_path / "x.wav", at + 8 + 6 * 2**30)  # a hole, not 6 GiB
        (part,) = look(tmp_path / "x.wav", "WAV", "FLOAT", RATE).parts
        assert (part.start, part.end, part.raw) == (at + 8, at + 8 + 6 * 2**30, True)


def test_an_empty_wav_has_no_audio_whatever_follows(tmp_path):
    soundfile.write(tmp_path / "x.wav", np.zeros(0, np.float32), RATE, subtype="PCM_16")
    data = (tmp_path / "x.wav").read_bytes()
    at = data.find(b"data") + 8
    assert data[at - 4 : at] == bytes(4)
    (tmp_path / "x.wav").write_bytes(
        data[:at] + b"LIST" + (26).to_bytes(4, "little") + b"INFOISFT" + bytes(18)
    )
    with pytest.raises(UserError, match="no audio"):
        read_audio(tmp_path / "x.wav")


@pytest.mark.parametrize("subtype", ["ULAW", "ALAW", "PCM_24", "DOUBLE"])
def test_other_samples_in_a_wav_of_unknown_length_are_read(tmp_path, sound, subtype):
    data = bytearray(encoded(tmp_path / "x.wav", sound, subtype=subtype))
    whole = read_audio(tmp_path / "x.wav")
    at = data.find(b"data")
    data = data[: at + 8 + len(sound) * {"ULAW": 1, "ALAW": 1, "PCM_24": 3, "DOUBLE": 8}[subtype]]
    data[at + 4 : at + 8] = bytes(4)
    np.testing.assert_array_equal(quiet_read(tmp_path / "x.wav", bytes(data)), whole)


@pytest.mark.skipif(os.name != "posix", reason="named pipes")
def test_a_pipe_is_read(tmp_path, sound):
    data = encoded(tmp_path / "x.wav", sound)
    os.mkfifo(tmp_path / "pipe")
    threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(data,), daemon=True).start()
    np.testing.assert_allclose(read_audio(tmp_path / "pipe")[0], sound, atol=1e-4)
    for name in ("-", "/dev/stdin"):
        code = f"from jaxsep.audio import read_audio; print(read_audio({name!r}).shape[1])"
        said = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, check=True)
        assert int(said.stdout) == len(sound)


def test_of_an_unknown_length_the_stems_are_wav(tmp_path, sound):
    one = encoded(tmp_path / "x.ogg", sound)
    (tmp_path / "x.ogg").write_bytes(one + one)
    reader = AudioReader(tmp_path / "x.ogg")
    assert reader.frames is None
    writer = AudioWriter(tmp_path / "stem.wav", RATE, 1, "wav", reader.frames)
    for block in reader.blocks():
        writer.write(block)
    writer.finish()
    writer.commit()
    assert (tmp_path / "stem.wav").read_bytes()[:4] == b"RIFF"
    np.testing.assert_array_equal(read_audio(tmp_path / "stem.wav"), read_audio(tmp_path / "x.ogg"))
    assert {p.name for p in tmp_path.iterdir()} == {"x.ogg", "stem.wav"}


def test_a_reader_that_stops_early_leaves_no_thread(tmp_path, mp3):
    (tmp_path / "x.mp3").write_bytes(without_table(mp3))
    before = threading.active_count()
    reader = AudioReader(tmp_path / "x.mp3")
    next(reader.blocks(100))
    reader.close()
    assert threading.active_count() == before


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not on the PATH")
@pytest.mark.parametrize("codec", [("m4a", "aac"), ("mp4", "aac"), ("webm", "libopus"), ("mkv", "flac")])
def test_containers_of_films_are_read_through_ffmpeg(tmp_path, sound, codec):
    suffix, name = codec
    encoded(tmp_path / "x.wav", sound)
    made = tmp_path / f"x.{suffix}"
    command = ["ffmpeg", "-v", "error", "-i", tmp_path / "x.wav", "-c:a", name, "-strict", "-2", made]
    if subprocess.run(command, check=False).returncode:
        pytest.skip(f"this ffmpeg has no {name}")
    x = read_audio(made, RATE)
    assert abs(x.shape[1] - len(sound)) < 4000
    made.write_bytes(made.read_bytes()[:200])
    with pytest.raises(UserError, match=f"x.{suffix}: .*ffmpeg"):
        read_audio(made)


@pytest.mark.skipif(os.name != "posix", reason="a script as a program")
@pytest.mark.parametrize(("more", "code", "message"), [(10**6, 0, "longer than"), (0, 1, "damaged .bad")])
def test_what_ffmpeg_leaves_or_fails_at_is_said(tmp_path, monkeypatch, more, code, message):
    data = encoded(tmp_path / "sound", np.ones(1000, np.float32) / 2, format="WAV")
    (tmp_path / "sound").write_bytes(data + bytes(more))
    script = f"#!/bin/sh\necho bad >&2\n/bin/cat {tmp_path / 'sound'}\nexit {code}\n"
    (tmp_path / "ffmpeg").write_text(script)
    (tmp_path / "ffmpeg").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "x.m4a").write_bytes(bytes(1000))
    with pytest.raises(UserError, match=message):
        read_audio(tmp_path / "x.m4a")


def test_without_ffmpeg_the_message_names_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "x.m4a").write_bytes(bytes(1000))
    with pytest.raises(UserError, match=r"x\.m4a: is decoded by ffmpeg, which is not on the PATH"):
        read_audio(tmp_path / "x.m4a")
