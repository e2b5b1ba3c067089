"""The options of ``jaxsep separate``, as users of other separators know them; ``info`` and ``completion``."""

import copy
import json
import subprocess
import sys

import jax
import numpy as np
import pytest
import soundfile

from jaxsep.audio import read_audio
from jaxsep.audio.loudness import loudness
from jaxsep.cli import _parser, main
from jaxsep.codecs import STFT, Codec
from jaxsep.commands.completion import script
from jaxsep.errors import UserError
from jaxsep.hub import save_model
from jaxsep.networks import LSTMMask
from jaxsep.separator import Separator, Stems
from jaxsep.system import System, SystemConfig

RATE = 8000
STEMS = ("vocals", "accompaniment")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    config = SystemConfig(
        sample_rate=RATE,
        codec=Codec(STFT(n_fft=256, hop_length=64)),
        network=LSTMMask(layers=1, width=4),
        segment_seconds=1.0,
        overlap_seconds=0.2,
    )
    system = System(config)
    return save_model(tmp_path_factory.mktemp("models") / "tiny", system, system.init(jax.random.key(0)))


@pytest.fixture
def song(tmp_path, rng):
    x = rng.standard_normal((20000, 2)).astype(np.float32)
    soundfile.write(tmp_path / "song.wav", 0.5 * x / np.abs(x).max(), RATE, subtype="FLOAT")
    return tmp_path / "song.wav"


@pytest.fixture
def separate(model, tmp_path, capsys):
    """Run the command; return its status, where the stems are, what it said and what was wrong."""

    def run(*arguments, out="out"):
        status = main(["separate", "-m", str(model), "-o", str(tmp_path / out), *map(str, arguments)])
        return status, tmp_path / out / "tiny", *capsys.readouterr()

    return run


def stem(folder, name, track="song"):
    return read_audio(folder / track / f"{name}.wav")


def test_two_stems_are_one_and_the_rest(separate, song):
    status, folder, *_ = separate(song, "--two-stems", "vocals")
    assert status == 0
    assert {p.name for p in (folder / "song").glob("*.wav")} == {"vocals.wav", "no_vocals.wav"}
    np.testing.assert_allclose(
        stem(folder, "vocals") + stem(folder, "no_vocals"), read_audio(song), atol=1e-6
    )


def test_the_residual_is_what_the_chosen_stems_leave(separate, song):
    _, folder, *_ = separate(song, "--stems", "accompaniment", "--residual")
    np.testing.assert_allclose(
        stem(folder, "accompaniment") + stem(folder, "residual"), read_audio(song), atol=1e-6
    )


def test_stems_that_do_not_fit_together_are_refused(separate, song):
    for options, reason in (
        (("--two-stems", "drums"), "this model's stems are vocals, accompaniment"),
        (("--two-stems", "vocals", "--stems", "vocals"), "leave out --stems"),
        (("--residual",), "name some"),
    ):
        status, _, _, said = separate(song, *options)
        assert status == 2 and reason in said


def test_files_are_named_as_the_template_says(separate, song):
    status, folder, *_ = separate(song, "--filename", "{stem}/{track} by {model}.{ext}")
    assert status == 0
    assert (folder / "vocals" / "song by tiny.wav").exists()
    separate(song, "--filename", "{stem}/{track} by {model}.{ext}")
    assert (folder / "vocals" / "song-2 by tiny.wav").exists()  # nothing is overwritten unasked
    separate(song, "--filename", "{stem}/{track} by {model}.{ext}", "--force")
    assert len(list(folder.rglob("*.wav"))) == 4


@pytest.mark.parametrize(
    "template",
    ["{track}.{ext}", "{nonesuch}/{stem}.wav", "{stem", "../{stem}.wav", "{track[a]}{stem}", "{stem:.0}s"],
)
def test_a_template_that_names_nothing_is_refused(separate, song, template):
    status, folder, _, said = separate(song, "--filename", template)
    assert status == 2 and "--filename" in said and "Traceback" not in said
    assert not list(folder.parent.rglob("*.wav"))


def test_a_folder_is_searched_to_any_depth_but_not_its_own_output(separate, song, tmp_path):
    deep = tmp_path / "music" / "album" / "disc"
    deep.mkdir(parents=True)
    (deep / "one.wav").write_bytes(song.read_bytes())
    (tmp_path / "music" / "two.wav").write_bytes(song.read_bytes())
    for _ in range(2):
        status, folder, *_ = separate(tmp_path / "music", out="music/separated")
        assert status == 0
    assert {str(p.relative_to(folder)) for p in folder.rglob("vocals.wav")} == {
        "album/disc/one/vocals.wav",
        "two/vocals.wav",
    }


