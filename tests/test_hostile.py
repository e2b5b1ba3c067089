"""The command line under hostile conditions: one bad file, name or place never takes the rest along."""

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import jax
import numpy as np
import pytest
import soundfile

import jaxsep.commands.evaluate
import jaxsep.commands.separate
from jaxsep._interrupts import interrupts_later
from jaxsep.augment import AugmentConfig
from jaxsep.cli import main
from jaxsep.codecs import STFT, Codec
from jaxsep.errors import UserError
from jaxsep.figures import Sound
from jaxsep.hub import load_model, save_model
from jaxsep.networks import LSTMMask
from jaxsep.parts import find, from_dict, names
from jaxsep.report import PageTrack, listening_page
from jaxsep.system import System, SystemConfig
from train.config import DataConfig, TrainConfig

RATE = 8000


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    codec = Codec(STFT(n_fft=256, hop_length=64))
    network = LSTMMask(layers=1, width=4)
    system = System(
        SystemConfig(sample_rate=RATE, codec=codec, network=network, segment_seconds=1.0, overlap_seconds=0.2)
    )
    return save_model(tmp_path_factory.mktemp("models") / "tiny", system, system.init(jax.random.key(0)))


@pytest.fixture
def tone(tmp_path):
    """Make a file of noise."""

    def make(name, folder="in"):
        path = tmp_path / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        x = np.random.default_rng(0).standard_normal(4000) / 5
        soundfile.write(os.fsencode(path), x, RATE, format="WAV")
        return path

    return make


@pytest.fixture
def references(tone, tmp_path):
    for track in ("one", "two"):
        for stem in ("vocals", "accompaniment"):
            tone(f"{track}/{stem}.wav", "references")
    return tmp_path / "references"


@pytest.mark.parametrize(
    "arguments",
    [
        "evaluate R --baseline irm --window nan",
        "evaluate R --baseline irm --window 0",
        "evaluate R --baseline irm --window 1 --hop inf",
        "evaluate R --baseline irm --jobs 0",
        "evaluate R --baseline irm --html-seconds nan",
        "evaluate R --baseline irm --html-tracks -1",
        "evaluate R -m vocals --wiener -1",
        "ica x.wav --iterations 0",
        "ica x.wav --resample 2000000000",
        "ica x.wav --sources 0",
        "ica x.wav --reference 0",
        "separate x.wav --seed 1" + 30 * "0",
        "separate x.wav --seed one",
    ],
)
def test_every_option_has_a_range_and_says_so(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments.split())
    assert stopped.value.code == 2
    value = arguments.split()[-1]
    assert f"{value}: expected a" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--json", "--csv", "--html"])
@pytest.mark.parametrize("place", ["missing/scores", "file.wav/scores", "folder", "x" * 260])
def test_places_for_scores_are_tried_before_the_work(
    references, tmp_path, option, place, monkeypatch, capsys
):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.wav").write_bytes(b"")
    monkeypatch.setattr(jaxsep.commands.evaluate, "evaluate_folders", lambda *a, **k: pytest.fail("worked"))
    assert main(["evaluate", str(references), "--baseline", "mixture", option, str(tmp_path / place)]) == 2
    assert f"{tmp_path / place}: cannot be written (" in capsys.readouterr().err


def test_a_track_that_cannot_be_read_loses_no_other_scores(references, tmp_path, capsys):
    (references / "two" / "vocals.wav").unlink()
    (references / "two" / "vocals.wav").symlink_to(tmp_path / "nothing.wav")
    scores = tmp_path / "scores.json"
    assert main(["evaluate", str(references), "--baseline", "irm", "--json", str(scores)]) == 2
    assert "vocals.wav: cannot be read (No such file" in capsys.readouterr().err
    assert list(json.loads(scores.read_text())["tracks"]) == ["one"]


