"""An exported model runs without jaxsep, on any length, and gives what the separator gives."""

import json
import subprocess
import sys
import zipfile

import jax
import numpy as np
import pytest

from jaxsep.cli import main
from jaxsep.codecs import STFT, Codec
from jaxsep.hub import save_model
from jaxsep.networks import LSTMMask, UNet
from jaxsep.separator import Separator
from jaxsep.system import System, SystemConfig

#: What docs/library.md shows, and a file of waveforms in and out.
LOADER = """
import json, sys, zipfile
import jax, numpy as np
with zipfile.ZipFile(sys.argv[1]) as file:
    program = jax.export.deserialize(bytearray(file.read("program.bin")))
    model = json.loads(file.read("model.json"))
waves = np.load(sys.argv[2])
np.savez(sys.argv[3], **{name: program.call(wave) for name, wave in waves.items()})
assert "jaxsep" not in sys.modules
"""


@pytest.fixture(scope="module", params=["lstm_mask", pytest.param("unet", marks=pytest.mark.slow)])
def model(request, tmp_path_factory):
    networks = {"lstm_mask": (LSTMMask(layers=1, width=4), 1), "unet": (UNet(levels=2, filters=4), 2)}
    network, channels = networks[request.param]
    config = SystemConfig(
        sample_rate=8000,
        channels=channels,
        codec=Codec(STFT(n_fft=256, hop_length=64)),
        network=network,
        segment_seconds=1.0,
        overlap_seconds=0.2,
    )
    system = System(config)
    return save_model(tmp_path_factory.mktemp("models") / "tiny", system, system.init(jax.random.key(0)))


def test_a_process_without_jaxsep_separates_alike(model, tmp_path, rng, capsys):
    file = tmp_path / "tiny.jaxsep"
    assert main(["export", str(model), str(file)]) == 0
    assert "vocals, accompaniment; 8000 Hz" in capsys.readouterr().out
    separator = Separator.from_pretrained(model)
    channels = separator.system.config.channels
    lengths = (1, 100, 7999, 8000, 20001)
    waves = {str(n): rng.standard_normal((channels, n)).astype(np.float32) for n in lengths}
    np.savez(tmp_path / "in.npz", **waves)
    command = [sys.executable, "-c", LOADER, file, tmp_path / "in.npz", tmp_path / "out.npz"]
    done = subprocess.run(command, capture_output=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "out.npz")
    for name, wave in waves.items():
        expected = np.stack(list(separator(wave, 8000).values()))
        np.testing.assert_allclose(found[name], expected, atol=1e-5)
    with zipfile.ZipFile(file) as archive:
        described = json.loads(archive.read("model.json"))
    assert described["stems"] == ["vocals", "accompaniment"] and described["channels"] == channels


def test_what_cannot_be_exported_is_said_before_the_work(model, tmp_path, capsys):
    assert main(["export", str(model), str(tmp_path / "no" / "file")]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert main(["export", str(model), str(tmp_path / "file"), "--platforms", "abacus"]) == 2
    assert "expected some of cpu, cuda, tpu" in capsys.readouterr().err