def test_what_is_named_is_input_wherever_the_output_goes(model, song, tmp_path, monkeypatch):
    monkeypatch.chdir(song.parent)
    for _ in range(2):
        assert main(["separate", "-m", str(model), ".", "-o", "."]) == 0
    assert [str(p) for p in sorted((tmp_path / "tiny").glob("*/vocals.wav"))] == [
        str(tmp_path / "tiny" / "song" / "vocals.wav")
    ]
    assert main(["separate", "-m", str(model), "tiny/song", "-o", "."]) == 0
    assert (tmp_path / "tiny" / "accompaniment" / "vocals.wav").exists()


@pytest.mark.parametrize(
    "options", [pytest.param((), marks=pytest.mark.slow), ("--filename", "{track} {stem}.{ext}")]
)
@pytest.mark.parametrize(
    "more",
    [
        pytest.param(("--force",), marks=pytest.mark.slow),
        pytest.param(("--skip-existing",), marks=pytest.mark.slow),
        ("-j", "2"),
        ("--dry-run", "--json"),
    ],
)
def test_two_tracks_of_one_name_have_two_places(separate, song, tmp_path, options, more):
    other = tmp_path / "other"
    other.mkdir()
    (other / "song.wav").write_bytes(song.read_bytes())
    status, folder, said, _ = separate(song, other / "song.wav", *options, *more)
    assert status == 0
    if "--dry-run" in more:
        places = [json.loads(line)["stems"]["vocals"] for line in said.splitlines()]
        assert len(set(places)) == 2 and not folder.exists()
        return
    written = {str(p.relative_to(folder)) for p in folder.rglob("*vocals.wav")}
    assert written == (
        {"song vocals.wav", "song-2 vocals.wav"} if options else {"song/vocals.wav", "song-2/vocals.wav"}
    )


def test_what_is_there_is_skipped_or_overwritten(separate, song):
    _, folder, *_ = separate(song)
    before = (folder / "song" / "vocals.wav").stat().st_mtime_ns
    _, _, said, _ = separate(song, "--skip-existing")
    assert "there already" in said
    assert (folder / "song" / "vocals.wav").stat().st_mtime_ns == before
    (folder / "song" / "source.json").unlink()
    separate(song, "--force")
    assert (folder / "song" / "vocals.wav").stat().st_mtime_ns > before
    assert not (folder / "song-2").exists()


def test_lines_of_several_threads_are_whole(model, song, tmp_path):
    """In a process of its own, whose error stream decoders' noise is kept away from."""
    for k in range(4):
        (tmp_path / f"bad{k}.wav").write_bytes(b"no audio" * k)
        (tmp_path / f"good{k}.wav").write_bytes(song.read_bytes())
    files = [str(p) for p in sorted(tmp_path.glob("*.wav"))]
    command = [sys.executable, "-m", "jaxsep", "separate", "-m", str(model), "-o", str(tmp_path / "out")]
    done = subprocess.run([*command, *files, "-j", "4", "--json"], capture_output=True, text=True)
    assert done.returncode == 2
    assert len([json.loads(line) for line in done.stdout.splitlines()]) == 5
    assert sorted(line.split(":")[0] for line in done.stderr.splitlines()) == ["jaxsep"] * 4


def test_a_dry_run_into_a_folder_below_that_is_not_there_yet(song, capsys):
    command = ["separate", str(song.parent), "-o", str(song.parent / "out"), "--dry-run", "-m", "speech_live"]
    assert main(command) == 0
    assert "would be written" in capsys.readouterr().out
    assert not (song.parent / "out").exists()


def test_a_dry_run_writes_nothing(separate, song, tmp_path):
    status, folder, said, _ = separate(song, "--dry-run")
    assert status == 0 and "would be written" in said
    assert not folder.parent.exists()
    assert separate(tmp_path / "nonesuch.wav", "--dry-run")[0] == 2


def test_a_line_of_json_for_each_file(separate, song):
    _, folder, said, _ = separate(song, "--json")
    (line,) = map(json.loads, said.splitlines())
    assert line["input"] == str(song) and line["seconds"] == 2.5 and line["gain"] == 1
    assert line["stems"]["vocals"] == str(folder / "song" / "vocals.wav")


@pytest.mark.parametrize(
    ("options", "suffix", "subtype"),
    [
        (("--subtype", "PCM_16"), "wav", "PCM_16"),
        (("--format", "flac", "--subtype", "PCM_16"), "flac", "PCM_16"),
        (("--format", "flac"), "flac", "PCM_24"),
    ],
)
def test_samples_are_stored_as_asked(separate, song, options, suffix, subtype):
    _, folder, *_ = separate(song, *options)
    assert soundfile.info(folder / "song" / f"vocals.{suffix}").subtype == subtype


