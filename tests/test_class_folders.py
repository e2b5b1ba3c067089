"""Examples overlaid of clips: a function of (seed, number), balanced, sounding, never leaking."""

import csv
import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxsep.augment import in_room, play_back
from jaxsep.errors import UserError
from jaxsep.system import SystemConfig
from train.config import DataConfig, TrainConfig
from train.data.bank import build_bank
from train.data.batches import batches
from train.data.generators import sirens
from train.data.listing import data_folder
from train.data.mixtures import LEVEL_DB
from train.data.recipes import (
    ClassFolders,
    StereoPairs,
    find_part,
    find_tracks,
)
from train.data.silence import frame_length, shorten_pauses, silent_frames, sounding_starts
from train.tools.render import render

RATE = 4000
CLASSES = ("hum", "click", "other")
PITCH = {"hum": 200.0, "click": 500.0, "other": 900.0}


def tone(name, seconds, k):
    return 0.1 * np.sin(2 * np.pi * (PITCH[name] + 5 * k) * np.arange(round(seconds * RATE)) / RATE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """30 recordings of ``hum``, three excerpts each; 20 of ``click``, mostly silent; 20 of ``other``."""
    folder = tmp_path_factory.mktemp("classes")
    for name in CLASSES:
        (folder / name).mkdir()
    for k in range(30):
        for part in range(3):
            write(folder / "hum" / f"take{k}a-{part}.wav", tone("hum", 0.7 + 0.1 * part, k))
    for k in range(20):
        clip = tone("click", 2.0, k)
        clip[2 * RATE // 5 :] *= 1e-4  # 80 % silence
        write(folder / "click" / f"door{k}a.wav", clip)
        write(folder / "other" / f"any{k}a.wav", tone("other", 1.5, k))
    return folder


def write(path, audio):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio, RATE, subtype="FLOAT")


@pytest.fixture(scope="module")
def config(folder, tmp_path_factory):
    return DataConfig(
        ClassFolders(valid_mixtures=3),
        train=str(folder),
        valid=str(folder),
        cache=str(tmp_path_factory.mktemp("cache")),
        seconds=0.5,
    )


def with_recipe(config, **options):
    return replace(config, recipe=replace(config.recipe, **options))


def bank(config, part="train", sources=CLASSES):
    folder = data_folder(getattr(config, part), part)
    return build_bank(find_tracks(config, folder, sources, part), RATE, config.cache)


def examples(config, seed=0, count=40, length=2000, sources=CLASSES):
    return config.recipe.examples(config, bank(config, sources=sources), sources, seed, length, count)


def test_mixtures_are_rendered_with_what_is_in_them(config, tmp_path):
    system = SystemConfig(sources=CLASSES, residual="other", sample_rate=RATE)
    render(TrainConfig(system=system, data=config), 3, tmp_path, "valid")
    with open(tmp_path / "examples.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["source"] for row in rows} == set(CLASSES) and float(rows[0]["pan"]) == 0
    assert len(list((tmp_path / "mixtures").glob("*.wav"))) == 3


def test_the_split_is_by_recording_whatever_the_files(config):
    train, valid = (bank(config, part).tracks for part in ("train", "valid"))
    assert len(train) + len(valid) == 130
    for name, recordings in zip(CLASSES, (30, 20, 20), strict=True):
        ours, theirs = ({t.recording for t in part if t.label == name} for part in (train, valid))
        assert not ours & theirs
        assert len(theirs) == round(0.08 * recordings)
        assert len(ours) + len(theirs) == recordings


def test_another_pattern_of_names_makes_other_recordings(config):
    every = replace(config, recording=r"([a-z]+).*")
    with pytest.raises(UserError, match=r"no clip of the class hum for data\.valid.*data\.recording"):
        bank(every, "valid")


def test_a_manifest_says_which_clips_train(folder, config, tmp_path):
    rows = [
        {"path": "hum/a.wav", "source_id": "one", "split": "train"},
        {"path": "hum/b.wav", "source_id": "two", "split": "dev"},
        {"path": "hum/c.wav", "source_id": "three", "split": "test"},
        {"path": "deep/er/d.wav", "source_id": "one", "split": "train"},
    ]
    for k, row in enumerate(rows):
        write(tmp_path / row["path"], tone("hum", 1.0, k))
    with open(tmp_path / "manifest.csv", "w", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)
    config = replace(config, train=str(tmp_path), valid=str(tmp_path))
    config = with_recipe(config, files={"hum": ("hum/*", "deep/**/*")})
    names = {p: [(t.name, t.recording) for t in bank(config, p, ("hum",)).tracks] for p in ("train", "valid")}
    assert names == {
        "train": [("deep/er/d.wav", "one"), ("hum/a.wav", "one")],
        "valid": [("hum/b.wav", "two")],
    }
    (tmp_path / "manifest.csv").write_text("file,part\na,b\n")
    with pytest.raises(UserError, match="columns path, split"):
        bank(config, "train", ("hum",))


def test_stereo_pairs_of_one_folder_are_split_by_recording_or_by_the_manifest(tmp_path):
    names = [f"{folder}/{i:02d}" for folder in "ab" for i in range(8)]
    for name in names:
        write(tmp_path / f"{name}.wav", np.zeros((100, 2), np.float32))
    recipe = StereoPairs(channels=("a", "b"))
    data = DataConfig(recipe, train=str(tmp_path), valid=str(tmp_path))
    train, valid = ([t.name for t in find_part(data, ("a", "b"), p)] for p in ("train", "valid"))
    assert sorted(train + valid) == names and valid
    assert not {n[2:] for n in train} & {n[2:] for n in valid}  # a/01 and b/01 are one recording by name
    rows = [f"{name}.wav,{'dev' if name == 'b/03' else 'train'}" for name in names]
    (tmp_path / "manifest.csv").write_text("\n".join(["path,split", *rows]))
    assert [t.name for t in find_part(data, ("a", "b"), "valid")] == ["b/03"]
    (tmp_path / "manifest.csv").write_text(
        "\n".join(["path,split", *(f"{name}.wav,{'test' if name == 'b/03' else 'dev'}" for name in names)])
    )
    singers = replace(data, recording="(.).*", folds=2)  # by the first figure of their names: 0 alone
    with pytest.raises(UserError, match="too many for the 1 recordings"):
        find_part(singers, ("a", "b"), "train")
    folds = [replace(data, folds=2, fold=fold) for fold in range(2)]
    held_out = [t.name for fold in folds for t in find_part(fold, ("a", "b"), "valid")]
    assert sorted(held_out) == [name for name in names if name != "b/03"]
    apart = replace(data, train=str(tmp_path / "a"), valid=str(tmp_path / "b"))
    assert [len(find_part(apart, ("a", "b"), p)) for p in ("train", "valid")] == [8, 8]


def test_folds_hold_every_class_and_no_recording_twice(config, tmp_path):
    write(tmp_path / "hum" / "more.wav", tone("hum", 1.0, 99))
    held_out = []
    for fold in range(4):
        folds = with_recipe(replace(config, folds=4, fold=fold), extra=(str(tmp_path),))
        train, valid = (find_part(folds, CLASSES, p) for p in ("train", "valid"))
        assert {t.label for t in train} == {t.label for t in valid} == set(CLASSES)
        assert not {(t.label, t.recording) for t in train} & {(t.label, t.recording) for t in valid}
        assert sum(t.extra for t in train) == 1
        assert not any(t.extra for t in valid)
        held_out += [t.name for t in valid]
    assert sorted(held_out) == sorted(t.name for t in bank(config).tracks)
    with pytest.raises(UserError, match=r"data\.folds=20: too many for the 18 recordings of"):
        find_part(replace(config, folds=20), CLASSES, "train")


def test_folds_share_no_recording_between_classes_or_with_extra_clips(config, tmp_path):
    main, more = tmp_path / "main", tmp_path / "more"
    rows = []
    for k in range(6):
        for label in ("hum", "click"):
            name = f"{label}/{label}{k}.wav"
            write(main / name, tone("hum", 1.0, k))
            rows.append(f"{name},r{k if label == 'hum' or k else 'q'},train")
    write(more / "hum" / "again.wav", tone("hum", 1.0, 1))
    (main / "manifest.csv").write_text("\n".join(["path,source_id,split", *rows]))
    (more / "manifest.csv").write_text("path,source_id,split\nhum/again.wav,r1,train")
    data = replace(with_recipe(config, extra=(str(more),)), train=str(main), valid=str(main), folds=2)
    extra = []
    for fold in range(2):
        train, valid = (find_part(replace(data, fold=fold), ("hum", "click"), p) for p in ("train", "valid"))
        assert {t.label for t in train} == {t.label for t in valid} == {"hum", "click"}
        assert not {t.recording for t in train} & {t.recording for t in valid}
        extra += [t for t in train if t.extra]
    assert len(extra) == 1


def test_a_file_of_two_classes_is_refused(config):
    files = {"hum": ("hum/*",), "click": ("**/take1a-0.wav", "click/*")}
    with pytest.raises(UserError, match=r"take1a-0\.wav matches those of hum and of click"):
        find_part(with_recipe(config, files=files), ("hum", "click"), "train")


@pytest.mark.parametrize("shares", [{"extra_share": 0.5}, {"extra_share": 0.0, "extra_shares": {"hum": 0.5}}])
def test_extra_folders_train_only_and_as_often_as_asked(config, tmp_path, shares):
    write(tmp_path / "hum" / "more.wav", tone("hum", 1.0, 99))
    config = with_recipe(config, extra=(str(tmp_path),), **shares)
    assert sum(t.extra for t in bank(config, "valid").tracks) == 0
    drawn = examples(config, count=400)
    clips = [drawn.draw(i)[0].clip for i in range(400)]
    share = np.mean([drawn.bank.tracks[clip].extra for clip in clips])
    assert 0.4 < share < 0.6


def test_a_share_of_an_unknown_source_is_refused(config):
    with pytest.raises(UserError, match="extra_shares: hmm: expected some of the sources, "):
        find_part(with_recipe(config, extra_shares={"hmm": 0.5}), CLASSES, "train")


def test_a_mixture_is_a_function_of_seed_and_number(config):
    first, again = examples(config), examples(config)
    order = np.random.default_rng(0).permutation(40)
    shuffled = {int(i): again[int(i)]["sources"] for i in order}
    for i in range(40):
        np.testing.assert_array_equal(first[i]["sources"], shuffled[i])
        assert first[i]["sources"].shape == (3, 1, 2000)
        assert first[i]["track"].shape == (4,)
    assert not np.array_equal(examples(config, seed=1)[0]["sources"], shuffled[0])
    whole = list(batches(first, 4, 0, threads=0))
    for a, b in zip(batches(again, 4, 7, threads=3), whole[7:], strict=True):
        np.testing.assert_array_equal(a["sources"], b["sources"])


def test_recordings_are_drawn_alike_however_many_clips_they_have(folder, config, tmp_path):
    """100 excerpts of one recording and one each of three others: each a quarter of the draws."""
    for k in range(100):
        write(tmp_path / "hum" / f"long-{k}.wav", tone("hum", 0.6, 0))
    for name in ("b", "c", "d"):
        write(tmp_path / "hum" / f"{name}.wav", tone("hum", 0.6, 1))
    config = replace(config, train=str(tmp_path), valid=str(folder))
    drawn = examples(config, count=800, sources=("hum",))
    chosen = [drawn.bank.tracks[drawn.draw(i)[0].clip].recording for i in range(800)]
    assert 0.2 < chosen.count("long") / 800 < 0.3


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.sampled_from([0.5, 1.7, 3.1]), st.floats(0.0, 6.0))
def test_gains_are_in_range_and_silence_rare(folder, config, number, seconds, semitones):
    """Clips of 0.7 to 2 s, cut or looped: levels within 5 dB, at most 30 % silence but in ``other``."""
    config = with_recipe(config, speed_semitones=semitones)
    drawn = examples(config, count=10_001, length=round(seconds * RATE))
    parts = drawn.draw(number)
    assert [p.source for p in parts] == [0, 1, 2, 2]
    for part in parts:
        assert abs(part.gain_db) <= 5
        assert 2 ** (-semitones / 12) - 1e-9 <= part.speed <= 2 ** (semitones / 12) + 1e-9
    sources = drawn.render(parts)[:, 0]
    size = frame_length(RATE)
    for part, audio in list(zip(parts, sources, strict=False))[:2]:
        quiet = silent_frames(audio, RATE)
        frames = len(audio) // size
        assert quiet.sum() <= 0.3 * frames + 4  # frames cut by seams and the change of speed
        level = 20 * np.log10(np.sqrt(np.mean(audio[np.repeat(~quiet, size).nonzero()] ** 2)))
        assert level == pytest.approx(LEVEL_DB + part.gain_db, abs=1.5)


def test_sources_sound_as_their_class(config):
    drawn = examples(config)
    for i in range(10):
        for name, audio in zip(CLASSES, drawn[i]["sources"][:, 0], strict=True):
            peak = np.argmax(np.abs(np.fft.rfft(audio))) * RATE / len(audio)
            assert PITCH[name] - 5 <= peak <= PITCH[name] + 160


def test_sources_are_absent_as_often_as_asked_and_never_all(config):
    drawn = examples(with_recipe(config, absent=0.4), count=600)
    present = np.array([np.any(drawn.track(i), axis=(1, 2)) for i in range(600)])
    assert np.all(present.any(axis=1))
    np.testing.assert_allclose(1 - present.mean(axis=0), 0.4, atol=0.07)
    assert all((drawn[i]["track"] >= 0).sum() == len(drawn.draw(i)) for i in range(20))


def test_validation_is_the_same_for_every_seed_and_leaves_clips_as_they_are(config):
    config, sources = with_recipe(config, files={"siren": ("hum/*",)}), ("siren", "click", "other")
    changed = with_recipe(config, low_pass=1.0, absent=0.5, reverb=1.0, generated={"siren": 1.0})
    valid = bank(config, "valid", sources)
    a, b = (c.recipe.validation(c, valid, sources) for c in (config, changed))
    assert len(a.names) == len(a.lengths) == 3
    for i in range(3):
        np.testing.assert_array_equal(a.track(i), b.track(i))
        assert np.all(np.any(a.track(i), axis=(1, 2)))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.booleans(), min_size=1, max_size=60), st.floats(0.0, 0.95), st.integers(1, 150))
