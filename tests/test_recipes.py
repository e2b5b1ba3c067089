"""Songs in sections, pairs of two folders, their tables, and examples written as files."""

import csv
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
import soundfile
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxsep.augment import augment
from jaxsep.errors import UserError
from jaxsep.parts import to_dict
from jaxsep.system import SystemConfig
from train.config import DataConfig, TrainConfig, load_config
from train.data.bank import build_bank
from train.data.excerpts import section_starts
from train.data.recipes import SongFolders, TwoFolders, find_tracks
from train.tools import audit, render, tracks

RATE = 4000


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    """13 songs in one or two parts: a drum that counts up in time, and two other files."""
    folder = tmp_path_factory.mktemp("songs")
    for k in range(13):
        for part in range(1 + k % 2):
            where = folder / f"song{k:02}" / f"part{part}"
            where.mkdir(parents=True)
            ramp = np.arange(8 * RATE) / (8 * RATE)
            for name, level in (("drums", 0.5), ("bass", 0.25), ("voice", 0.125)):
                soundfile.write(where / f"{name}.wav", level * ramp, RATE, subtype="FLOAT")
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def drums(songs, cache):
    return DataConfig(
        SongFolders(
            files={"drums": ("drums.*",), "rest": ("bass.*", "voice.*")},
            remix=0.0,
            circular=False,
            skip_seconds=3.0,
            sections=4,
        ),
        train=str(songs),
        valid=str(songs),
        seconds=1.0,
        cache=cache,
    )


def with_recipe(config, **options):
    return replace(config, recipe=replace(config.recipe, **options))


def make_examples(bank, config, *rest):
    return config.recipe.examples(config, bank, *rest)


def bank(config, part="train", sources=("drums", "rest")):
    return build_bank(find_tracks(config, Path(config.train), sources, part), RATE, config.cache)


def test_sections_start_evenly_behind_the_intro(drums):
    examples = make_examples(bank(drums), drums, ("drums", "rest"), 0, RATE, 200)
    starts = {row["start"] for i in range(200) for row in examples.describe(i)}
    assert starts == {3.0, 4.333, 5.667, 7.0}
    for i in range(20):
        drum, rest = examples[i]["sources"][:, 0]
        assert drum[0] / 0.5 * 8 >= 3.0
        np.testing.assert_allclose(0.75 * drum, rest, atol=1e-6)  # bass + voice, at the same time
    anywhere = make_examples(bank(drums), with_recipe(drums, sections=0), ("drums", "rest"), 0, RATE, 200)
    starts = [row["start"] for i in range(200) for row in anywhere.describe(i)]
    assert min(starts) >= 3.0
    assert max(starts) <= 7.0
    assert len(set(starts)) > 100


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(1, 500), st.integers(1, 400), st.integers(0, 600), st.integers(1, 9))
def test_sections_fit_and_skip_the_intro_where_it_is_possible(length, excerpt, skip, sections):
    starts = section_starts(length, excerpt, skip, sections)
    assert len(starts) == sections
    assert starts[0] == min(skip, max(0, length - excerpt))
    assert np.all(np.diff(starts) >= 0)
    assert starts[-1] + excerpt <= max(length, excerpt)
    assert np.ptp(np.diff(starts)) <= 1 if sections > 2 else True


def test_songs_too_short_for_the_intro_are_read_from_as_late_as_fits(drums):
    config = with_recipe(drums, skip_seconds=30.0)
    examples = make_examples(bank(config), config, ("drums", "rest"), 0, RATE, 10)
    assert {row["start"] for i in range(10) for row in examples.describe(i)} == {7.0}


def test_parts_of_a_song_are_never_on_both_sides(drums):
    train, valid = ({t.recording for t in bank(drums, p).tracks} for p in ("train", "valid"))
    assert len(valid) == 1
    assert len(train) == 12
    assert not train & valid


def test_a_manifest_splits_songs_too(drums, tmp_path):
    rows = []
    for k, split in enumerate(("train", "dev", "test")):
        for name in ("drums", "bass"):
            path = tmp_path / f"s{k}" / f"{name}.wav"
            path.parent.mkdir(exist_ok=True)
            soundfile.write(path, np.full(RATE, 0.1), RATE)
            rows.append([path.relative_to(tmp_path).as_posix(), f"id{k}", split])
    with open(tmp_path / "manifest.csv", "w", newline="") as file:
        csv.writer(file).writerows([["path", "source_id", "split"], *rows])
    config = replace(drums, train=str(tmp_path), valid=str(tmp_path))
    names = {p: [(t.name, t.recording) for t in bank(config, p).tracks] for p in ("train", "valid")}
    assert names == {"train": [("s0", "id0")], "valid": [("s1", "id1")]}


