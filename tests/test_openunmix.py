"""Open-Unmix: PyTorch's files read without it, the network as it computes, models imported."""

import io
import json
import os
import pickle
import struct
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsep.cli import main
from jaxsep.hub import load_model
from jaxsep.importers.openunmix import Settings, Weights, convert_openunmix
from jaxsep.importers.pytorch import read_state
from jaxsep.networks import OpenUnmix, PerSource, Remainder, SpleeterUNet
from jaxsep.separator import Separator
from jaxsep.system import SystemConfig

# --- a writer of PyTorch's files, opcode by opcode ---------------------------------------------------

TYPES = {"f4": "Float", "f8": "Double", "f2": "Half", "i8": "Long", "u1": "Byte"}


def name(text):
    module, _, attribute = text.rpartition(".")
    return b"c" + module.encode() + b"\n" + attribute.encode() + b"\n"


def text(value):
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def integer(value):
    return b"J" + struct.pack("<i", value)


def several(*parts):
    return b"(" + b"".join(parts) + b"t"


EMPTY = name("collections.OrderedDict") + b")R"


def tensor(key, dtype, count, offset, size, stride, legacy=False, **_):
    kind = name(f"torch.{TYPES[dtype]}Storage")
    view = [b"N"] if legacy else []
    storage = several(text("storage"), kind, text(key), text("cpu"), integer(count), *view) + b"Q"
    sizes = (several(*map(integer, x)) for x in (size, stride))
    return (
        name("torch._utils._rebuild_tensor_v2")
        + several(storage, integer(offset), *sizes, b"\x89", EMPTY)
        + b"R"
    )


def pickled(*parts):
    return b"\x80\x02" + b"".join(parts) + b"."


