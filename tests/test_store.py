"""Published models come back as they were, or are refused with the reason."""

import dataclasses
import json
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load, save

from jaxsep import hub
from jaxsep.cli import main
from jaxsep.errors import UserError
from jaxsep.hub import FORMAT, find_model, flatten, load_model, save_model, shipped_models
from jaxsep.networks import LSTMMask
from jaxsep.separator import Separator
from jaxsep.system import System, SystemConfig


@pytest.fixture
def folder(tmp_path):
    system = System(SystemConfig(network=LSTMMask(layers=1, width=4, input_norm=True)))
    return save_model(tmp_path / "tiny", system, system.init(jax.random.key(0)), card="# tiny\n")


@pytest.mark.parametrize(("storage", "tolerance"), [("float32", 0), ("float16", 1e-3), ("int8", 5e-3)])
def test_a_model_comes_back(folder, tmp_path, storage, tolerance):
    system, variables, info = load_model(folder)
    again = save_model(tmp_path / "again", system, variables, storage=storage, info={"name": "again"})
    system_2, variables_2, info_2 = load_model(again)
    assert system_2 == system
    assert (info_2["name"], info_2["weights"], info_2["format"]) == ("again", storage, FORMAT)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=tolerance), variables, variables_2)
    x = jnp.sin(jnp.arange(3000.0))
    np.testing.assert_allclose(
        system.separate(variables, x), system_2.separate(variables_2, x), atol=max(5 * tolerance, 1e-6)
    )


def test_eight_bits_keep_each_output_channel_to_half_a_step(rng):
    """However loud the others: the error is at most half of 1/127 of a channel's largest weight."""
    kernel = (rng.standard_normal((3, 5, 4)) * 10.0 ** np.arange(-2, 2)).astype(np.float32)
    stored = hub._stored({"params/k": kernel, "params/b": kernel[0, 0]}, "int8")
    assert stored["params/k"].dtype == np.int8
    back = hub._restored(stored)
    largest = np.abs(kernel).max(axis=(0, 1))
    assert np.all(np.abs(back["params/k"] - kernel) <= (0.5 / 127 + 1e-3) * largest + 1e-7)
    np.testing.assert_allclose(back["params/b"], kernel[0, 0], rtol=1e-3, atol=1e-7)


def test_what_a_config_does_not_describe_cannot_be_saved(tmp_path):
    class Mine(System):
        pass

    @dataclasses.dataclass(frozen=True)
    class Wider(LSTMMask):
        width: int = 4

    config = SystemConfig(network=LSTMMask(layers=1, width=4))
    variables = System(config).init(jax.random.key(0))
    with pytest.raises(UserError, match="Mine: a subclass of System"):
        save_model(tmp_path / "m", Mine(config), variables)
    with pytest.raises(UserError, match="network: holds no registered part"):
        save_model(tmp_path / "m", System(SystemConfig(network=Wider(layers=1))), variables)
    assert not (tmp_path / "m").exists()


def rewrite(folder, change):
    """Change the flat weights and make the config's SHA-256 fit them."""
    import hashlib

    weights = change(load((folder / "model.safetensors").read_bytes()))
    data = save(weights)
    (folder / "model.safetensors").write_bytes(data)
    config = json.loads((folder / "config.json").read_text())
    config["sha256"] = hashlib.sha256(data).hexdigest()
    (folder / "config.json").write_text(json.dumps(config))


KEY = "params/heads/bias"


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda w: {k: v for k, v in w.items() if k != KEY}, f"missing {KEY}"),
        (lambda w: {**w, "params/extra": np.zeros(1, np.float32)}, "unexpected params/extra"),
        (lambda w: {**w, KEY: w[KEY][:-1]}, f"{KEY} has shape"),
        (lambda w: {**w, KEY: w[KEY].astype(np.int32)}, f"{KEY} is int32"),
        (lambda w: {**w, KEY: w[KEY] * np.float32(np.nan)}, f"{KEY} holds NaN"),
    ],
)
def test_weights_of_another_config_are_refused(folder, change, part):
    rewrite(folder, change)
    with pytest.raises(UserError) as error:
        load_model(folder)
    assert part in str(error.value)


def test_damaged_weights_are_refused(folder):
    path = folder / "model.safetensors"
    data = path.read_bytes()
    for bad in (data[:-5], data[:50] + b"\x00" + data[51:], b"", (10**12).to_bytes(8, "little") + data[8:]):
        path.write_bytes(bad)
        with pytest.raises(UserError, match="damaged"):
            load_model(folder)
    config = json.loads((folder / "config.json").read_text())
    del config["sha256"]
    (folder / "config.json").write_text(json.dumps(config))
    path.write_bytes((10**12).to_bytes(8, "little") + data[8:])
    with pytest.raises(UserError, match="not a safetensors file"):
        load_model(folder)


