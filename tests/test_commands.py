"""The commands, as a user runs them."""

import json
import os
import platform
import shutil
import subprocess
import sys

import jax
import mir_eval
import numpy as np
import pytest
import soundfile

from jaxsep.cli import main
from jaxsep.errors import UserError
from jaxsep.evaluation import FIGURES, baseline_estimator, folders, mute_inaudible, score_track, summarize
from jaxsep.evaluation.track import INAUDIBLE_DB
from jaxsep.examples import song
from jaxsep.hub import save_model
from jaxsep.networks import LSTMMask
from jaxsep.separator import Separator
from jaxsep.system import System, SystemConfig


@pytest.mark.slow
def test_the_demo_improves_every_stem(tmp_path, capsys):
    assert main(["demo", "-o", str(tmp_path / "demo")]) == 0
    said = capsys.readouterr().out
    gains = [
        float(line.split("+")[1].split()[0]) for line in said.splitlines() if "dB" in line and "+" in line
    ]
    assert len(gains) == 2
    assert min(gains) > 3
    names = {str(p.relative_to(tmp_path / "demo")) for p in (tmp_path / "demo").rglob("*.*")}
    assert {
        "index.html",
        "spectrograms.png",
        "mixture.wav",
        "vocals/vocals.wav",
        "vocals/accompaniment.wav",
    } <= names
    page = (tmp_path / "demo" / "index.html").read_text()
    assert page.count("<audio") == 5
    assert "http" not in page.replace("http-equiv", "")


def test_the_shipped_model_separates_songs_it_never_heard():
    separator = Separator.from_pretrained("vocals")
    for seed in (1, 2):
        parts = song(8.0, 44100, seed)
        stems = separator(parts["vocals"] + parts["accompaniment"], 44100)
        references = np.stack([parts["vocals"], parts["accompaniment"]])[:, None]
        estimates = np.stack([stems["vocals"], stems["accompaniment"]])[:, None]
        assert min(s["si_sdri"] for s in score_track(references, estimates)) > 3


