"""Parameters and optimizer state spread over the devices: the same training in less memory on each."""

import dataclasses

import jax
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from test_train_step import SAMPLES, SMALL, small_system

import train.run
from jaxsep.augment import AugmentConfig
from jaxsep.fsdp import LEAST, spread_dimension, spread_dimensions
from jaxsep.networks import LSTMMask, UNet
from jaxsep.optimizers import Adam
from jaxsep.parts import find
from jaxsep.training import init_state
from train.clock import Clock
from train.config import TrainConfig
from train.program import Program

WIDE = {
    "lstm_mask": LSTMMask(layers=1, width=256, input_norm=True, dropout=0.2),
    "unet": UNet(levels=3, filters=32, dropout=0.2),
}


def config_of(network, **options):
    system = dataclasses.replace(small_system(network).config, network=WIDE[network])
    loss, optimizer = find("loss", SMALL[network][2])(), Adam(learning_rate=1e-3, clip_norm=0.5)
    augment = AugmentConfig(gain_db=3)
    return TrainConfig(
        system=system, loss=loss, optimizer=optimizer, augment=augment, batch_size=6, ema_decay=0.9, **options
    )


def steps(config, batches):
    """The state after a step of each batch, and the losses."""
    program, losses = Program([config]), []
    optimizer = config.optimizer(config.steps)
    state = program.place(init_state(train.run.System(config.system), optimizer, 3, ema=True))
    for batch in batches:
        state, metrics = program.step(state, program.put([batch]), Clock())
        losses.append(float(metrics["loss"]))
    return program, state, losses


def on_one_device(tree):
    return sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("network", ["lstm_mask", pytest.param("unet", marks=pytest.mark.slow)])
def test_a_spread_state_is_trained_as_a_whole_one_in_a_part_of_the_memory(rng, network):
    """Six examples on four devices, batch norm, dropout, a clipped norm and an average."""
    weight, ids = np.array([1] * 6 + [0] * 2, np.float32), np.arange(8, dtype=np.uint32)
    batches = [
        dict(sources=rng.standard_normal((8, 2, 1, SAMPLES)).astype(np.float32), weight=weight, id=ids)
        for _ in range(20)
    ]
    (_, whole, losses), (program, spread, losses_2) = (
        steps(config_of(network, fsdp=fsdp), batches) for fsdp in (False, True)
    )
    np.testing.assert_allclose(losses_2, losses, rtol=1e-5)
    found, expected = (ravel_pytree(jax.device_get(s.params))[0] for s in (spread, whole))
    np.testing.assert_allclose(found, expected, atol=2e-4)
    assert on_one_device(spread.opt_state) < 0.45 * on_one_device(whole.opt_state)
    assert on_one_device((spread.params, spread.ema)) < 0.45 * on_one_device((whole.params, whole.ema))
    again = program.gathered(spread.params)
    assert all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(again))
    np.testing.assert_array_equal(ravel_pytree(jax.device_get(again))[0], found)
    text = program._compiled.as_text()
    assert "all-gather" in text and "reduce-scatter" in text


def test_large_arrays_are_spread_by_the_longest_dimension_that_divides():
    assert spread_dimension((512, 2048), 4) == 1 and spread_dimension((4096, 2048), 4) == 0
    assert spread_dimension((LEAST - 4,), 4) == -1 and spread_dimension((LEAST,), 4) == 0
    assert spread_dimension((513, 2049), 4) == -1 and spread_dimension((512, 2048), 1) == -1
    tree = {"a": np.zeros((2, LEAST)), "b": np.zeros(())}
    assert spread_dimensions(tree, 2) == {"a": 1, "b": -1}
