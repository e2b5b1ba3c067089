"""MUSDB18 as published: one file a song through ffmpeg, or a folder a song; the split of the package."""

import shutil
import subprocess

import numpy as np
import pytest
import soundfile

from jaxsep.audio import read_audio
from jaxsep.errors import UserError
from train.config import DataConfig
from train.data.bank import build_bank
from train.data.recipes import MUSDB, find_tracks
from train.data.recipes.musdb import STREAMS, VALIDATION

RATE, SONGS = 8000, ("A - One", "Leaf - Summerghost", "B - Two")
SOURCES = ("vocals", "accompaniment")
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not on the PATH")


def stems(seed):
    """Tones of another pitch for each stem, ``{stem: (2, samples)}``; the mixture is their sum."""
    t = np.arange(RATE) / RATE
    tones = {
        s: np.stack([np.sin(2 * np.pi * 150 * (k + 1) * t), 0.5 * np.sin(2 * np.pi * 150 * (k + 1) * t)])
        for k, s in enumerate(STREAMS[1:])
    }
    tones = {s: (0.1 + 0.01 * seed) * x for s, x in tones.items()}
    return {"mixture": sum(tones.values()), **tones}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The uncompressed form."""
    root = tmp_path_factory.mktemp("hq")
    for part, names in (("train", SONGS), ("test", ("C - Three",))):
        for seed, song in enumerate(names):
            where = root / part / song
            where.mkdir(parents=True)
            for stem, audio in stems(seed).items():
                soundfile.write(where / f"{stem}.wav", audio.T, RATE, subtype="FLOAT")
    return root


@pytest.fixture(scope="module")
def files(folders, tmp_path_factory):
    """The compressed form, made by ffmpeg."""
    root = tmp_path_factory.mktemp("compressed")
    for part in ("train", "test"):
        (root / part).mkdir()
        for song in (folders / part).iterdir():
            inputs = [a for stem in STREAMS for a in ("-i", str(song / f"{stem}.wav"))]
            maps = [a for k in range(len(STREAMS)) for a in ("-map", str(k))]
            out = str(root / part / f"{song.name}.stem.mp4")
            command = ["ffmpeg", "-v", "error", *inputs, *maps, "-c:a", "aac", "-b:a", "128k", out]
            subprocess.run(command, check=True)
    return root


def opened(root, tmp_path, part, channels=2, **options):
    config = DataConfig(MUSDB(**options), train=str(root), valid=str(root), cache=str(tmp_path))
    return build_bank(find_tracks(config, root, SOURCES, part), RATE, config.cache, channels=channels)


def test_the_split_is_the_packages(folders, tmp_path):
    assert len(VALIDATION) == 14
    assert opened(folders, tmp_path, "train").names == ["A - One", "B - Two"]
    assert opened(folders, tmp_path, "valid").names == ["Leaf - Summerghost"]


def test_stems_sum_to_the_sources(folders, tmp_path):
    bank, wanted = opened(folders, tmp_path, "train"), stems(0)
    vocals, accompaniment = bank.track(0)
    np.testing.assert_allclose(vocals, wanted["vocals"], atol=1e-6)
    np.testing.assert_allclose(accompaniment, wanted["mixture"] - wanted["vocals"], atol=1e-6)


def test_other_sources_are_other_sums(folders, tmp_path):
    bank = opened(folders, tmp_path, "train", stems={"vocals": ("drums",), "accompaniment": ("bass",)})
    np.testing.assert_allclose(bank.track(0)[0], stems(0)["drums"], atol=1e-6)


@needs_ffmpeg
def test_a_compressed_song_holds_the_same_stems(folders, files, tmp_path):
    plain, decoded = (opened(root, tmp_path, "train") for root in (folders, files))
    assert plain.names == decoded.names
    for i in range(2):
        a, b = plain.track(i), decoded.track(i)[..., :RATE]
        assert np.sum((a - b) ** 2) < 0.05 * np.sum(a**2)  # what lossy compression leaves


@needs_ffmpeg
def test_streams_are_read_at_any_rate_and_what_is_missing_is_said(files, tmp_path):
    song = files / "train" / "A - One.stem.mp4"
    assert read_audio(song, stream=4).shape[0] == 2
    half = read_audio(song, RATE // 2, stream=4)
    assert abs(half.shape[1] - RATE / 2) < 1200
    with pytest.raises(UserError, match="stream 9 cannot be decoded by ffmpeg"):
        read_audio(song, stream=9)
    with pytest.raises(UserError, match="no such file"):
        read_audio(tmp_path / "none.mp4", stream=0)


def test_without_ffmpeg_the_message_names_it(folders, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="ffmpeg, which is not on the PATH"):
        read_audio(folders / "train" / "A - One" / "vocals.wav", stream=0)


def test_a_folder_that_is_another_is_refused(tmp_path):
    config = DataConfig(MUSDB(), train=str(tmp_path), valid=str(tmp_path), cache=str(tmp_path))
    with pytest.raises(UserError, match="expected the folder of MUSDB18 that holds train and test"):
        find_tracks(config, tmp_path, SOURCES, "train")
    with pytest.raises(ValueError, match=r"stems.vocals=voice: expected some of"):
        MUSDB(stems={"vocals": ("voice",)})


def test_a_file_of_one_stream_is_the_file(folders):
    vocals = folders / "train" / "A - One" / "vocals.wav"
    if shutil.which("ffmpeg"):
        np.testing.assert_allclose(read_audio(vocals, stream=0), read_audio(vocals), atol=1e-6)