def test_pauses_are_shortened_to_the_rule(silent, share, frames):
    silent = np.array(silent)
    silent[len(silent) // 2] = False
    kept = shorten_pauses(silent, share)
    assert set(np.flatnonzero(~silent)) <= set(kept)
    assert np.all(np.diff(kept) > 0)
    assert silent[kept].mean() <= share + 1e-9
    if silent.mean() <= share:
        assert len(kept) == len(silent)
    starts = sounding_starts(silent[kept], frames, share)
    assert len(starts)
    for start in starts:
        excerpt = silent[kept][(start + np.arange(frames)) % len(kept)]
        assert excerpt.mean() <= share + 1e-6


@pytest.mark.parametrize(("speed", "cutoff"), [(1.25, 0.0), (0.875, 0.0), (1.0, 800.0), (1.5, 800.0)])
def test_resampling_equals_scipy_in_the_middle(rng, speed, cutoff):
    """Against a polyphase resampler and an ideal filter, on noise that neither aliases nor clips."""
    from fractions import Fraction

    import scipy.signal

    sos = scipy.signal.butter(12, 500, fs=RATE, output="sos")
    noise = scipy.signal.sosfiltfilt(sos, rng.standard_normal(9000)).astype(np.float32)
    ours = play_back(noise, 6000, speed=speed, cutoff=cutoff, sample_rate=RATE)
    ratio = Fraction(speed).limit_denominator(64)
    theirs = scipy.signal.resample_poly(noise, ratio.denominator, ratio.numerator, window=("kaiser", 12.0))
    if cutoff:
        spectrum = np.fft.rfft(theirs)
        frequency = np.fft.rfftfreq(len(theirs), 1 / RATE)
        theirs = np.fft.irfft(spectrum / np.sqrt(1 + (frequency / cutoff) ** 32), len(theirs))
    inside = slice(600, 5000)
    np.testing.assert_allclose(ours[inside], theirs[inside], atol=0.01 * np.abs(noise).max())


def test_the_host_changes_sound_as_the_device_does(rng):
    """One function for numpy and JAX arrays: playback with all it can do, and a room."""
    x = rng.standard_normal((2, 3000)).astype(np.float32)
    gains, response = rng.uniform(-6, 6, 9), rng.standard_normal(500) * np.exp(-np.arange(500) / 90)
    change = partial(play_back, length=2000, speed=1.25, cutoff=900.0, sample_rate=RATE, gains_db=gains)
    host, device = change(x), jax.jit(change)(x)
    assert isinstance(host, np.ndarray) and host.dtype == np.float32
    np.testing.assert_allclose(device, host, atol=1e-4)
    np.testing.assert_allclose(jax.jit(in_room)(x, response), in_room(x, response), atol=1e-3)


@pytest.mark.parametrize("seed", range(2 * len(sirens.KINDS)))
def test_a_siren_is_finite_level_and_mostly_tonal(seed):
    audio = sirens.siren(np.random.default_rng(seed), 2 * 8000, 8000)
    assert audio.dtype == np.float32
    assert np.isfinite(audio).all()
    assert np.sqrt(np.mean(audio**2)) == pytest.approx(1.0, abs=1e-3)
    frames = np.abs(np.fft.rfft(audio[: 15 * 1024].reshape(15, 1024) * np.hanning(1024))) ** 2
    strongest = np.sort(frames, axis=1)[:, -60:].sum() / frames.sum()
    assert strongest > 0.5  # noise has 0.3 there


def test_generated_clips_follow_from_the_seed(config):
    config = with_recipe(config, files={"siren": ("hum/*",)}, generated={"siren": 1.0})
    a, b = (examples(config, sources=("siren", "click", "other")) for _ in range(2))
    np.testing.assert_array_equal(a[3]["sources"], b[3]["sources"])
    assert a.draw(3)[0].clip == -1
    assert np.any(a[3]["sources"][0] != a[4]["sources"][0])


def test_a_room_adds_echoes_and_keeps_the_level(config):
    dry, wet = (examples(with_recipe(config, reverb=x)) for x in (0.0, 1.0))
    parts = [part._replace(room=0) for part in wet.draw(0)]
    assert all(part.room for part in wet.draw(0))
    assert not any(part.room for part in dry.draw(0))
    before, after = dry.render(parts)[:, 0], wet.render(wet.draw(0))[:, 0]
    assert np.all(np.abs(after - before).max(axis=1) > 1e-3 * np.abs(before).max(axis=1))
    powers = [np.mean(np.square(x[:2], dtype=np.float64), axis=1) for x in (before, after)]
    np.testing.assert_allclose(*powers, rtol=1e-3)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (dict(absent=1.0), "absent=1.0"),
        (dict(max_silence=-0.1), "max_silence=-0.1"),
        (dict(gain_db=70.0), "gain_db=70.0"),
        (dict(generated={"siren": 2.0}), "generated={'siren': 2.0}"),
        (dict(generated={"hum": 0.5}), "there is no generator 'hum'"),
        (dict(reverb=-0.5), "reverb=-0.5"),
        (dict(overlay={"other": 0}), "overlay={'other': 0}"),
    ],
)
def test_a_wrong_mixing_is_refused(options, part):
    with pytest.raises(ValueError, match="expected") as error:
        ClassFolders(**options)
    assert part in str(error.value)


