"""Precision and memory of the training step: bfloat16, batches in parts, what is computed again."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from test_train_step import SAMPLES, SMALL, in_time, small_system, spread, uneven

from jaxsep.augment import AugmentConfig
from jaxsep.losses import SNR
from jaxsep.metrics import si_sdr
from jaxsep.optimizers import SGD
from jaxsep.parts import find
from jaxsep.precision import network_in
from jaxsep.training import batch_gradient, init_state, make_batch, train_step


@pytest.fixture
def batch(rng):
    return uneven(rng, 1)


def gradients(system, state, batch, loss="snr", **options):
    step = partial(batch_gradient, system=system, loss=find("loss", loss)(), **options)
    found, value, _ = jax.jit(step)(state, batch)
    return ravel_pytree(found)[0], float(value)


@pytest.mark.parametrize("way", ["jit", "shard_map"])
def test_a_batch_in_parts_has_the_gradient_of_the_whole(batch, way):
    system = small_system("lstm_mask", input_norm=False)
    state = init_state(system, SGD()(), seed=3)
    step = partial(batch_gradient, system=system, loss=SNR(), augmentation=AugmentConfig(gain_db=3))
    whole, value, _ = spread(step, way)(state, batch)
    whole, value = ravel_pytree(whole)[0], float(value)
    parts, value_2, _ = spread(partial(step, accumulate=2), way)(state, batch)
    assert np.max(np.abs(ravel_pytree(parts)[0] - whole)) <= 4e-6 * np.max(np.abs(whole)) + 1e-8
    assert float(value_2) == pytest.approx(value, rel=1e-6)


def test_parts_that_do_not_divide_are_refused(batch):
    system = small_system("lstm_mask")
    state = init_state(system, SGD()(), seed=3)
    with pytest.raises(ValueError, match="accumulate=3: expected a divisor of the 8 examples"):
        gradients(system, state, batch, accumulate=3)
    with pytest.raises(ValueError, match="precision='float16': expected one of"):
        gradients(system, state, batch, precision="float16")


@pytest.mark.parametrize("network", in_time(SMALL, ("unet",)))
def test_what_is_computed_again_is_the_same(batch, network):
    system = small_system(network)
    state = init_state(system, SGD()(), seed=3)
    loss = SMALL[network][2] if SMALL[network][2] != "discriminative" else "magnitude_mse"
    kept, value = gradients(system, state, batch, loss)
    again, value_2 = gradients(system, state, batch, loss, remat=True)
    assert value_2 == pytest.approx(value, rel=1e-5)
    assert np.max(np.abs(again - kept)) <= 1e-4 * np.max(np.abs(kept))


def test_what_is_computed_again_is_not_kept(rng):
    """Counted in what the reverse pass is given: XLA's CPU compiler may merge both computations again."""
    system = small_system("unet")
    variables = init_state(system, SGD()(), seed=3).variables()
    mixture = rng.standard_normal((4, 1, SAMPLES)).astype(np.float32)

    def kept(remat):
        def reverse(params):
            apply = network_in(system.network, remat=remat)
            run = lambda p: system.forward({**variables, "params": p}, mixture, apply=apply)[0].masks  # noqa: E731
            return jax.vjp(run, params)[1]

        return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(reverse, variables["params"])))

    assert kept(remat=True) < 0.7 * kept(remat=False)


@pytest.mark.parametrize("network", in_time(SMALL, ("unet",)))
def test_bfloat16_follows_float32(batch, network):
    """The gradient points the same way; what is not the network's stays in float32."""
    system, loss = small_system(network), SMALL[network][2]
    loss = "magnitude_mse" if loss == "discriminative" else loss
    state = init_state(system, SGD()(), seed=3)
    wide, value = gradients(system, state, batch, loss)
    narrow, value_2 = gradients(system, state, batch, loss, precision="bfloat16")
    assert narrow.dtype == wide.dtype == jnp.float32
    assert value_2 == pytest.approx(value, rel=0.05, abs=0.02)
    assert np.vdot(narrow, wide) > 0.97 * np.linalg.norm(narrow) * np.linalg.norm(wide)
    step = partial(train_step, system=system, loss=find("loss", loss)(), optimizer=SGD()())
    new, _ = jax.jit(partial(step, precision="bfloat16"))(state, batch)
    assert {leaf.dtype for leaf in jax.tree.leaves((new.params, new.model_state))} == {jnp.dtype("float32")}


@pytest.mark.parametrize("level", in_time((1e-30, 1e4), (1e-30,)))
def test_bfloat16_is_finite_at_any_level(rng, level):
    """Stems of a network in bfloat16 are those of float32 within 0.1 dB."""
    system = small_system("unet")
    state = init_state(system, SGD()(), seed=3)
    sources = (level * rng.standard_normal((2, 2, 1, SAMPLES))).astype(np.float32)
    wide, narrow = (
        system.forward(state.variables(), sources.sum(1), apply=network_in(system.network, precision))[0]
        for precision in ("float32", "bfloat16")
    )
    assert np.isfinite(narrow.waveforms).all()
    unit = sources / level
    scores = [si_sdr(unit, e.waveforms) for e in (wide, narrow)]
    np.testing.assert_allclose(scores[1], scores[0], atol=0.1)
    batch, step = make_batch(sources), partial(batch_gradient, system=system, loss=SNR())
    found = jax.jit(partial(step, precision="bfloat16"))(state, batch)[0]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
