"""One rule says which files of a folder are audio, for all commands."""

import os
import unicodedata

import numpy as np
import pytest
import soundfile

from jaxsep.audio import AudioWriter, audio_files
from jaxsep.errors import UserError
from train.data.listing import listed_as, matching_files, read_manifest


@pytest.fixture
def folder(tmp_path):
    for name in (
        "a.wav",
        "b/c.FLAC",
        "b/d/e.mp3",
        "b/._e.mp3",
        "._a.wav",
        ".hidden/f.wav",
        "notes.txt",
        "x.m4a",
    ):
        path = tmp_path / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    (tmp_path / "files" / "folder.wav").mkdir()
    return tmp_path / "files"


def test_hidden_files_and_companions_are_none(folder):
    names = [p.relative_to(folder).as_posix() for p in audio_files(folder)]
    assert names == ["a.wav", "b/c.FLAC", "b/d/e.mp3", "x.m4a"]
    assert [p.name for p in audio_files(folder, depth=0)] == ["a.wav", "x.m4a"]


@pytest.mark.skipif(os.name != "posix", reason="links")
def test_linked_folders_count_and_links_upwards_end(folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "g.wav").write_bytes(b"")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "b" / "up").symlink_to(folder)
    (folder / "0again").symlink_to(tmp_path / "elsewhere")
    (folder / "gone.wav").symlink_to(tmp_path / "nothing.wav")
    names = [p.relative_to(folder).as_posix() for p in audio_files(folder)]
    assert names == ["0again/g.wav", "a.wav", "b/c.FLAC", "b/d/e.mp3", "gone.wav", "linked/g.wav", "x.m4a"]
    assert [p.name for p in matching_files(folder, ("linked/*",))] == ["g.wav"]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("b/**/*", ["c.FLAC", "e.mp3"]),
        ("**/*", ["a.wav", "c.FLAC", "e.mp3", "x.m4a"]),
        ("*/*", ["c.FLAC"]),
        ("b/*/e.*", ["e.mp3"]),
        ("*.wav", ["a.wav"]),
        ("c/*", []),
    ],
)
def test_patterns_are_those_of_a_shell(folder, pattern, names):
    assert [p.name for p in matching_files(folder, (pattern,))] == names


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_are_never_written(tmp_path, bad):
    writer = AudioWriter(tmp_path / "x.wav", 8000, 1)
    writer.write(np.ones((1, 4000), np.float32))
    with pytest.raises(UserError, match=r"x\.wav: not written: NaN or infinite samples from 0.50 s"):
        writer.write(np.float32([[0, bad]]))
    assert not list(tmp_path.iterdir())


def test_a_finite_file_is_written(tmp_path):
    writer = AudioWriter(tmp_path / "x.wav", 8000, 1)
    writer.write(np.ones((1, 40), np.float32))
    writer.finish()
    writer.commit()
    assert soundfile.info(tmp_path / "x.wav").frames == 40


def manifest(folder, *rows, start=""):
    lines = ["path,source_id,split", *(",".join(row) for row in rows)]
    (folder / "manifest.csv").write_text(start + "\n".join(lines) + "\n", encoding="utf-8")
    return read_manifest(folder)


@pytest.mark.parametrize(
    "path", ["b/c.FLAC", "./b/c.FLAC", "b\\c.FLAC", ".\\b\\c.FLAC", "b//c.FLAC", " b/c.FLAC "]
)
@pytest.mark.parametrize("start", ["", "\ufeff"], ids=["", "byte order mark"])
@pytest.mark.parametrize(
    ("split", "part"), [("TRAIN", "train"), ("val", "valid"), ("dev", "valid"), ("Test", "test")]
)
def test_a_table_finds_its_files_however_it_is_written(folder, path, start, split, part):
    listed = manifest(folder, (path, "one", split), start=start)
    assert listed_as(listed, folder, "b/c.FLAC") == ("one", part)


@pytest.mark.parametrize("forms", ["NFC NFD", "NFD NFC"])
def test_accents_are_compared_not_their_bytes(folder, forms):
    listed, on_disk = (unicodedata.normalize(form, "\u00e9t\u00e9.wav") for form in forms.split())
    (folder / on_disk).write_bytes(b"")
    found = manifest(folder, (listed, "one", "train"))
    assert listed_as(found, folder, on_disk) == ("one", "train")


def test_what_a_table_leaves_open_is_refused_or_named(folder, capsys):
    found = manifest(folder, ("a.wav", "one", "train"), ("gone.wav", "two", "valid"))
    assert "1 of 2 files are not there, the first gone.wav" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"e\.mp3: not listed in manifest\.csv"):
        listed_as(found, folder, "b/d/e.mp3")
    for rows, message in (
        ([("gone.wav", "one", "train")], "none of its 1 files is in this folder"),
        ([("a.wav", "one", "training set")], "line 2: split='training set'"),
        ([("a.wav", "one", "train"), ("b/c.FLAC", "one", "dev")], "recording one is in two splits"),
    ):
        with pytest.raises(UserError, match=message):
            manifest(folder, *rows)


def test_a_row_without_a_path_is_named_by_its_line(folder):
    (folder / "manifest.csv").write_text("split,path\ntrain,a.wav\ntrain\n")
    with pytest.raises(UserError, match="line 3: has fewer columns"):
        read_manifest(folder)
