"""The examples run, and do what they say."""

import json
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run an example in a folder of its own; return its names and what it printed."""

    def example(name, *arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        names = runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return names, capsys.readouterr().out

    return example


@pytest.mark.slow
def test_a_song_is_separated_into_files(run, tmp_path):
    names, said = run("separate.py")
    assert {p.name for p in tmp_path.glob("*.wav")} == {"vocals.wav", "accompaniment.wav"}
    assert "vocals.wav: 6.0 s" in said
    run("separate.py", str(tmp_path / "vocals.wav"))


def test_a_network_learns_on_arrays(run, tmp_path):
    names, said = run("train_on_arrays.py")
    assert float(names["gain"].mean()) > 10
    assert (tmp_path / "notes" / "model.safetensors").exists()


def test_a_room_is_separated_blindly(run):
    names, _ = run("blind_room.py")
    assert (names["scores"].sir > names["before"].sir + 5).all()


def test_two_speakers_are_found_and_so_is_their_mixing(run):
    names, _ = run("two_speakers.py")
    assert (np.asarray(names["scores"].sir) > 20).all()
    found, mixing = names["found"], names["mixing"]
    np.testing.assert_allclose(found / found[0], mixing / mixing[0], rtol=0.05)


@pytest.mark.slow
def test_a_causal_system_goes_on_while_sound_comes(run):
    names, said = run("live.py")
    assert said.startswith("32 ms behind") and float(names["gain"].min()) > 5


def test_every_example_is_here():
    tested = set(re.findall(r'run\("(\w+\.py)"', Path(__file__).read_text())) | {"own_parts.py"}
    assert tested == {p.name for p in EXAMPLES.glob("*.py")}


@pytest.mark.slow
def test_the_notebook_runs_and_holds_what_it_showed():
    cells = json.loads((EXAMPLES / "tour.ipynb").read_text())["cells"]
    names: dict = {"__name__": "__main__"}
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert any(
        "<audio" in "".join(out.get("data", {}).get("text/html", "")) for c in code for out in c["outputs"]
    )
    for cell in code:
        exec(compile("".join(cell["source"]), "tour.ipynb", "exec"), names)
    assert (np.asarray(names["scores"].sir) > 10).all()
    gain = np.asarray(names["jaxsep"].si_sdr(names["reference"], names["learnt"]) - names["before"])
    assert (gain > 3).all()