@pytest.fixture(scope="module")
def duo(tmp_path_factory):
    """A folder of 13 pianos and one of 13 violins: constants, that say which is which."""
    folder = tmp_path_factory.mktemp("duo")
    for name, level in (("keys", 0.01), ("violin", 0.02)):
        (folder / name).mkdir()
        for k in range(13):
            tone = level * (k + 1) * np.sin(np.arange(2 * RATE) * (0.5 if name == "keys" else 1.0))
            soundfile.write(folder / name / f"take{k}x.wav", tone, RATE, subtype="FLOAT")
    return folder


def test_two_folders_are_mixed_pairwise(duo, cache):
    config = DataConfig(TwoFolders(files={"piano": ("keys/*",)}), train=str(duo), valid=str(duo), cache=cache)
    sources = ("piano", "violin")
    examples = make_examples(bank(config, sources=sources), config, sources, 0, RATE, 300)
    pairs = {tuple(row["clip"] for row in examples.describe(i)) for i in range(300)}
    assert {len(pair) for pair in pairs} == {2}
    assert all(a.startswith("keys/") and b.startswith("violin/") for a, b in pairs)
    assert len(pairs) > 60  # of 144
    peaks = [np.argmax(np.abs(np.fft.rfft(x))) for x in examples[0]["sources"][:, 0]]
    np.testing.assert_allclose(peaks, [0.5 / np.pi * RATE / 2, 1.0 / np.pi * RATE / 2], atol=1)
    valid = config.recipe.validation(config, bank(config, "valid", sources), sources)
    assert valid.track(0).shape == (2, 1, 4 * RATE)
    with pytest.raises(UserError, match="expected two sources, not piano, violin, flute"):
        bank(config, sources=("piano", "violin", "flute"))


@pytest.fixture
def saved(drums, tmp_path):
    """A config of songs as a file, with augmentation."""
    config = TrainConfig(
        system=SystemConfig(sources=("drums", "rest"), residual="rest", sample_rate=RATE),
        data=drums,
        batch_size=3,
        seed=5,
    )
    config = replace(config, augment=replace(config.augment, gain_db=6.0, speed_semitones=2.0))
    path = tmp_path / "songs.yaml"
    path.write_text(yaml.safe_dump(to_dict(config)))
    return path