def test_models_lists_what_ships(capsys):
    assert main(["models", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert "vocals" in [row["name"] for row in rows]
    assert all({"scores", "license", "bytes", "sha256"} <= row.keys() for row in rows)
    assert main(["models"]) == 0
    assert "vocals" in capsys.readouterr().out


def test_a_model_that_leaves_fields_to_defaults_hides_no_other(tmp_path, capsys, monkeypatch):
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "config.json").write_text('{"format": 2, "system": {}}')
    (tmp_path / "bare" / "model.safetensors").write_bytes(b"")
    monkeypatch.setenv("JAXSEP_MODELS", str(tmp_path))
    assert main(["models"]) == 0
    said = capsys.readouterr().out
    assert "bare: \n  stems vocals, accompaniment; 16000 Hz" in said and "sounds:" in said
    assert main(["info", str(tmp_path / "bare")]) == 0
    assert "stems       vocals, accompaniment" in capsys.readouterr().out


def write_tracks(folder, audio, rate=8000):
    for track, stems in audio.items():
        (folder / track).mkdir(parents=True)
        for stem, x in stems.items():
            soundfile.write(folder / track / f"{stem}.wav", x.T, rate, subtype="FLOAT")


def test_evaluate_equals_mir_eval(tmp_path, rng, capsys):
    references = {f"t{i}": {s: rng.standard_normal((1, 3000 + 500 * i)) for s in "ab"} for i in range(2)}
    estimates = {
        t: {s: x + 0.3 * rng.standard_normal(x.shape) for s, x in v.items()} for t, v in references.items()
    }
    write_tracks(tmp_path / "r", references)
    write_tracks(tmp_path / "e", estimates)
    out = tmp_path / "scores.json"
    assert main(["evaluate", str(tmp_path / "r"), str(tmp_path / "e"), "--json", str(out), "-v"]) == 0
    printed = capsys.readouterr().out
    result = json.loads(out.read_text())
    sdrs, lengths = [], []
    for track, stems in references.items():
        s = np.concatenate([stems[k] for k in "ab"])
        e = np.concatenate([estimates[track][k] for k in "ab"])
        with pytest.warns(FutureWarning):
            sdr, sir, sar, _ = mir_eval.separation.bss_eval_sources(s, e, False)
            mixed = mir_eval.separation.bss_eval_sources(s, np.repeat(s.sum(0, keepdims=True), 2, 0), False)[
                0
            ]
        row = result["tracks"][track]["a"]
        for name, value in (("sdr", sdr[0]), ("sir", sir[0]), ("sar", sar[0]), ("nsdr", sdr[0] - mixed[0])):
            assert row[name] == pytest.approx(value, abs=2e-3)
        sdrs.append(sdr[0])
        lengths.append(s.shape[1])
    expected = np.average(sdrs, weights=lengths)
    assert result["summary"]["a"]["sdr"] == pytest.approx(expected, abs=2e-3)
    assert f"{expected:.2f}" in printed


def test_the_mixture_as_its_own_estimate_gains_nothing(rng):
    s = rng.standard_normal((2, 2, 4000))
    scores = score_track(s, np.repeat(s.sum(0, keepdims=True), 2, 0))
    assert all(row["nsdr"] == row["si_sdri"] == 0 for row in scores)


def test_voiced_samples_are_scored_apart(tmp_path, capsys):
    """A tone that comes and goes, and noise that the estimate holds where there is no tone."""
    t = np.arange(16000) / 8000
    tone = np.where(t % 1 < 0.5, np.sin(2 * np.pi * 200 * t), 0).astype(np.float32)
    noise = 0.1 * np.random.default_rng(0).standard_normal(16000).astype(np.float32)
    breath = np.where(t % 1 < 0.5, 0, 0.05).astype(np.float32) * noise
    stems = {"voice": (tone + breath)[None], "rest": noise[None]}
    write_tracks(tmp_path / "r", {"t": stems}, rate=8000)
    held = np.where(t % 1 < 0.5, 0, noise).astype(np.float32)
    write_tracks(tmp_path / "e", {"t": {"voice": (tone + held)[None], "rest": noise[None]}}, rate=8000)
    command = ["evaluate", str(tmp_path / "r"), str(tmp_path / "e"), "--voiced"]
    assert main([*command, "voice", "--json", str(tmp_path / "s.json")]) == 0
    assert "unvoiced" in capsys.readouterr().out
    voice = json.loads((tmp_path / "s.json").read_text())["summary"]["voice"]
    assert voice["si_sdri_voiced"] > 6 > abs(voice["si_sdri_unvoiced"])
    assert main([*command, "drums"]) == 2
    assert "no reference of drums, whose pitch decides" in capsys.readouterr().err


def test_silence_has_no_score_and_spoils_no_other(rng):
    s = rng.standard_normal((3, 1, 4000))
    e = s + 0.1 * rng.standard_normal(s.shape)
    without = score_track(s[1:], e[1:])
    s[0] = 0
    scores = score_track(s, e)
    judged = score_track(s, e, judge="mir_eval")
    assert all(judged[0][name] is None for name in FIGURES)
    for ours, theirs in zip(scores[1:], judged[1:], strict=True):
        assert all(ours[name] == pytest.approx(theirs[name], abs=1e-3) for name in FIGURES)
    assert all(scores[0][name] is None for name in FIGURES)
    assert scores[0]["silent"] == "reference"
    quiet = score_track(s, [e[0], None, e[2]])
    assert quiet[1] == {**dict.fromkeys(FIGURES), "silent": "estimate"}
    for name in FIGURES:
        assert quiet[2][name] == pytest.approx(scores[2][name], abs=1e-3)
    assert scores[1]["sdr"] == pytest.approx(without[0]["sdr"], abs=1e-3)
    tracks = {"t": {name: {**row, "seconds": 1.0} for name, row in zip("abc", scores, strict=True)}}
    counts = {"tracks": 1, "silent references": 1, "silent estimates": 0, "perfect": 0}
    assert summarize(tracks)["a"] == {**dict.fromkeys(FIGURES), **counts}


@pytest.mark.parametrize("louder", [-4, 4])
def test_a_reference_far_below_the_mixture_is_silent(rng, louder):
    s = rng.standard_normal((2, 2, 4000))
    s[1, 1] *= 10 ** (-(INAUDIBLE_DB - louder) / 20)  # one channel of a stem panned to the other
    muted = mute_inaudible(s)
    assert np.any(muted[1, 1]) == (louder > 0)
    np.testing.assert_array_equal(muted[0], s[0])
    np.testing.assert_array_equal(muted[1, 0], s[1, 0])
    e = s + 0.1 * rng.standard_normal(s.shape)
    both, left = score_track(s, e)[1], score_track(s[:, :1], e[:, :1])[1]
    assert both["silent"] is None
    assert (both["sdr"] == pytest.approx(left["sdr"], abs=1e-3)) == (louder < 0)
    s[0, 0, 5] = np.nan
    assert np.isnan(mute_inaudible(s)[0, 0, 5])


def test_evaluate_says_what_is_missing(tmp_path, rng, capsys):
    x = rng.standard_normal((1, 2000))
    write_tracks(tmp_path / "r", {"t": {"a": x, "b": 2 * x[:, ::-1]}, "u": {"a": x, "b": x}, "v": {"a": x}})
    write_tracks(tmp_path / "e", {"t": {"a": x}, "v": {"a": x[:, :-5]}})
    assert main(["evaluate", str(tmp_path / "r"), str(tmp_path / "e")]) == 2
    said = capsys.readouterr().err
    for part in ("lacks the track u", "t: no estimate of b", "v: references have"):
        assert part in said
    assert main(["evaluate", str(tmp_path / "r"), str(tmp_path / "nowhere")]) == 2
    assert "no such folder" in capsys.readouterr().err


def write_loop(folder, rng):
    """A track of a loop under a falling tone, as vocals and accompaniment."""
    loop = np.tile(rng.standard_normal((1, 8000)), 4)
    t = np.arange(loop.shape[1]) / 8000
    write_tracks(folder, {"t": {"vocals": np.sin(2 * np.pi * (900 - 80 * t) * t)[None], "band": loop}})


@pytest.mark.slow
def test_every_score_stands_between_nothing_and_the_ceiling(tmp_path, rng):
    write_loop(tmp_path / "r", rng)
    scores = {}
    for baseline in ("mixture", "repet", "irm", "ibm", "wiener", "psm"):
        out = tmp_path / f"{baseline}.json"
        command = ["evaluate", "-q", str(tmp_path / "r"), "--baseline", baseline, "--json", str(out)]
        assert main(command) == 0
        scores[baseline] = json.loads(out.read_text())["summary"]["vocals"]["nsdr"]
    assert scores["mixture"] == 0
    assert 3 < scores["repet"] < max(scores.values())


def test_baselines_refuse_what_they_cannot_separate(tmp_path, rng, capsys):
    write_loop(tmp_path / "r", rng)
    for name, reason in (("hpss", "separates 'drums'"), ("nonesuch", "expected one of mixture")):
        assert main(["evaluate", str(tmp_path / "r"), "--baseline", name]) == 2
        assert reason in capsys.readouterr().err
    assert main(["evaluate", str(tmp_path / "r")]) == 2
    assert "expected one of a folder" in capsys.readouterr().err


@pytest.mark.slow
def test_a_model_is_scored_on_the_sum_of_its_references(tmp_path):
    parts = song(4.0, 16000, seed=0)
    write_tracks(tmp_path / "r", {"song": {k: x[None] for k, x in parts.items()}}, rate=16000)
    out, page, table = (tmp_path / name for name in ("s.json", "s.html", "s.csv"))
    command = ["evaluate", "-q", str(tmp_path / "r"), "-m", "vocals", "--json", str(out)]
    assert main([*command, "--html", str(page), "--csv", str(table)]) == 0
    rows = json.loads(out.read_text())["tracks"]["song"]
    assert rows["vocals"]["si_sdri"] > 3
    head, *lines = table.read_text().splitlines()
    assert head == "track,stem,sdr,sir,sar,nsdr,si_sdr,si_sdri,silent,seconds"
    assert f"song,vocals,{rows['vocals']['sdr']}," in lines[0] + lines[1]
    shown = json.loads(page.read_text().split('id="scores">')[1].split("</script>")[0])
    for row in shown["tracks"]["song"]:
        assert row["sdr, dB"] == f"{rows[row['stem']]['sdr']:.2f}"
        assert f">{row['sdr, dB']}</td>" in page.read_text()
    assert page.read_text().count("<audio") == 5


def test_the_page_is_of_what_was_scored_where_files_hold_values_that_are_none(tmp_path, rng):
    audio = {stem: rng.standard_normal((1, 2000)) for stem in "ab"}
    audio["a"][0, 5] = np.nan
    for folder in "re":
        write_tracks(tmp_path / folder, {"x": audio})
    command = ["evaluate", "-q", str(tmp_path / "r"), str(tmp_path / "e"), "--sanitize"]
    assert main([*command, "--html", str(tmp_path / "s.html")]) == 0
    assert (tmp_path / "s.html").read_text().count("<audio") == 5


def test_a_mixture_beside_its_sources_is_none_of_them(tmp_path, rng):
    """As MUSDB18 has it."""
    audio = {stem: rng.standard_normal((1, 2000)) for stem in "ab"}
    write_tracks(tmp_path / "r", {"x": audio})
    plain = folders.evaluate_folders(tmp_path / "r", baseline_estimator("irm"))
    write_tracks(tmp_path / "m", {"x": {**audio, "mixture": sum(audio.values())}})
    found = folders.evaluate_folders(tmp_path / "m", tmp_path / "r")
    assert not found.problems and list(found.tracks["x"]) == ["a", "b"]
    assert folders.evaluate_folders(tmp_path / "m", baseline_estimator("irm")).tracks == plain.tracks
    write_tracks(tmp_path / "alone", {"x": {"mixture": audio["a"]}})
    assert list(folders.find_references(tmp_path / "alone")["x"]) == ["mixture"]


def test_two_files_of_one_stem_are_no_score(tmp_path, rng):
    audio = {t: {stem: rng.standard_normal((1, 2000)) for stem in "ab"} for t in "xy"}
    write_tracks(tmp_path / "r", audio)
    write_tracks(tmp_path / "e", audio)
    soundfile.write(tmp_path / "e" / "x" / "a.flac", 0.1 * audio["x"]["a"].T, 8000)
    found = folders.evaluate_folders(tmp_path / "r", tmp_path / "e")
    assert list(found.tracks) == ["y"]
    assert any("x/a.flac and a.wav: two files of one stem" in str(p) for p in found.problems)
    (tmp_path / "e" / "x" / "a.flac").rename(tmp_path / "r" / "y" / "b.flac")
    assert list(folders.evaluate_folders(tmp_path / "r", tmp_path / "e").tracks) == ["x"]


def test_a_track_that_is_one_source_alone_improves_by_nothing_and_is_left_out_of_means(tmp_path, rng):
    audio = {t: {stem: rng.standard_normal((1, 2000)) for stem in "ab"} for t in "xy"}
    audio["y"]["b"][:] = 0
    write_tracks(tmp_path / "r", audio)
    noisy = {t: {k: x + 0.1 * rng.standard_normal(x.shape) for k, x in v.items()} for t, v in audio.items()}
    write_tracks(tmp_path / "e", noisy)
    found = folders.evaluate_folders(tmp_path / "r", tmp_path / "e")
    assert found.tracks["y"]["a"]["nsdr"] == found.tracks["y"]["a"]["si_sdri"] == -np.inf
    assert found.summary()["a"]["nsdr"] == pytest.approx(found.tracks["x"]["a"]["nsdr"], abs=1e-3)


def test_what_stands_in_the_way_of_every_score_is_said(tmp_path, rng):
    write_tracks(tmp_path / "r", {t: {"a": rng.standard_normal((1, 2000))} for t in "xy"})
    write_tracks(tmp_path / "e", {"x": {"a": rng.standard_normal((1, 1999))}})
    with pytest.raises(UserError, match=r"x: .*1999.*; .*lacks the track y"):
        folders.evaluate_folders(tmp_path / "r", tmp_path / "e")


def test_what_an_estimator_returns_is_scored_even_where_it_is_what_it_was_given(tmp_path, rng):
    write_tracks(tmp_path, {"x": {stem: rng.standard_normal((1, 2000)) for stem in "ab"}})
    found = folders.evaluate_folders(tmp_path, lambda references, rate: references)
    assert not found.problems
    assert [row["si_sdr"] for row in found.tracks["x"].values()] == [np.inf, np.inf]


def test_resuming_scores_only_what_is_new(tmp_path, rng, monkeypatch):
    audio = {t: {"a": rng.standard_normal((1, 2000)), "b": rng.standard_normal((1, 2000))} for t in "xyz"}
    write_tracks(tmp_path / "r", audio)
    write_tracks(tmp_path / "e", {t: {k: x + 0.1 for k, x in v.items()} for t, v in audio.items()})
    out = tmp_path / "s.json"
    command = ["evaluate", "-q", str(tmp_path / "r"), str(tmp_path / "e"), "--json", str(out), "--resume"]
    assert main(command) == 0
    first, scored = json.loads(out.read_text()), []
    score = folders.score_track
    monkeypatch.setattr(folders, "score_track", lambda *a: scored.append(1) or score(*a))
    soundfile.write(tmp_path / "e" / "y" / "a.wav", audio["y"]["a"].T, 8000, subtype="FLOAT")
    assert main(command) == 0
    second = json.loads(out.read_text())
    assert len(scored) == 1
    assert second["tracks"]["x"] == first["tracks"]["x"]
    assert second["tracks"]["y"]["a"]["sdr"] > first["tracks"]["y"]["a"]["sdr"]


def test_resuming_says_again_what_is_wrong(tmp_path, rng, capsys):
    write_tracks(tmp_path / "r", {"x": {k: rng.standard_normal((1, 2000)) for k in "ab"}})
    write_tracks(tmp_path / "e", {"x": {"a": rng.standard_normal((1, 2000))}})
    command = ["evaluate", str(tmp_path / "r"), str(tmp_path / "e"), "--json", str(tmp_path / "s.json")]
    for _ in range(2):
        assert main([*command, "--resume"]) == 2
        assert "no estimate of b" in capsys.readouterr().err


def test_resuming_scores_a_model_trained_anew_again(tmp_path, rng):
    write_tracks(tmp_path / "r", {"x": {k: rng.standard_normal((1, 2000)) for k in "ab"}})
    command = ["evaluate", "-q", str(tmp_path / "r"), "--json", str(tmp_path / "s.json"), "--resume"]
    scores = []
    for seed in range(2):
        system = System(SystemConfig(sources=("a", "b"), residual="b", network=LSTMMask(layers=1, width=4)))
        save_model(tmp_path / "m", system, system.init(jax.random.key(seed)))
        assert main([*command, "-m", str(tmp_path / "m")]) == 0
        scores.append(json.loads((tmp_path / "s.json").read_text())["tracks"]["x"]["a"]["sdr"])
    assert scores[0] != scores[1]


def test_a_perfect_estimate_is_counted(tmp_path, rng, capsys):
    """Its SI-SDR is infinite; means are of the others, and say so."""
    for track, perfect in (("one", True), ("two", False)):
        for stem in ("a", "b"):
            x = rng.standard_normal(4000).astype(np.float32) / 5
            y = x if perfect else x + rng.standard_normal(4000).astype(np.float32) / 50
            for folder, signal in (("references", x), ("estimates", y)):
                (tmp_path / folder / track).mkdir(parents=True, exist_ok=True)
                soundfile.write(tmp_path / folder / track / f"{stem}.wav", signal, 8000, subtype="FLOAT")
    scores = tmp_path / "scores.json"
    command = ["evaluate", str(tmp_path / "references"), str(tmp_path / "estimates"), "--json", str(scores)]
    assert main(command) == 0
    said, found = capsys.readouterr().out, json.loads(scores.read_text())
    assert "left out: 1 perfect (+inf dB SI-SDR)" in said
    assert found["tracks"]["one"]["a"]["si_sdr"] == "inf"
    assert found["summary"]["a"]["perfect"] == 1
    assert found["summary"]["a"]["si_sdr"] == found["tracks"]["two"]["a"]["si_sdr"]
    assert main([*command, "--resume"]) == 0
    assert json.loads(scores.read_text()) == found
    shutil.rmtree(tmp_path / "references" / "two")
    shutil.rmtree(tmp_path / "estimates" / "two")
    assert main(command) == 0
    assert json.loads(scores.read_text())["summary"]["a"]["si_sdr"] == "inf"


def test_frames_are_scored_as_images(tmp_path, rng, capsys):
    audio = {"t": {k: rng.standard_normal((2, 6000)) for k in "ab"}}
    write_tracks(tmp_path / "r", audio)
    write_tracks(tmp_path / "e", {"t": {k: 0.5 * x for k, x in audio["t"].items()}})
    out = tmp_path / "s.json"
    command = ["evaluate", str(tmp_path / "r"), str(tmp_path / "e"), "--window", "0.2", "--json", str(out)]
    assert main(command) == 0
    row = json.loads(out.read_text())["tracks"]["t"]["a"]
    assert row["sdr"] == pytest.approx(6.02, abs=0.01)
    assert row["isr"] == pytest.approx(6.02, abs=0.01)
    assert "median over 1 tracks" in capsys.readouterr().out


def test_options_mean_the_same_everywhere(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith("jaxsep ")
    for command in ("separate", "evaluate", "models", "demo"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        said = capsys.readouterr().out
        for option in ("--seed", "--device", "-q", "-v"):
            assert option in said
    with pytest.raises(SystemExit) as stop:
        main(["separate"])
    assert stop.value.code == 2


def test_the_command_starts_from_anywhere(tmp_path):
    result = subprocess.run(
        [sys.executable, "-m", "jaxsep", "models"], cwd=tmp_path, capture_output=True, text=True
    )
    assert result.returncode == 0
    assert "vocals" in result.stdout


def in_a_process(program, told):
    """What a program prints that knows ``resident()`` and ``c.malloc``; ``told``: more of its environment."""
    head = """if True:
        import ctypes

        def resident():
            with open("/proc/self/statm") as file:
                return int(file.read().split()[1]) * 4096

        c = ctypes.CDLL(None)
        c.malloc.restype, c.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
        c.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))} | told
    command = [sys.executable, "-c", head + program]
    found = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert found.returncode == 0, found.stderr
    return int(found.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told to")
@pytest.mark.parametrize(
    ("told", "bound"),
    [
        ({}, True),
        ({"MALLOC_TRIM_THRESHOLD_": str(1 << 30), "MALLOC_MMAP_MAX_": "0"}, False),
        ({"GLIBC_TUNABLES": f"glibc.malloc.trim_threshold={1 << 30}:glibc.malloc.mmap_max=0"}, False),
    ],
)
def test_commands_keep_little_of_freed_memory(told, bound):
    """Of small arrays 128 MB, of one over 32 MB nothing, of one of 16 MB all; threads share the heap."""
    program = """
        import contextlib
        import io
        import sys
        from threading import Thread

        from jaxsep.__main__ import main

        c.sbrk.restype = ctypes.c_void_p
        blocks, shared = [0] * 6000, []

        def use(size, count):
            for i in range(count):
                blocks[i] = c.malloc(size)  # on the heap, and nothing of Python's after the last
                c.memset(blocks[i], 1, size)
            assert resident() - before > 0.95 * size * count
            for i in reversed(range(count)):
                c.free(blocks[i])
            return resident() - before

        sys.argv = ["jaxsep", "completion", "bash"]
        with contextlib.redirect_stdout(io.StringIO()):
            assert main() == 0
        thread = Thread(target=lambda: shared.append(c.malloc(1 << 16) < c.sbrk(0)))
        thread.start()
        thread.join()
        assert shared == [not KEPT]
        before = resident()
        left = use(1 << 24, 1)
        assert left > 15e6, left
        left = use(1 << 26, 1)
        assert left < 20e6 or KEPT, left
        print(use(1 << 16, 6000))
    """.replace("KEPT", str(not bound))
    assert (in_a_process(program, told) < 140e6) == bound


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told to")
@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ({}, True),
        ({"MALLOC_ARENA_MAX": "4"}, False),
        ({"MALLOC_MMAP_MAX_": "1000"}, False),
        ({"GLIBC_TUNABLES": "glibc.malloc.arena_max=4"}, False),
    ],
)
def test_training_keeps_freed_memory_for_the_next_arrays(told, kept):
    program = """
        from threading import Thread

        from jaxsep._memory import keep_freed

        def use():
            block = c.malloc(1 << 27)
            c.memset(block, 1, 1 << 27)
            assert resident() - before > 120e6
            c.free(block)

        keep_freed()
        before = resident()
        thread = Thread(target=use)  # as XLA's: with arenas of its own it would map the block
        thread.start()
        thread.join()
        print(resident() - before)
    """
    assert (in_a_process(program, told) > 120e6) == kept