def test_a_bitrate_is_that_of_the_file(separate, song, tmp_path, rng):
    soundfile.write(tmp_path / "long.wav", rng.standard_normal((441000, 2)) / 10, 44100)
    for bitrate in (64, 256):
        _, folder, *_ = separate(tmp_path / "long.wav", "--format", "mp3", "--bitrate", bitrate, "--force")
        size = (folder / "long" / "vocals.mp3").stat().st_size
        assert size * 8 / 10 == pytest.approx(1000 * bitrate, rel=0.05)
    for options, reason in (
        (("--bitrate", 128), "is of mp3, not of wav"),
        (("--format", "mp3", "--subtype", "PCM_16"), "mp3 takes none"),
    ):
        status, _, _, said = separate(song, *options)
        assert status == 2 and reason in said


@pytest.mark.slow
def test_loud_samples_are_scaled_cut_or_left(separate, tmp_path, rng):
    x = rng.standard_normal((8000, 1)).astype(np.float32)
    soundfile.write(tmp_path / "loud.wav", x, RATE, subtype="FLOAT")
    peak, scaled = {}, {}
    for mode in ("rescale", "clamp", "none"):
        _, folder, *_ = separate(tmp_path / "loud.wav", "--clip-mode", mode, out=mode)
        floats = stem(folder, "vocals", "loud")
        loudest = max(np.abs(stem(folder, name, "loud")).max() for name in STEMS)
        peak[mode] = np.abs(floats).max()
        _, folder, *_ = separate(tmp_path / "loud.wav", "--clip-mode", mode, "--subtype", "PCM_16", out=mode)
        whole = stem(folder, "vocals", "loud")
        loud = 2 * np.abs(whole) > np.abs(whole).max()
        scaled[mode] = float(np.median(whole[loud] / floats[loud]))
    assert peak["clamp"] == 1 < peak["none"] == peak["rescale"]
    assert scaled["rescale"] == pytest.approx(0.999 / loudest, rel=1e-2)
    assert scaled["clamp"] == pytest.approx(1, rel=1e-2) and scaled["none"] == pytest.approx(1, rel=1e-2)


def test_a_picture_and_a_page(separate, song):
    _, folder, *_ = separate(song, "--plot", "--page")
    assert (folder / "song" / "spectrograms.png").read_bytes()[1:4] == b"PNG"
    assert "<audio" in (folder / "song" / "index.html").read_text()