def test_clips_are_read_in_stereo(config, tmp_path):
    """Two channels of a clip are changed alike; a mono clip sounds on both."""
    left = tone("hum", 1.0, 0)
    write(tmp_path / "hum" / "wide.wav", np.stack([left, 0.5 * left], axis=1))
    write(tmp_path / "click" / "flat.wav", tone("click", 1.0, 0))
    config = with_recipe(config, files={}, speed_semitones=3.0, equalizer_db=6.0, reverb=0.5)
    config, sources = replace(config, train=str(tmp_path), valid="elsewhere"), ("hum", "click")
    stereo = build_bank(find_tracks(config, tmp_path, sources), RATE, config.cache, channels=2)
    drawn = config.recipe.examples(config, stereo, sources, 0, 2000, 20)
    for i in range(20):
        hum, click = drawn[i]["sources"]
        assert hum.shape == (2, 2000)
        if not any(part.room for part in drawn.draw(i)):
            np.testing.assert_array_equal(click[0], click[1])
            np.testing.assert_allclose(hum[1], 0.5 * hum[0], atol=1e-6)


def test_clips_are_placed_between_two_channels(config):
    """At the power of the middle, and in a room each channel has echoes of its own."""
    sources = ("hum", "click")
    bank = build_bank(find_tracks(config, Path(config.train), sources), RATE, config.cache, channels=2)
    placed = with_recipe(config, pan=0.8)
    drawn = placed.recipe.examples(placed, bank, sources, 0, 2000, 30)
    for i in range(30):
        for source, part in enumerate(drawn.draw(i)):
            left, right = drawn.render([part])[part.source].astype(np.float64)
            middle = drawn.render([part._replace(pan=0.0)])[part.source].astype(np.float64)
            np.testing.assert_allclose(np.sum(left**2 + right**2), np.sum(middle**2), rtol=1e-5)
            assert -0.8 <= part.pan <= 0.8 and source == part.source
            if np.any(left):
                found = np.arctan2(np.linalg.norm(right), np.linalg.norm(left)) * 4 / np.pi - 1
                assert found == pytest.approx(part.pan, abs=1e-4)
            wide = drawn.render([part._replace(room=7)])[part.source]
            bound = 1e-3 * np.abs(wide).max()
            assert not np.allclose(wide[0] * right.std(), wide[1] * left.std(), atol=bound)
    made = with_recipe(config, pan=0.8, generated={"hum": 1.0}, generators={"hum": sirens.Siren()})
    parts = [made.recipe.examples(made, bank, sources, 0, 2000, 9).draw(i)[0] for i in range(9)]
    assert all(part.clip == -1 for part in parts) and len({part.pan for part in parts}) == 9
    with pytest.raises(UserError, match="two channels"):
        placed.recipe.examples(placed, examples(config).bank, sources, 0, 2000, 3)


def test_wrong_patterns_of_names_are_refused():
    for pattern in ("(", "abc"):
        with pytest.raises(ValueError, match="recording="):
            DataConfig(StereoPairs(), recording=pattern)


DATA = os.environ.get("JAXSEP_DATA")


@pytest.mark.skipif(not DATA, reason="JAXSEP_DATA is not set: no real recordings")
def test_real_clips_have_the_silence_that_their_manifest_states():
    folder = Path(str(DATA)) / "fiveclass"
    with open(folder / "manifest.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["class"] == "dog"]
    ours = [silent_frames(*soundfile.read(folder / row["path"])).mean() for row in rows]
    stated = np.array([float(row["silence_ratio"]) for row in rows])
    np.testing.assert_allclose(ours, stated, atol=0.05)  # stated for clips before their last trim
    assert np.mean(ours) == pytest.approx(stated.mean(), abs=0.01)