def test_names_that_are_not_text_are_scored_and_printed(references, tmp_path, capsys):
    try:
        os.rename(references / "two", os.fsencode(references) + b"/tw\xff\x1b[2J")
    except OSError:
        pytest.skip("names must be UTF-8 here")
    csv = tmp_path / "scores.csv"
    command = ["evaluate", str(references), "--baseline", "irm", "--csv", str(csv), "-v"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert b"tw\xff" in csv.read_bytes()


def test_a_remedy_that_is_named_is_there(references, tmp_path, capsys):
    x = np.full((4000, 1), 0.1, np.float32)
    x[7] = np.nan
    soundfile.write(references / "two" / "vocals.wav", x, RATE, subtype="FLOAT")
    command = ["evaluate", str(references), "--baseline", "irm"]
    assert main(command) == 2
    assert "--sanitize" in capsys.readouterr().err
    assert main([*command, "--sanitize"]) == 0
    command = ["ica", str(references / "two" / "vocals.wav"), str(references / "one" / "vocals.wav")]
    command += ["-o", str(tmp_path / "out")]
    assert main(command) == 2
    assert "--sanitize" in capsys.readouterr().err
    assert main([*command, "--sanitize"]) == 0


@pytest.mark.parametrize(
    "error", [PermissionError(13, "Permission denied"), OSError(28, "No space left"), ValueError("odd")]
)
def test_whatever_happens_to_a_file_the_others_are_separated(
    model, tone, tmp_path, monkeypatch, capsys, error
):
    files = [str(tone(name)) for name in ("a.wav", "b.wav", "c.wav")]
    separate_file = jaxsep.commands.separate.separate_file

    def fails_at_b(separator, path, *arguments, **options):
        if path.endswith("b.wav"):
            raise error
        return separate_file(separator, path, *arguments, **options)

    monkeypatch.setattr(jaxsep.commands.separate, "separate_file", fails_at_b)
    assert main(["separate", "-m", str(model), "-o", str(tmp_path / "out"), *files]) == 2
    said = capsys.readouterr().err.strip()
    assert said == f"jaxsep: {files[1]}: could not be separated ({getattr(error, 'strerror', 0) or error})"
    assert {p.name for p in (tmp_path / "out" / "tiny").iterdir()} == {"a", "c"}


def test_a_folder_that_cannot_be_read_is_named(model, tone, tmp_path, monkeypatch, capsys):
    path, locked = tone("a.wav"), tmp_path / "locked"
    locked.mkdir()
    scan = os.scandir

    def refuses(folder="."):
        if os.fspath(folder) == str(locked):
            raise PermissionError(13, "Permission denied", str(locked))
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refuses)
    command = ["separate", "-m", str(model), "-o", str(tmp_path / "out"), str(locked), str(path)]
    assert main(command) == 2
    assert f"{locked}: cannot be read (Permission denied)" in capsys.readouterr().err
    assert (tmp_path / "out" / "tiny" / "a" / "vocals.wav").exists()


def run(*arguments, environment=(), **options):
    command = [sys.executable, "-m", "jaxsep", *map(str, arguments)]
    return subprocess.run(command, env={**os.environ, **dict(environment)}, capture_output=True, **options)


def test_a_name_that_the_terminal_cannot_print_ends_no_batch(model, tone, tmp_path):
    files = tone("\u00e9t\u00e9.wav"), tone("b.wav")
    environment = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = run("separate", "-m", model, "-o", tmp_path / "out", *files, environment=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    assert rb"\xe9t\xe9.wav ->" in done.stdout
    assert len(list((tmp_path / "out" / "tiny").glob("*/vocals.wav"))) == 2


def test_the_standard_input_is_separated(model, tone, tmp_path):
    data = tone("a.wav").read_bytes()
    done = run("separate", "-m", model, "-o", tmp_path / "out", "-", input=data)
    assert (done.returncode, done.stderr) == (0, b"")
    assert soundfile.info(tmp_path / "out" / "tiny" / "stdin" / "vocals.wav").frames == 4000


def test_another_standard_input_is_another_track(model, tone, tmp_path):
    data = tone("a.wav").read_bytes()
    for _ in range(2):
        run("separate", "-m", model, "-o", tmp_path / "out", "-", input=data, check=True)
    assert {p.name for p in (tmp_path / "out" / "tiny").iterdir()} == {"stdin", "stdin-2"}


def test_microphones_come_through_a_pipe(tone, tmp_path):
    x = np.random.default_rng(0).laplace(size=(4000, 2)) / 20
    soundfile.write(tmp_path / "two.wav", x, RATE)
    done = run("ica", "-o", tmp_path / "out", "-", input=(tmp_path / "two.wav").read_bytes())
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(os.name != "posix", reason="pipes of a shell")
def test_a_reader_that_leaves_gets_no_last_words():
    command = f"{sys.executable} -m jaxsep models --json | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True)
    assert done.stderr == b""


def test_a_page_takes_no_name_for_markup(tmp_path, rng):
    name = "<!--<script>&</article>$\\frac$"
    sounds = [Sound(name, rng.standard_normal(4000).astype(np.float32))]
    scores = [{"stem": name, "sdr": 1.0}]
    page = listening_page(
        name, [PageTrack(name, sounds, RATE, scores)], text=name, summary=scores, config=name
    )
    assert "<!--<script>" not in page
    data = re.search(r'id="scores">(.*?)</script>', page)[1]
    assert json.loads(data)["tracks"][name][0]["stem"] == name


@pytest.mark.parametrize("header", ['{"a":%s,"a":%s}', '{"__metadata__":{},"a":%s,"b":%s,"a":%s}'])
def test_weights_that_are_named_twice_are_refused(model, tmp_path, header):
    folder = tmp_path / "twice"
    shutil.copytree(model, folder)
    entry = '{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
    text = header.replace("%s", entry).encode()
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(4))
    config = json.loads((folder / "config.json").read_text())
    config.pop("sha256", None)
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="names a twice"):
        load_model(folder)


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="no such device")
@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null"])
def test_a_device_is_no_file(model, tmp_path, capsys, device):
    assert main(["separate", "-m", str(model), "-o", str(tmp_path / "out"), device]) == 2
    said = capsys.readouterr().err
    assert said == f"jaxsep: {device}: is a device, not a file or a pipe; - is the standard input\n"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_named_pipe_says_that_it_is_waited_for(model, tone, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    data = tone("a.wav").read_bytes()
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(data))
    writer.start()
    done = run("separate", "-m", model, "-o", tmp_path / "out", tmp_path / "pipe")
    writer.join()
    assert (done.returncode, done.stderr.count(b"a pipe, read to its end first")) == (0, 1)


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("seconds", [0.02, 0.2, 0.5, 1.0])
def test_an_interrupt_at_any_time_leaves_no_traceback(model, tmp_path, seconds):
    """From the command's beginning on; the input is a pipe that never ends, so nothing else ends it."""
    hears = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    runs = "from jaxsep.__main__ import main; print('now', flush=True); raise SystemExit(main())"
    command = [sys.executable, "-c", hears + runs, "separate", "-m", str(model), "-o", str(tmp_path), "-"]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, **pipes) as child:
        assert child.stdout.readline() == b"now\n"  # what Python itself imports before takes any time
        time.sleep(seconds)
        child.send_signal(signal.SIGINT)
        try:
            said = child.communicate(timeout=60)[1]
        finally:
            child.kill()
    assert child.returncode == 130, said
    assert b"Traceback" not in said


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_an_interrupt_of_an_import_is_raised_once_it_has_ended():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
    steps = []
    try:
        with pytest.raises(KeyboardInterrupt), interrupts_later():
            signal.raise_signal(signal.SIGINT)
            steps.append("imported")
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        with pytest.raises(KeyboardInterrupt), interrupts_later():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            steps.append("never")
    finally:
        signal.signal(signal.SIGINT, before)
    assert steps == ["imported"]


