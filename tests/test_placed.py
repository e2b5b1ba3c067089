"""Examples made on the device: the same as the host's, from numbers alone."""

from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from test_class_folders import RATE, config, folder, with_recipe  # noqa: F401 (fixtures)

import train.run
from jaxsep.augment.playback import chirp_dft
from jaxsep.codecs import STFT, Codec
from jaxsep.networks import LSTMMask
from jaxsep.optimizers import SGD
from jaxsep.system import SystemConfig
from train.config import TrainConfig
from train.data.bank import build_bank
from train.data.listing import data_folder
from train.data.placed import place_mixtures
from train.data.recipes import find_tracks
from train.log import read_log

NAMES = ("hum", "siren", "other")
LENGTH = 1501
EVERYTHING = dict(
    files={"siren": ("click/*",)},
    absent=0.2, low_pass=0.5, speed_semitones=6.0, equalizer_db=8.0, reverb=0.6, generated={"siren": 0.5},
)  # fmt: skip


def mixtures(config, channels=1, **options):  # noqa: F811
    config = with_recipe(config, **(EVERYTHING | options))
    tracks = find_tracks(config, data_folder(config.train, "train"), NAMES, "train")
    found = build_bank(tracks, RATE, config.cache, channels=channels)
    return config.recipe.examples(config, found, NAMES, 5, LENGTH, 40)


@pytest.mark.parametrize(
    ("channels", "budget"),
    [
        (1, 1 << 30),
        pytest.param(2, 1 << 30, marks=pytest.mark.slow),
        pytest.param(1, 0, marks=pytest.mark.slow),
    ],
)
def test_mixtures_on_the_device_are_those_of_the_host(config, channels, budget):  # noqa: F811
    """Cut, looped, faded, faster and slower, low-passed, equalized, in rooms, generated, panned."""
    examples = mixtures(config, channels, pan=0.7 if channels == 2 else 0.0)
    placed = place_mixtures(examples, budget, pool=3)
    assert (placed.nbytes > 0) == (budget > 0)
    render = jax.jit(placed.render)
    changed = set()
    for i in range(25):
        example = placed[i]
        parts = [p if p.clip >= 0 else p._replace(start=p.start % 3) for p in examples.draw(i)]
        expected = examples.render(parts)
        found = render(placed.arrays, example["drawn"])
        np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())
        np.testing.assert_array_equal(example["track"], examples[i]["track"])
        for p in parts:
            changed |= {name for name in ("room", "equalizer", "cutoff", "pan") if getattr(p, name)}
            changed |= {name for name, is_so in (("speed", p.speed != 1), ("generated", p.clip < 0)) if is_so}
    assert changed - {"pan"} == {"room", "equalizer", "cutoff", "speed", "generated"}
    assert ("pan" in changed) == (channels == 2)


def test_the_host_sends_numbers_alone(config):  # noqa: F811
    drawn = place_mixtures(mixtures(config), 1 << 30, pool=3)[0]["drawn"]
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(drawn)) < 500


@pytest.mark.parametrize("size", [900, 1024, 2000])
def test_a_transform_of_a_length_known_at_run_time(rng, size):
    x = rng.standard_normal((2, 900)).astype(np.float32)
    found = jax.jit(chirp_dft, static_argnums=2)(x, size, 451)
    np.testing.assert_allclose(found, np.fft.rfft(x, size)[:, :451], atol=2e-4)


def test_a_transform_that_is_too_long_is_refused():
    with pytest.raises(ValueError, match="at most 2"):
        jax.eval_shape(lambda x: chirp_dft(x, 1, 10), jax.ShapeDtypeStruct(((1 << 19) + 1,), np.float32))


@pytest.mark.slow
@pytest.mark.parametrize("fsdp", [False, True])
def test_a_run_of_mixtures_made_on_the_device_learns_as_the_hosts(config, tmp_path, fsdp):  # noqa: F811
    system = SystemConfig(
        sources=NAMES,
        residual="other",
        sample_rate=RATE,
        codec=Codec(STFT(n_fft=128, hop_length=32)),
        network=LSTMMask(layers=1, width=128 if fsdp else 8),
        segment_seconds=0.5,
        overlap_seconds=0.1,
    )
    losses = []
    for on_device in (False, True):
        data = with_recipe(replace(config, on_device=on_device), **EVERYTHING | {"generated": {}})
        run = TrainConfig(system=system, data=data, out=str(tmp_path / str(on_device)), steps=6)
        run = replace(run, batch_size=6, log_every=1, fsdp=fsdp and on_device, optimizer=SGD(1e-3))
        assert train.run.run(run) == 0
        losses.append([row["loss"] for row in read_log(Path(run.out)) if "loss" in row])
    assert len(losses[0]) == 6
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-3)