def nested(depth):
    return '{"system": ' * depth + "1" + "}" * depth


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "not a model's config"),
        ("[]", "not a model's config"),
        (nested(100_000), "not a model's config"),
        (json.dumps({"format": FORMAT, "system": {"codec": {"transform": {"n_fft": 10**9}}}}), "n_fft"),
        (json.dumps({"format": FORMAT, "system": {"codec": {"transform": {"n_fft": -5}}}}), "n_fft"),
        (json.dumps({"format": FORMAT, "system": {"network": {"name": "magic"}}}), "magic"),
        (
            json.dumps({"format": FORMAT, "system": {"network": {"name": "lstm_mask", "width": 10**8}}}),
            "width",
        ),
        (json.dumps({"format": FORMAT, "system": {"sources": ["../up", "x"], "residual": "x"}}), "../up"),
        (json.dumps({"format": FORMAT, "sistem": {}}), "system"),
        (json.dumps({"system": {}}), "format=None: this version of jaxsep reads format"),
        (json.dumps({"format": 99, "system": {}}), "format=99"),
    ],
)
def test_a_wrong_config_is_refused(folder, text, part):
    (folder / "config.json").write_text(text)
    with pytest.raises(UserError) as error:
        load_model(folder)
    assert part in str(error.value)


class Canary:
    def __reduce__(self):
        return (open, ("canary-was-executed", "w"))


@pytest.mark.parametrize("suffix", ["pkl", "npz", "msgpack", "ckpt", "safetensors"])
def test_a_pickle_is_never_executed(folder, tmp_path, monkeypatch, suffix):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / f"model.{suffix}"
    file.write_bytes(pickle.dumps(Canary()))
    with pytest.raises(UserError, match="a model is a folder"):
        Separator.from_pretrained(file)
    (folder / "model.safetensors").write_bytes(file.read_bytes())
    with pytest.raises(UserError):
        Separator.from_pretrained(folder)
    assert not (tmp_path / "canary-was-executed").exists()


def test_a_folder_of_a_shipped_models_name_does_not_hide_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vocals").mkdir()
    assert find_model("vocals") == shipped_models()["vocals"]


def test_a_model_trained_with_cudnn_runs_anywhere(tmp_path):
    network = LSTMMask(layers=1, width=4)
    system = System(SystemConfig(network=network))
    variables = system.init(jax.random.key(0))
    trained = System(SystemConfig(network=LSTMMask(layers=1, width=4, implementation="cudnn")))
    assert load_model(save_model(tmp_path / "m", trained, variables))[0] == system


def test_a_model_that_is_not_there_lists_those_that_are(tmp_path, capsys):
    with pytest.raises(UserError, match="vocals"):
        find_model("nonesuch")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no model"):
        find_model(tmp_path / "empty")
    assert main(["separate", "x.wav", "-m", "nonesuch", "-o", str(tmp_path)]) == 2
    assert "nonesuch" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(shipped_models()))
def test_a_shipped_model_has_a_card_scores_and_a_small_size(name):
    folder = shipped_models()[name]
    _, variables, info = load_model(folder)
    card = (folder / "README.md").read_text()
    assert info["sha256"] in card
    assert info["license"]
    assert info["description"]
    assert info["scores"]
    for word in ("Trained on", "License of the data", "License of this model", "Limits"):
        assert word in card
    assert sum(p.stat().st_size for p in folder.iterdir()) < 10e6
    assert all(k.startswith(("params/", "batch_stats/")) for k in flatten(variables))


@pytest.mark.filterwarnings("default")
def test_a_damaged_model_hides_no_other(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("JAXSEP_MODELS", str(tmp_path))
    (folder / "config.json").write_text("{}")
    assert main(["models"]) == 0
    said = capsys.readouterr()
    assert "vocals:" in said.out and "tiny:" not in said.out
    assert "no mapping 'system' in it" in said.err
    assert main(["info", str(folder), "sounds"]) == 2
    said = capsys.readouterr()
    assert "sounds" in said.out and "no mapping 'system' in it" in said.err


def test_8_bits_keep_channels_of_any_size(rng):
    weights = rng.standard_normal((30, 3)) * [1.0, 1e-6, 1e-12]
    stored = hub._stored({"params/k": weights.astype(np.float32)}, "int8")
    error = np.abs(hub._restored(stored)["params/k"] - weights)
    assert (error.max(axis=0) < 5e-3 * np.abs(weights).max(axis=0)).all()
