"""Parts: registered from outside, found by name, refused with the reason; any module library will do."""

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile
from flax import nnx

import jaxsep
from jaxsep import parts
from jaxsep.codecs import STFT, Codec
from jaxsep.errors import UserError
from jaxsep.hub import load_model, save_model
from jaxsep.losses import PIT, SNR, MagnitudeMSE, WeightedSum, loss_of
from jaxsep.networks import LSTMMask, NetworkFacts
from jaxsep.optimizers import Adam
from jaxsep.parts import Loss, find, from_dict, load_plugin, ranged, register, to_dict
from jaxsep.system import System, SystemConfig
from jaxsep.training import init_state, make_batch, train_step

ROOT = Path(__file__).parent.parent
PLUGIN = str(ROOT / "examples" / "own_parts.py")


@dataclasses.dataclass(frozen=True)
class Holder:
    loss: Loss = dataclasses.field(default_factory=SNR)


@pytest.mark.parametrize("hint", [list[int], Any])
def test_a_field_that_no_config_can_hold_is_named(hint):
    part = dataclasses.make_dataclass("Odd", [("values", hint, 0)], frozen=True)
    with pytest.raises(ValueError, match=r"loss\.values: is annotated as .*; expected bool"):
        from_dict(part, {"values": [1]}, "loss")


@pytest.mark.parametrize("kind", parts.KINDS)
def test_every_part_of_ours_comes_back_from_its_dictionary(kind):
    import train.config  # noqa: F401  (recipes and generators)

    assert parts.names(kind)
    for name in parts.names(kind):
        cls = find(kind, name)
        assert (cls.kind, cls.name) == (kind, name)
        if name == "sum":
            continue
        made = cls()
        plain = to_dict(made)
        assert plain.pop("name") == name
        assert from_dict(cls, plain) == made
        assert parts.is_part(made)


def test_parts_hold_parts():
    plain = {"name": "sum", "losses": ["si_sdr", {"name": "pit", "loss": {"name": "snr", "floor_db": 30}}]}
    loss = from_dict(Holder, {"loss": plain}).loss
    assert loss.losses[1].loss == SNR(floor_db=30.0)
    assert from_dict(Holder, to_dict(Holder(loss))).loss == loss
    assert from_dict(Holder, {"loss": {"floor_db": 20}}).loss == SNR(floor_db=20.0)  # of the default part


def test_a_permuted_weighted_sum_is_the_sum_of_the_best_order(rng):
    """Over two domains at once: the same order of the estimates in both."""
    codec = Codec(STFT(n_fft=64, hop_length=16))
    sources = jnp.asarray(rng.standard_normal((3, 2, 1, 600)), jnp.float32)
    encoded = codec.encode(sources.sum(1))
    reference = codec.reference(encoded, sources / encoded.level[:, None, None, None])
    estimates = codec.decode(encoded, jnp.asarray(rng.uniform(size=(3, 2, 1, 33, 38)), jnp.float32), 600)
    loss = WeightedSum((SNR(), MagnitudeMSE()), (1.0, 0.5))
    swapped = jax.tree.map(lambda x: x[:, ::-1], estimates)
    expected = jnp.minimum(*(loss_of(loss, e, reference) for e in (estimates, swapped)))
    np.testing.assert_allclose(loss_of(PIT(loss), estimates, reference), expected, rtol=1e-5)
    np.testing.assert_allclose(loss_of(PIT(loss), swapped, reference), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("value", "part"),
    [
        ("nonesuch", "there is no loss 'nonesuch'"),
        ({"name": 7}, "loss.name=7"),
        ({"name": "snr", "magic": 1}, "loss.magic: unknown"),
        ({"name": "snr", "floor_db": -3.0}, "floor_db=-3.0: expected above 0"),
        ({"name": "snr", "floor_db": float("nan")}, "floor_db=nan"),
        ({"name": "pit", "loss": {"name": "nonesuch"}}, "config.loss.loss.name='nonesuch'"),
        (3, "expected the name of a loss"),
    ],
)
def test_what_is_no_part_is_refused_by_field(value, part):
    with pytest.raises(ValueError) as error:
        from_dict(Holder, {"loss": value})
    assert part in str(error.value)


def test_a_part_is_registered_once_and_rightly():
    @register("schedule", "taken_by_a_test")
    @dataclasses.dataclass(frozen=True)
    class One:
        most: int = ranged(1, least=1, odd=True)

    assert find("schedule", "taken_by_a_test")() == One()
    with pytest.raises(ValueError, match="most=2: expected an odd number at least 1"):
        One(2)
    with pytest.raises(ValueError, match="most=-1"):
        dataclasses.replace(One(), most=-1)
    with pytest.raises(ValueError, match="is the schedule"):
        register("schedule", "taken_by_a_test")(dataclasses.dataclass(frozen=True)(type("Two", (), {})))
    with pytest.raises(ValueError, match="kind='magic'"):
        register("magic", "x")
    with pytest.raises(ValueError, match="frozen dataclass"):
        register("loss", "not_frozen")(dataclasses.dataclass(type("Loose", (), {})))
    with pytest.raises(ValueError, match="name='a b'"):
        register("loss", "a b")
    assert not parts.is_part(type("Sub", (One,), {})())  # a subclass is not described by the name