@pytest.mark.skipif(os.name != "posix", reason="timers of POSIX")
def test_a_dropped_interrupt_comes_again():
    """Raised in a callback of the garbage collector, Python drops it; then the command waits for input."""
    code = """if True:
        import gc, os
        from jaxsep._interrupts import ComingAgain

        def interrupted(phase, info):
            gc.callbacks.remove(interrupted)
            raise KeyboardInterrupt

        with ComingAgain() as interrupts:
            gc.callbacks.append(interrupted)
            gc.collect()
            try:
                os.read(0, 1)
            except KeyboardInterrupt:
                print(interrupts.dropped)
    """
    command = [sys.executable, "-c", code]
    read, write = os.pipe()  # nothing comes and it does not end
    try:
        done = subprocess.run(command, stdin=read, stdout=subprocess.PIPE, timeout=60)
    finally:
        os.close(read)
        os.close(write)
    assert done.stdout == b"True\n"


@pytest.mark.parametrize(("device", "package"), [("gpu", "jax[cuda"), ("tpu", "jax[tpu]")])
def test_a_device_that_is_not_there_says_what_to_install(device, package):
    if any(d.platform == device for d in jax.devices()):
        pytest.skip(f"there is a {device}")
    done = run("models", "--device", device)
    assert done.returncode == 2
    assert f"--device {device}: JAX {jax.__version__} finds none here".encode() in done.stderr
    assert package.encode() in done.stderr and b"Traceback" not in done.stderr


def fields():
    """Every whole number and float of every part and of a run's config."""
    kinds = ("network", "codec", "transform", "scale", "normalizer", "head", "inversion", "loss", "optimizer")
    parts = [find(kind, name) for kind in (*kinds, "schedule", "recipe", "generator") for name in names(kind)]
    parts += [SystemConfig, TrainConfig, DataConfig, AugmentConfig]
    for part in parts:
        if part.__module__.startswith(("jaxsep.", "train.")):
            for field in dataclasses.fields(part):
                kind = {"int": int, "int | None": int, "float": float, "float | None": float}.get(field.type)
                if kind and field.init:
                    yield pytest.param(part, field.name, kind, id=f"{part.__name__}.{field.name}")


@pytest.mark.parametrize(("part", "field", "kind"), list(fields()))
def test_no_field_of_a_config_is_without_bounds(part, field, kind):
    """Nothing that a config states makes work or memory without end."""
    values = (10**12, -(10**12)) if kind is int else (float("inf"), float("nan"), float("-inf"))
    for value in values:
        with pytest.raises(ValueError, match=field):
            from_dict(part, {field: value})