def state_pickle(tensors, storages, legacy):
    items = b""
    for i, (key, value) in enumerate(tensors.items()):
        value = np.ascontiguousarray(value)
        storages[str(i)] = value.tobytes()
        stride = [s // value.itemsize for s in value.strides]
        whole = dict(count=value.size, offset=0, size=value.shape, stride=stride)
        items += text(key) + tensor(str(i), value.dtype.str[1:], legacy=legacy, **whole)
    return pickled(EMPTY, b"(", items, b"u", b"}", text("_metadata"), EMPTY, b"sb")  # as a module's has it


def zipped(data, storages):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/byteorder", "little")
        for key, value in storages.items():
            archive.writestr(f"archive/data/{key}", value)
        archive.writestr("archive/version", "3\n")
    return out.getvalue()


def chained(data, storages, counts):
    """The format before PyTorch 1.6."""
    system = pickle.dumps({"protocol_version": 1001, "little_endian": True, "type_sizes": {}}, 2)
    heads = [pickle.dumps(0x1950A86A20F9469CFC6C, 2), pickle.dumps(1001, 2), system, data]
    body = b"".join(struct.pack("<q", counts[key]) + value for key, value in storages.items())
    return b"".join(heads) + pickle.dumps(list(storages), 2) + body


def saved(tensors, legacy=False):
    storages = {}
    data = state_pickle(tensors, storages, legacy)
    counts = {str(i): np.size(value) for i, value in enumerate(tensors.values())}
    return chained(data, storages, counts) if legacy else zipped(data, storages)


@pytest.mark.parametrize("legacy", [False, True])
def test_tensors_come_back(rng, legacy):
    tensors = {f"a.{t}": (10 * rng.standard_normal((3, 4))).astype(t) for t in TYPES}
    tensors["scalar"] = np.array(7, np.int64)
    found = read_state(saved(tensors, legacy))
    assert list(found) == list(tensors)
    for key, value in tensors.items():
        assert found[key].dtype == value.dtype
        np.testing.assert_array_equal(found[key], value)


def one(size, stride, offset=0, count=12, dtype="f4", data=None):
    """A file of one tensor, said to be so."""
    values = np.arange(12, dtype=np.float32).tobytes() if data is None else data
    return zipped(
        pickled(EMPTY, b"(", text("t"), tensor("0", dtype, count, offset, size, stride), b"u"), {"0": values}
    )


def test_views_of_a_storage_are_what_they_show():
    np.testing.assert_array_equal(read_state(one((3, 2), (1, 3), offset=2))["t"], [[2, 5], [3, 6], [4, 7]])
    np.testing.assert_array_equal(read_state(one((3,), (0,), offset=5))["t"], [5, 5, 5])
    for size, stride, options in (
        ((3, 4), (4, 1), dict(offset=1)),
        ((13,), (0,), {}),
        ((2,), (12,), {}),
        ((2,), (-1,), dict(offset=1)),
        ((2, 2), (1,), {}),
        ((12,), (1,), dict(count=13)),
        ((12,), (1,), dict(data=b"")),
    ):
        with pytest.raises(ValueError, match=r"t: "):
            read_state(one(size, stride, **options))


class Evil:
    def __reduce__(self):
        return os.system, ("touch was_run",)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "call", ["os.system", "builtins.eval", "builtins.getattr", "torch.load", "numpy.array"]
)
def test_nothing_in_a_pickle_is_run(call, legacy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for argument in ("touch was_run", "open('was_run', 'w')"):
        evil = pickled(name(call) + several(text(argument)) + b"R")
        data = chained(evil, {}, {}) if legacy else zipped(evil, {})
        with pytest.raises(ValueError, match=rf"names {call}, which is neither a tensor nor a container"):
            read_state(data)
    for protocol in (0, 2, 4):
        with pytest.raises(ValueError, match=r"names (posix|nt)\.system"):
            read_state(zipped(pickle.dumps({"weight": Evil()}, protocol), {}))
    assert not list(tmp_path.iterdir())


def test_a_pickle_changes_nothing_for_the_next(rng):
    """What names stand for is made anew for each, and containers cannot be changed."""
    state = b"}" + text("__call__") + integer(1) + b"s"
    for known in ("collections.OrderedDict", "torch._utils._rebuild_tensor_v2", "torch.FloatStorage"):
        for change in (state + b"b", b"N" + state + b"\x86b"):
            with pytest.raises(ValueError):
                read_state(zipped(pickled(name(known), change), {}))
    tensors = {"a": rng.standard_normal(3).astype(np.float32)}
    np.testing.assert_array_equal(read_state(saved(tensors))["a"], tensors["a"])


@pytest.mark.parametrize("legacy", [False, True])
def test_damage_is_refused(rng, legacy):
    data = saved({"a": rng.standard_normal((4, 5)).astype(np.float32)}, legacy)
    for cut in (0, 1, 30, len(data) // 2, len(data) - 30):
        with pytest.raises(ValueError):
            read_state(data[:cut])
    for broken in (b"", b"PK\x03\x04", b"RIFF", pickle.dumps([1, 2]), zipped(pickled(b"]"), {})):
        with pytest.raises(ValueError):
            read_state(broken)
    if not legacy:  # an archive has sums, the old format has none
        at = data.index(b"data/0") + 20
        with pytest.raises(ValueError, match="damaged one"):
            read_state(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    with pytest.raises(ValueError, match="damaged one .*archive/data/0"):
        read_state(zipped(state_pickle({"a": np.zeros(3, np.float32)}, {}, False), {}))
    with pytest.raises(ValueError, match="a: is no tensor"):
        read_state(zipped(pickled(EMPTY, b"(", text("a"), integer(3), b"u"), {}))
    with pytest.raises(ValueError, match="data.pkl"):
        out = io.BytesIO()
        zipfile.ZipFile(out, "w").close()
        read_state(b"PK" + out.getvalue()[2:])


# --- the network --------------------------------------------------------------------------------------


def openunmix_tensors(rng, bins=9, channels=2, width=6, layers=2, heard=7, bidirectional=True):
    """Tensors by PyTorch's names, and those that Open-Unmix has beside them."""
    half = width // 2 if bidirectional else width
    shapes = {
        "fc1.weight": (width, channels * heard),
        "fc2.weight": (width, 2 * width),
        "fc3.weight": (channels * bins, width),
        "input_mean": (heard,),
        "input_scale": (heard,),
        "output_scale": (bins,),
        "output_mean": (bins,),
    }
    for i, size in ((1, width), (2, width), (3, channels * bins)):
        shapes |= {f"bn{i}.{k}": (size,) for k in ("weight", "bias", "running_mean", "running_var")}
    for layer in range(layers):
        for end in ("", "_reverse")[: 1 + bidirectional]:
            shapes |= {f"lstm.weight_ih_l{layer}{end}": (4 * half, width)}
            shapes |= {f"lstm.weight_hh_l{layer}{end}": (4 * half, half)}
            shapes |= {f"lstm.bias_{part}_l{layer}{end}": (4 * half,) for part in ("ih", "hh")}
    found = {k: (rng.standard_normal(s) / np.sqrt(s[-1])).astype(np.float32) for k, s in shapes.items()}
    for key in found:
        if key.endswith(("running_var", "bn1.weight", "bn2.weight", "bn3.weight", "scale")):
            found[key] = np.abs(found[key]) + 0.5
    return found | {"bn1.num_batches_tracked": np.array(3), "stft.window": np.ones(4, np.float32)}


def lstm(x, tensors, end):
    """One direction of one layer on ``(frames, in)``, in float64."""
    weights = [
        tensors[f"lstm.{k}_l{end}"].astype(float) for k in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    ]
    hidden, cell, out = np.zeros(weights[1].shape[1]), 0.0, []
    for frame in x[::-1] if end.endswith("_reverse") else x:
        i, f, g, o = np.split(weights[0] @ frame + weights[1] @ hidden + weights[2] + weights[3], 4)
        i, f, o = (1 / (1 + np.exp(-a)) for a in (i, f, o))
        cell = f * cell + i * np.tanh(g)
        hidden = o * np.tanh(cell)
        out.append(hidden)
    return np.array(out[::-1] if end.endswith("_reverse") else out)


def by_definition(tensors, x):
    """One target's network on magnitudes ``(channels, bins, frames)``, in float64."""
    wide = {k: v.astype(float) for k, v in tensors.items()}

    def norm(y, name):
        scale = wide[f"{name}.weight"] / np.sqrt(wide[f"{name}.running_var"] + 1e-5)
        return (y - wide[f"{name}.running_mean"]) * scale + wide[f"{name}.bias"]

    frames = []
    for t in range(x.shape[2]):
        heard = x[:, : len(wide["input_mean"]), t]
        frames.append(((heard + wide["input_mean"]) * wide["input_scale"]).ravel())
    first = y = np.tanh(norm(np.array(frames) @ wide["fc1.weight"].T, "bn1"))
    for layer in range(sum(f"lstm.weight_ih_l{i}" in wide for i in range(9))):
        ends = [e for e in (f"{layer}", f"{layer}_reverse") if f"lstm.weight_ih_l{e}" in wide]
        y = np.concatenate([lstm(y, tensors, e) for e in ends], axis=1)
    y = np.concatenate([first, y], axis=1)
    y = np.maximum(norm(y @ wide["fc2.weight"].T, "bn2"), 0)
    y = norm(y @ wide["fc3.weight"].T, "bn3").reshape(len(frames), *x.shape[:2])
    return np.maximum(y * wide["output_scale"] + wide["output_mean"], 0).transpose(1, 2, 0) * x


@pytest.mark.parametrize(
    "options", [{}, dict(channels=1, bidirectional=False, heard=9)], ids=["published", "one channel, causal"]
)
def test_the_network_is_open_unmixs(rng, options):
    each = {t: openunmix_tensors(rng, **options) for t in ("noise", "speech")}
    imported = convert_openunmix([Weights(t, tensors, "", "") for t, tensors in each.items()], Settings(8000))
    config = imported.system.config
    assert config.sources == ("speech", "noise") and config.sample_rate == 8000
    assert config.network.causal is not config.network.network.bidirectional
    x = 5 * np.abs(rng.standard_normal((2, config.channels, 9, 11)))
    outputs, _ = jax.jit(imported.system.network.apply)(imported.variables, jnp.asarray(x, jnp.float32))
    for i, target in enumerate(config.sources):
        expected = np.stack([by_definition(each[target], a) for a in x])
        assert np.ptp(expected) > 1
        np.testing.assert_allclose(outputs[:, i], expected, atol=1e-5)


def test_it_equals_the_package(rng, tmp_path):
    """Random weights of the package itself, through its file: within 1e-4 of the largest magnitude."""
    torch = pytest.importorskip("torch")
    model = pytest.importorskip("openunmix.model", reason="openunmix is not installed", exc_type=ImportError)
    theirs = model.OpenUnmix(nb_bins=65, nb_channels=2, hidden_size=16, max_bin=40).eval()
    torch.save(theirs.state_dict(), tmp_path / "vocals.pth")
    tensors = read_state((tmp_path / "vocals.pth").read_bytes())
    imported = convert_openunmix([Weights("vocals", tensors, "", "")])
    x = np.abs(rng.standard_normal((1, 2, 65, 30))).astype(np.float32)
    outputs, _ = imported.system.network.apply(imported.variables, x)
    expected = theirs(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(outputs[:, 0], expected, atol=1e-4 * expected.max())


def test_what_the_network_does_not_fit_is_refused():
    for make, said in (
        (lambda: OpenUnmix(width=5), "width=5: expected an even"),
        (lambda: SystemConfig(network=OpenUnmix(heard=600)), r"heard=600: .* 513"),
        (lambda: Remainder(PerSource(OpenUnmix())).check(1, 9), "2 sources or more"),
        (lambda: Remainder(SpleeterUNet()).check(2, 9), "its outputs are unit"),
    ):
        with pytest.raises(ValueError, match=said):
            make()


# --- models -------------------------------------------------------------------------------------------


@pytest.fixture
def models(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXSEP_MODELS", str(tmp_path / "models"))
    (tmp_path / "umx").mkdir()
    return tmp_path / "umx"


def write(folder, rng, targets, legacy=False, **options):
    found = {}
    for file in targets:
        found[file] = openunmix_tensors(rng, bins=33, **options)
        (folder / f"{file}.pth").write_bytes(saved(found[file], legacy))
    (folder / "separator.json").write_text(
        json.dumps({"sample_rate": 8000, "nfft": 64, "nhop": 16, "nb_channels": 2})
    )
    return found


@pytest.mark.filterwarnings("always::jaxsep.errors.AudioWarning")
def test_a_model_is_imported_and_separates(models, rng, capsys):
    files = ("bass-8d85a5bd", "drums-9619578f", "other-b52fbbf7", "vocals-b62c91ce")
    found = write(models, rng, files, legacy=True)
    assert main(["import", "openunmix", str(models), "-q"]) == 0
    assert "not the b62c91ce... in its name" in capsys.readouterr().err
    folder = models.parent / "models" / "openunmix"
    system, variables, info = load_model(folder)
    assert system.config.sources == ("vocals", "drums", "bass", "other")
    assert (system.config.sample_rate, system.config.codec.transform.hop_length) == (8000, 16)
    assert info["license"] == "MIT (code), MIT (weights)" and "umxhq" in info["description"]
    card = (folder / "README.md").read_text()
    assert "10.21105/joss.01667" in card and info["origin"]["sha256"]["bass"] in card
    kernel = variables["params"]["source_2"]["lstm_1_backward"]["recurrent"]
    np.testing.assert_allclose(
        kernel, found["bass-8d85a5bd"]["lstm.weight_hh_l1_reverse"].T, rtol=1e-3, atol=1e-6
    )
    assert main(["models"]) == 0 and "Open-Unmix (umxhq)" in capsys.readouterr().out
    mixture = rng.standard_normal((2, 3000)).astype(np.float32)
    for wiener in (0, 1):
        stems = Separator(system, variables, windows=1, wiener=wiener)(mixture, 8000)
        np.testing.assert_allclose(sum(stems.values()), mixture, atol=1e-5)
        np.testing.assert_array_equal(np.isfinite(stems["bass"]), True)


@pytest.mark.parametrize(
    ("targets", "stems"),
    [(("vocals",), ("vocals", "accompaniment")), (("bass", "drums"), ("drums", "bass", "rest"))],
)
def test_some_targets_leave_a_rest(models, rng, targets, stems):
    write(models, rng, targets)
    files = [str(models / f"{target}.pth") for target in targets]
    assert main(["import", "openunmix", *files, "--name", "some", "-q"]) == 0
    system, variables, info = load_model(models.parent / "models" / "some")
    assert system.config.sources == stems and system.config.residual == stems[-1]
    assert "not known here" in info["license"]
    estimates, encoded, _ = system.forward(variables, rng.standard_normal((1, 2, 500)).astype(np.float32))
    left = np.maximum(encoded.magnitude - estimates.outputs[:, :-1].sum(1), 0)
    np.testing.assert_allclose(estimates.outputs[:, -1], left, atol=1e-5)


def test_what_is_no_model_is_refused(models, rng, capsys):
    write(models, rng, ("vocals",))
    good = (models / "vocals.pth").read_bytes()
    tensors = read_state(good)
    cases = {
        "drums": saved(openunmix_tensors(rng, bins=33, width=8)),
        "a": saved({k: v for k, v in tensors.items() if k != "bn2.bias"}),
        "b": saved({**tensors, "bn2.bias": np.zeros(3, np.float32)}),
        "c": saved({**tensors, "bn2.bias": np.full(6, np.nan, np.float32)}),
        "d": saved({"fc.weight": np.zeros((2, 2), np.float32)}),
        "e": zipped(pickled(name("os.system") + several(text("true")) + b"R"), {}),
        "f": good[:-100],
        "not a target!": good,
    }
    for key, data in cases.items():
        (models / f"{key}.pth").write_bytes(data)
    (models.parent / "empty").mkdir()
    for arguments, said in (
        ([], "give the folder"),
        (["--download"], "nothing fetches them"),
        ([str(models.parent / "empty")], "holds no .pth files"),
        ([str(models), str(models)], "is a folder among files"),
        ([str(models / "none.pth")], "cannot be read"),
        ([str(models / "vocals.pth")] * 2, "one file for each target"),
        ([str(models / "vocals.pth"), str(models / "drums.pth")], "different sizes"),
        ([str(models / "a.pth")], "bn2.bias is missing"),
        ([str(models / "b.pth")], "bn2/bias: has shape (3,)"),
        ([str(models / "c.pth")], "NaN"),
        ([str(models / "d.pth")], "not of Open-Unmix"),
        ([str(models / "e.pth")], "names os.system"),
        ([str(models / "f.pth")], "damaged"),
        ([str(models / "not a target!.pth")], "no target's"),
    ):
        assert main(["import", "openunmix", *arguments]) == 2
        assert said in capsys.readouterr().err
    (models / "separator.json").write_text('{"nfft": 128, "nhop": 16}')
    assert main(["import", "openunmix", str(models / "vocals.pth")]) == 2
    assert "nfft=128" in capsys.readouterr().err
    assert not list((models.parent / "models").glob("*"))