def test_a_plugin_that_fails_is_named(tmp_path):
    for name, text in (("broken.py", "1 / 0"), ("nowhere.py", None)):
        if text:
            (tmp_path / name).write_text(text)
        with pytest.raises(UserError, match=name):
            load_plugin(str(tmp_path / name))
    with pytest.raises(UserError, match="no_such_module_at_all"):
        load_plugin("no_such_module_at_all")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_network_of_another_library_is_trained_saved_and_loaded(rng, tmp_path):
    """Flax NNX with batch norm: its state passes through the same step."""

    @register("network", "nnx_of_a_test")
    @dataclasses.dataclass(frozen=True)
    class Mine(NetworkFacts):
        width: int = ranged(8, least=1)
        output_range = "not negative"

        def build(self, *, sources, channels, bins):
            return Built(self.width, sources, channels, bins)

    @dataclasses.dataclass(frozen=True)
    class Built:
        width: int
        sources: int
        channels: int
        bins: int

        def _module(self, ins, key):
            class Net(nnx.Module):
                def __init__(self, width, outs, rngs):
                    self.first = nnx.Linear(ins, width, rngs=rngs)
                    self.norm = nnx.BatchNorm(width, rngs=rngs)
                    self.last = nnx.Linear(width, outs, rngs=rngs)

                def __call__(self, x):
                    return nnx.softplus(self.last(nnx.relu(self.norm(self.first(x)))))

            return Net(self.width, self.sources * self.channels * self.bins, nnx.Rngs(key))

        def _split(self, features, key=0):
            ins = features.shape[1] * features.shape[2]
            return nnx.split(self._module(ins, key), nnx.Param, nnx.BatchStat)

        def init(self, key, features):
            _, params, stats = self._split(features, key)
            return {"params": nnx.to_pure_dict(params), "batch_stats": nnx.to_pure_dict(stats)}

        def apply(self, variables, features, *, train=False, key=None, mask=None, axis_name=None):
            graph, params, stats = self._split(features)
            nnx.replace_by_pure_dict(params, variables["params"])
            nnx.replace_by_pure_dict(stats, variables["batch_stats"])
            net = nnx.merge(graph, params, stats)
            net.train() if train else net.eval()
            x = jnp.moveaxis(features.reshape(len(features), -1, features.shape[-1]), 1, 2)
            y = jnp.moveaxis(net(x), 1, 2)
            y = y.reshape(len(y), self.sources, self.channels, self.bins, y.shape[-1])
            return y, nnx.to_pure_dict(nnx.state(net, nnx.BatchStat))

    config = SystemConfig(
        codec=Codec(STFT(n_fft=64, hop_length=16)),
        network=Mine(),
        segment_seconds=0.1,
        overlap_seconds=0.02,
    )
    system, optimizer = System(config), Adam(learning_rate=0.01)()
    state = init_state(system, optimizer)
    before = state.variables()
    step = jax.jit(lambda s, b: train_step(s, b, system=system, loss=SNR(), optimizer=optimizer))
    batch = make_batch(rng.standard_normal((4, 2, 600)) * np.array([1.0, 0.1])[:, None])
    values = []
    for _ in range(20):
        state, metrics = step(state, batch)
        values.append(float(metrics["loss"]))
    assert values[-1] < values[0]
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), before, state.variables())
    assert min(jax.tree.leaves(moved["batch_stats"])) > 0
    save_model(tmp_path / "mine", system, state.variables())
    again, variables, _ = load_model(tmp_path / "mine")
    assert again == system
    x = rng.standard_normal(1600).astype(np.float32)
    np.testing.assert_allclose(again.separate(variables, x).sum(axis=0), x, atol=1e-4)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    time = np.arange(32_000) / 16_000
    for name in ("loud_one", "loud_two", "quiet"):
        pair = np.stack([np.sin(2 * np.pi * f * time) for f in (300, 1500)], axis=1)
        soundfile.write(folder / f"{name}.wav", 0.3 * pair, 16_000, subtype="FLOAT")
    return folder


def run(*command):
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, env=os.environ
    )


def test_one_file_of_parts_trains_separates_and_exports(pairs, tmp_path):
    out = tmp_path / "run"
    valid = shutil.copytree(pairs, tmp_path / "valid")
    train = ["train", "examples/own_parts.yaml", "--data.train", str(pairs), "--data.valid", str(valid)]
    train += ["--out", str(out), "--data.cache", str(tmp_path / "cache")]
    separate = ["jaxsep", "separate", str(pairs / "quiet.wav"), "-m", str(out), "-o", str(tmp_path / "stems")]
    refused = run(*train)
    assert refused.returncode == 2
    assert "there is no network 'per_bin_example'" in refused.stderr or "there is no head" in refused.stderr
    assert "--plugin" in refused.stderr
    done = run(*train, "--plugin", PLUGIN)
    assert done.returncode == 0, done.stderr
    assert "data.train: 2 recordings" in done.stderr  # the recipe leaves out the quiet one
    refused = run(*separate)
    assert refused.returncode == 2
    assert "there is no" in refused.stderr and "--plugin FILE_OR_MODULE" in refused.stderr
    done = run(*separate, "--plugin", PLUGIN)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "stems" / "run" / "quiet" / "vocals.wav").is_file()
    pytest.importorskip("flatbuffers", reason="flatbuffers is not installed")
    from jaxsep.export import export_stream

    assert export_stream(jaxsep.Separator.from_pretrained(out, plugins=[PLUGIN]))


def test_a_part_that_misfits_is_refused_when_it_is_configured():
    with pytest.raises(ValueError, match="expected the system's"):
        SystemConfig(codec=Codec(find("transform", "mel")()), network=LSTMMask())