def test_files_at_once_are_files_one_by_one(separate, song, tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.wav").write_bytes(song.read_bytes())
    files = [tmp_path / f"{name}.wav" for name in ("a", "b", "c")]
    (tmp_path / "bad.wav").write_bytes(b"no")
    status, folder, said, wrong = separate(*files, tmp_path / "bad.wav", "-j", 3)
    assert status == 2 and wrong.count("\n") == 1 and said.count("\n") == 3
    for name in ("b", "c"):
        np.testing.assert_array_equal(stem(folder, "vocals", name), stem(folder, "vocals", "a"))


def test_windows_are_as_long_as_asked(model, song):
    x = read_audio(song)
    with pytest.raises(UserError, match="segment=0.0001, overlap=None"):
        Separator.from_pretrained(model, segment=0.0001)
    separator = Separator.from_pretrained(model, segment=0.5, overlap=0.25, windows=2)
    assert (separator.system.segment, separator.system.overlap) == (4000, 1000)
    stems = separator(x, RATE)
    np.testing.assert_allclose(sum(stems.values()), x, atol=1e-5)


def test_shifts_average_separations_of_later_beginnings(model, song):
    x = read_audio(song)
    shifted = Separator.from_pretrained(model, shifts=3)
    stems, once = shifted(x, RATE), Separator.from_pretrained(model)(x, RATE)
    assert stems["vocals"].shape == x.shape
    np.testing.assert_allclose(sum(stems.values()), x, atol=1e-5)
    assert 0 < np.abs(stems["vocals"] - once["vocals"]).max() < 0.5
    blocks = [x[:, :0], x[:, :1], x[:, 1:7000], x[:, 7000:]]
    streamed = np.concatenate([b.stems["vocals"] for b in shifted.stream(blocks[2:], RATE, 2)], axis=1)
    assert streamed.shape[1] == x.shape[1] - 1
    streamed = np.concatenate([b.mixture for b in shifted.stream(blocks, RATE, 2)], axis=1)
    np.testing.assert_array_equal(streamed, x)
    assert shifted(x[:, :900], 44100)["vocals"].shape == (
        2,
        900,
    )  # of which resampling gives its first piece late


def test_progress_is_told(model, song):
    told = []
    separator = Separator.from_pretrained(model, progress=lambda done, total: told.append((done, total)))
    separator(read_audio(song), RATE)
    assert [total for _, total in told] == [20000] * len(told)
    assert told[-1][0] == 20000 and sorted(told) == told


def test_a_separator_is_saved_and_says_what_it_is(model, song, tmp_path):
    separator = Separator.from_pretrained(model)
    assert repr(separator) == "Separator('tiny': vocals, accompaniment; 8000 Hz, mono)"
    again = Separator.from_pretrained(separator.save_pretrained(tmp_path / "saved", license="MIT"))
    assert "license: MIT" in (tmp_path / "saved" / "README.md").read_text()
    x = read_audio(song)
    stems = separator(x, RATE)
    for name, value in again(x, RATE).items():
        np.testing.assert_array_equal(value, stems[name])
    assert isinstance(stems, Stems) and copy.deepcopy(stems).sample_rate == RATE
    assert stems._repr_html_().count("<audio") == 2


def test_info_describes_files_and_models(model, song, capsys):
    assert main(["info", str(song), str(model), "--json"]) == 0
    audio, described = json.loads(capsys.readouterr().out)
    assert (audio["sample_rate"], audio["channels"], audio["samples"]) == (RATE, 2, 20000)
    assert described["stems"] == ["vocals", "accompaniment"] and described["network"] == "lstm_mask"
    assert main(["info", "nonesuch.wav", "vocals"]) == 2
    said = capsys.readouterr()
    assert "nonesuch.wav: there is no such file" in said.err and "44100" in said.out


def test_completion_knows_every_command_and_option():
    for shell in ("bash", "zsh", "fish"):
        text = script(shell, _parser())
        for word in ("separate", "evaluate", "two-stems", "baseline"):
            assert word in text
    checked = subprocess.run(["bash", "-n"], input=script("bash", _parser()).encode(), capture_output=True)
    assert checked.returncode == 0, checked.stderr


def test_describing_loads_no_jax():
    code = "import sys; from jaxsep.cli import main; main(['info', 'vocals']); sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_a_file_is_brought_to_a_loudness_and_its_stems_back(separate, song, tmp_path, model):
    """The model hears -20 LUFS, measured as BS.1770 says; what comes out is at the file's level."""
    x = read_audio(song)
    found = loudness([x[:, :7001], x[:, 7001:]], RATE)
    assert found == pytest.approx(loudness([x], RATE), abs=1e-9)
    assert loudness([0.1 * x], RATE) == pytest.approx(found - 20, abs=1e-3)
    gain = np.float32(10 ** ((-20 - found) / 20))
    expected = Separator.from_pretrained(model)(gain * x, RATE)
    status, folder, *_ = separate(song, "--loudness", "-20")
    assert status == 0
    for name in STEMS:
        np.testing.assert_allclose(stem(folder, name), expected[name] / gain, atol=1e-6)
    assert separate("-", "--loudness", "-20", out="piped")[0] == 2
    soundfile.write(tmp_path / "silence.wav", np.zeros((RATE, 1)), RATE)
    assert separate(tmp_path / "silence.wav", "--loudness", "-20", out="silent")[0] == 0


def test_loudness_is_gated_and_weighted_as_the_standard_says():
    """Sines whose loudness BS.1770 and EBU Tech 3341 state: 997 Hz, two channels, a quiet part, silence."""
    rate, time = 48000, np.arange(20 * 48000) / 48000
    sine = np.sin(2 * np.pi * 1000 * time)
    for level in (-23.0, -33.0):
        stereo = np.stack([sine, sine]) * 10 ** (level / 20)
        assert loudness([stereo], rate) == pytest.approx(level, abs=0.1)
        slower = np.sin(2 * np.pi * 1000 * np.arange(160000) / 16000) * 10 ** (level / 20)
        assert loudness([np.stack([slower, slower])], 16000) == pytest.approx(level, abs=0.1)
    levels, sine = np.repeat([-36.0, -23.0, -36.0], [10 * rate, 60 * rate, 10 * rate]), np.tile(sine, 4)
    assert loudness([np.stack([sine, sine]) * 10 ** (levels / 20)], rate) == pytest.approx(-23, abs=0.1)
    assert np.isfinite(loudness([np.sin(np.arange(8000.0))[None]], 2000))  # the shelf is beyond what there is
    assert loudness([np.zeros((1, rate))], rate) == loudness([np.ones((1, 100))], rate) == -np.inf