def test_rendered_examples_are_those_of_training(saved, tmp_path, capsys):
    out = tmp_path / "out"
    assert render.main([str(saved), "-n", "7", "-o", str(out), "--", "--data.seconds", "0.5"]) == 0
    config = load_config(str(saved), ["--data.seconds", "0.5"])
    length = RATE // 2
    examples = make_examples(
        bank(config.data), config.data, ("drums", "rest"), 5, config.augment.read_length(length), 7
    )
    change = jax.jit(partial(augment, config.augment, length=length))
    for i in range(7):
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(5), i // 3), i % 3)
        expected = np.asarray(change(jax.random.split(key)[0], examples[i]["sources"][:, 0]))
        mixture, rate = soundfile.read(out / "mixtures" / f"{i:06d}.wav", dtype="float32")
        stems = [
            soundfile.read(out / "sources" / f"{i:06d}" / f"{s}.wav", dtype="float32")[0]
            for s in ("drums", "rest")
        ]
        assert rate == RATE
        np.testing.assert_allclose(stems, expected, atol=1e-6)
        np.testing.assert_allclose(sum(stems), mixture, atol=1e-6)
    with open(out / "examples.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 14
    assert rows[0]["clip"] == examples.describe(0)[0]["clip"]
    assert render.main([str(saved), "-n", "0", "-o", str(out)]) == 2
    assert "--count 0: expected at least 1" in capsys.readouterr().err


def test_rendered_stereo_is_exchanged_and_panned_as_in_training(saved, rng):
    options = ["--system.channels", "2", "--augment.pan", "1", "--augment.swap_channels"]
    config = load_config(str(saved), [*options, "--data.seconds", "0.1"])
    sources = rng.standard_normal((2, 2, config.read_samples)).astype(np.float32)
    key = jax.random.split(jax.random.fold_in(jax.random.fold_in(jax.random.key(5), 1), 1))[0]
    expected = augment(config.augment, key, sources, config.excerpt_samples)
    found = jax.jit(partial(render._augmented, config))(np.uint32(4), sources)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    alone = replace(config.augment, pan=0.0, swap_channels=False)
    assert np.abs(found - augment(alone, key, sources, config.excerpt_samples)).max() > 0.1


def test_a_fixed_set_of_examples_is_rendered_as_such(saved, tmp_path):
    options = ["--", "--data.distinct", "2", "--augment.gain_db", "0", "--augment.speed_semitones", "0"]
    assert render.main([str(saved), "-n", "4", "-o", str(tmp_path), *options]) == 0
    first, other, again, too = (soundfile.read(tmp_path / "mixtures" / f"{i:06d}.wav")[0] for i in range(4))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(other, too)
    assert not np.array_equal(first, other)


def test_rendered_as_pcm_or_as_a_list_of_which_what_repeats_is_counted(saved, tmp_path, capsys):
    out = tmp_path / "out"
    assert render.main([str(saved), "-n", "2", "-o", str(out), "--subtype", "PCM_16"]) == 0
    assert soundfile.info(out / "mixtures" / "000001.wav").subtype == "PCM_16"
    assert render.main([str(saved), "-n", "2", "-o", str(out), "--format", "mp3", "--subtype", "PCM_16"]) == 2
    assert "PCM_16" in capsys.readouterr().err
    listed = tmp_path / "listed"
    assert render.main([str(saved), "-n", "40", "-o", str(listed), "--list"]) == 0
    assert [p.name for p in listed.iterdir()] == ["examples.csv"]
    *_, before = audit.repeats(listed / "examples.csv")
    with open(listed / "examples.csv", "a", newline="") as file:  # example 40 again is example 0
        lines = (listed / "examples.csv").read_text().splitlines()
        file.write("".join(line.replace("000000", "000040", 1) + "\n" for line in lines[1:3]))
    *sources, whole = audit.repeats(listed / "examples.csv")
    assert [(r.source, r.draws) for r in sources] == [("drums", 41), ("rest", 41)]
    assert all(r.same >= whole.same and r.most >= 2 and r.clips <= 41 - r.same for r in sources)
    assert (whole.draws, whole.clips, whole.same) == (41, before.clips, before.same + 1)
    assert audit.main([str(listed)]) == 0
    assert "whole examples" in capsys.readouterr().out
    (listed / "examples.csv").write_text("a,b\n")
    assert audit.main([str(listed)]) == 2
    assert "has no column clip" in capsys.readouterr().err


def test_rendering_goes_on_where_it_stopped(saved, tmp_path):
    out, again = tmp_path / "out", tmp_path / "again"
    render.main([str(saved), "-n", "2", "-o", str(out), "--format", "flac"])
    before = (out / "sources" / "000001" / "rest.flac").stat().st_mtime_ns
    (out / "sources" / ".000002.part").mkdir()  # as a crash leaves
    render.main([str(saved), "-n", "4", "-o", str(out), "--format", "flac"])
    render.main([str(saved), "-n", "4", "-o", str(again), "--format", "flac"])
    assert (out / "sources" / "000001" / "rest.flac").stat().st_mtime_ns == before
    files = sorted(p.relative_to(again) for p in again.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(out) for p in out.rglob("*") if p.is_file())
    assert len(files) == 4 * 3 + 1
    for name in files:
        assert (out / name).read_bytes() == (again / name).read_bytes()


def test_the_table_of_tracks_says_files_and_sections(saved, tmp_path, capsys):
    out = tmp_path / "tracks.csv"
    assert tracks.main([str(saved), "-o", str(out)]) == 0
    with open(out, newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 19
    assert {row["part"] for row in rows} == {"train", "valid"}
    (row,) = [row for row in rows if row["track"] == "song03/part1"]
    assert (row["recording"], row["seconds"], row["drums"]) == ("song03", "8.00", "drums.wav")
    assert row["rest"] == "bass.wav + voice.wav"
    assert row["sections"] == "3.00 4.33 5.67 7.00"
    assert tracks.main([str(saved)]) == 0
    assert capsys.readouterr().out == out.read_text()


@pytest.mark.parametrize(
    ("folder", "files"),
    [
        ("multitrack", {"drums": ("drums.*",), "rest": ("vocals.*", "other.*")}),
        ("duets_piano_violin", {"piano": ("piano.*",), "violin": ("violin.*",)}),
    ],
)
def test_real_songs_are_split_as_their_manifest_says(recordings, folder, files, cache):
    where = str(recordings / folder)
    config = DataConfig(SongFolders(files=files), train=where, valid=where, cache=cache)
    with open(Path(where) / "manifest.csv", newline="") as file:
        stated = {row["source_id"]: row["split"] for row in csv.DictReader(file)}
    for part, split in (("train", "train"), ("valid", "dev")):
        found = {t.recording for t in find_tracks(config, Path(where), tuple(files), part)}
        assert found == {recording for recording, s in stated.items() if s == split}


def test_real_instruments_are_mixed_pairwise(recordings, cache):
    where = str(recordings / "solo_instruments")
    config = DataConfig(TwoFolders(), train=where, valid=where, cache=cache)
    sources = ("violin", "cello")
    examples = make_examples(bank(config, sources=sources), config, sources, 0, RATE, 5)
    assert np.isfinite(examples[4]["sources"]).all()
    assert {row["clip"].split("/")[0] for row in examples.describe(4)} == set(sources)
