"""THE training step: the same numbers however it is spread over devices."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxsep.augment import AugmentConfig
from jaxsep.codecs import STFT, Codec, Direct, Frames, Inverse, MinMax, Waveform
from jaxsep.distillation import teacher_of
from jaxsep.fine_tuning import FineTuning, named, start_from
from jaxsep.losses import SNR, MagnitudeMSE, WaveformMSE, negative_snr
from jaxsep.networks import (
    DPCRN,
    CNNAutoencoder,
    Complement,
    FeedForward,
    GRUMask,
    LSTMMask,
    MaskEstimation,
    OpenUnmix,
    PerSource,
    Remainder,
    RNNMask,
    SpleeterUNet,
    UNet,
    WaveUNet,
)
from jaxsep.optimizers import SGD, Adam, AdamW, Cosine, Exponential
from jaxsep.parts import find, names
from jaxsep.system import System, SystemConfig
from jaxsep.training import batch_gradient, eval_step, example_loss, init_state, make_batch, train_step

SAMPLES = 600

#: A small one of each network, with batch norm and dropout where it has them, a codec, a loss.
SPECTRUM = Codec(STFT(n_fft=64, hop_length=16))
LSTM = LSTMMask(layers=2, width=8, bidirectional=True, input_norm=True, dropout=0.3)
OPEN, MAGNITUDES = OpenUnmix(layers=2, width=8, heard=20), dataclasses.replace(SPECTRUM, head=Direct())
SMALL = {
    "lstm_mask": (LSTM, SPECTRUM, "discriminative"),
    "gru_mask": (GRUMask(layers=1, width=8), SPECTRUM, "snr"),
    "rnn_mask": (RNNMask(layers=1, width=8), SPECTRUM, "snr"),
    "unet": (UNet(levels=2, filters=4, dropout=0.3), SPECTRUM, "discriminative"),
    "cnn_autoencoder": (
        CNNAutoencoder(frames=38, frequency_filters=4, time_filters=3, time_kernel=9, width=8),
        dataclasses.replace(SPECTRUM, normalizer=MinMax()),
        "feature_mse",
    ),
    "feed_forward": (
        FeedForward(layers=(8,), context=1, input_norm=True, dropout=0.3),
        Codec(Frames(size=64), head=Direct(), inversion=Inverse()),
        "feature_mse",
    ),
    "mask_estimation": (MaskEstimation(layers=(8, 8)), SPECTRUM, "mask_mse"),
    "wave_unet": (
        WaveUNet(levels=3, filters=3),
        Codec(Waveform(), head=Direct(), inversion=Inverse()),
        "waveform_mse",
    ),
    # (its layer normalization of fewer channels is too ill conditioned for 16 bits)
    "dpcrn": (DPCRN(levels=2, filters=3, width=12, input_norm=True, dropout=0.3), SPECTRUM, "snr"),
    "per_source": (PerSource(LSTM), SPECTRUM, "discriminative"),
    "spleeter_unet": (SpleeterUNet(levels=2, filters=3), SPECTRUM, "mask_mse"),
    "openunmix": (OPEN, MAGNITUDES, "magnitude_mse"),
    "remainder": (Remainder(PerSource(OPEN)), MAGNITUDES, "magnitude_mse"),
    "complement": (Complement(SpleeterUNet(levels=2, filters=3)), SPECTRUM, "snr"),
}


def small_system(network="lstm_mask", channels=1, **options):
    small, codec, _ = SMALL[network]
    return System(
        SystemConfig(
            codec=codec,
            network=dataclasses.replace(small, **options),
            channels=channels,
            segment_seconds=0.1,
            overlap_seconds=0.015,
        )
    )


def in_time(names, chosen):
    """All names, those that are not chosen for the long run."""
    return [name if name in chosen else pytest.param(name, marks=pytest.mark.slow) for name in names]


def test_every_network_is_here():
    assert set(SMALL) == {n for n in names("network") if find("network", n).__module__.startswith("jaxsep.")}


def uneven(rng, channels):
    """A batch of which four devices get different weights."""
    sources = rng.standard_normal((8, 2, channels, SAMPLES)).astype(np.float32)
    return make_batch(sources, weight=[1, 1, 0, 1, 0.5, 0, 0, 1])


@pytest.fixture
def batch(rng):
    return uneven(rng, 1)


def spread(function, way):
    """``function(state, batch, axis_name)`` on four devices."""
    mesh = jax.make_mesh((4,), ("d",), axis_types=(AxisType.Auto,))
    named = partial(function, axis_name="d")
    if way == "jit":
        return jax.jit(function)
    if way == "sharded jit":

        def run(state, batch):
            state = jax.device_put(state, NamedSharding(mesh, P()))
            return jax.jit(function)(state, jax.device_put(batch, NamedSharding(mesh, P("d"))))

        return run
    if way == "shard_map":
        return jax.jit(jax.shard_map(named, mesh=mesh, in_specs=(P(), P("d")), out_specs=P()))
    mapped = jax.pmap(named, axis_name="d", in_axes=(None, 0), out_axes=None)
    return lambda state, batch: mapped(state, jax.tree.map(lambda x: x.reshape(4, 2, *x.shape[1:]), batch))


GAMMA = {"discriminative": dict(gamma=0.3)}


WAYS = ("sharded jit", "shard_map", "pmap")


@pytest.mark.parametrize(
    ("network", "channels", "loss"),
    [
        ("lstm_mask", 1, "snr"),
        ("unet", 2, "discriminative"),
        *(pytest.param(n, 1, SMALL[n][2], marks=pytest.mark.slow) for n in SMALL),
        *(pytest.param(n, 2, SMALL[n][2], marks=pytest.mark.slow) for n in ("lstm_mask", "wave_unet")),
    ],
)
def test_gradient_is_the_same_on_four_devices(rng, network, channels, loss):
    """Of three batches two agree: in one, a ReLU may lie within rounding of its kink, and with another order
    of sums, or on another processor, on its other side."""
    batches = [uneven(rng, channels) for _ in range(3)]
    system = small_system(network, channels)
    state = init_state(system, SGD()(), seed=3)
    gradient = partial(
        batch_gradient,
        system=system,
        loss=find("loss", loss)(**GAMMA.get(loss, {})),
        augmentation=AugmentConfig(gain_db=3, polarity=True, circular_shift=True),
    )

    def all_batches(way):
        run = spread(gradient, way)
        return [jax.device_get(run(state, batch)) for batch in batches]

    one = all_batches("jit")
    for way in WAYS:
        errors = []
        for (expected, value, statistics), (found, value_4, statistics_4) in zip(
            one, all_batches(way), strict=True
        ):
            expected, found = ravel_pytree(expected)[0], ravel_pytree(found)[0]
            assert np.max(np.abs(expected)) > 1e-5
            errors.append(np.max(np.abs(found - expected)) / np.max(np.abs(expected)))
            np.testing.assert_allclose(value_4, value, rtol=3e-6)
            np.testing.assert_allclose(
                ravel_pytree(statistics_4)[0], ravel_pytree(statistics)[0], rtol=3e-6, atol=1e-7
            )
        # Sums of float32 in another order; a mistake in scale or statistics makes 1e-2 and more.
        assert np.median(errors) <= 1e-5, (way, errors)


def test_the_floor_of_a_config_reaches_the_snr(batch):
    system, sources = small_system("lstm_mask"), batch["sources"]
    state = init_state(system, SGD()(), seed=3)
    estimates, encoded, _ = system.forward(state.variables(), sources.sum(axis=1))
    reference, values = sources / encoded.level[:, None, None, None], []
    for floor_db in (None, 5.0):
        loss = SNR(floor_db=floor_db)
        values.append(example_loss(loss, system, estimates, encoded, sources))
        expected = negative_snr(estimates.waveforms[:, :, 0], reference[:, :, 0], floor_db=floor_db)
        np.testing.assert_allclose(values[-1], expected, rtol=1e-5)
    assert (values[1] > values[0] + 0.1).all()


@pytest.mark.parametrize("way", WAYS)
def test_a_step_of_sgd_is_the_same_on_four_devices(batch, way):
    """SGD, since Adam's step does not feel a gradient that is N times too large."""
    system = small_system()
    optimizer = SGD(learning_rate=1.0)()
    state = init_state(system, optimizer, seed=3, ema=True)
    step = partial(train_step, system=system, loss=MagnitudeMSE(), optimizer=optimizer, ema_decay=0.9)
    (one, metrics), (four, metrics_4) = jax.device_get([spread(step, w)(state, batch) for w in ("jit", way)])
    moved = ravel_pytree(one.params)[0] - ravel_pytree(state.params)[0]
    difference = ravel_pytree(four.params)[0] - ravel_pytree(one.params)[0]
    rounding = 2e-7 * np.max(np.abs(ravel_pytree(one.params)[0]))
    assert np.max(np.abs(difference)) <= 3e-6 * np.max(np.abs(moved)) + rounding
    for name in ("loss", "grad_norm", "update_norm"):
        np.testing.assert_allclose(metrics_4[name], metrics[name], rtol=2e-6)


def test_padding_examples_count_nothing(rng):
    system = small_system()
    state = init_state(system, SGD()())
    sources = rng.standard_normal((3, 2, SAMPLES)).astype(np.float32)
    padded = np.concatenate([sources, np.full((2, 2, SAMPLES), 7.0, np.float32)])
    gradient = jax.jit(partial(batch_gradient, system=system, loss=SNR()))
    a = gradient(state, make_batch(sources))
    b = gradient(state, make_batch(padded, weight=[1, 1, 1, 0, 0]))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), a, b)


def test_gradient_equals_finite_differences(rng):
    system = small_system(dropout=0.0, input_norm=False)
    state = init_state(system, SGD()())
    batch = make_batch(rng.standard_normal((2, 2, SAMPLES)).astype(np.float32))
    flat, restore = ravel_pytree(state.params)
    direction = jnp.asarray(rng.standard_normal(flat.shape), jnp.float32)
    measured = jax.jit(partial(batch_gradient, system=system, loss=SNR()))

    def loss(t):
        moved = dataclasses.replace(state, params=restore(flat + t * direction))
        return float(measured(moved, batch)[1])

    gradient = measured(state, batch)[0]
    slope = float(ravel_pytree(gradient)[0] @ direction)
    assert slope == pytest.approx((loss(1e-3) - loss(-1e-3)) / 2e-3, rel=0.02, abs=1e-3)


@pytest.mark.parametrize(
    ("optimizer", "loss"),
    [
        ("adam", "discriminative"),
        ("adamw", "magnitude_mse"),
        ("adadelta", "magnitude_mae"),
        ("sgd", "si_sdr"),
        ("adam", "snr"),
        ("adam", "feature_mse"),
        ("adam", "feature_mae"),
        ("adam", "mask_mse"),
        ("adam", "waveform_mse"),
        ("adam", "waveform_mae"),
        ("adam", "pit"),
        ("adam", "multi_resolution_stft"),
        pytest.param("adam", "bss_eval", marks=pytest.mark.slow),
    ],
)
def test_every_loss_and_optimizer_learns(rng, optimizer, loss):
    system = small_system(dropout=0.0, layers=1)
    rate = {"sgd": 0.03, "adadelta": 1.0}.get(optimizer, 0.01)
    options = {} if optimizer == "sgd" else {"epsilon": 1e-6}
    rule = find("optimizer", optimizer)(learning_rate=rate, clip_norm=5.0, **options)()
    state = init_state(system, rule, ema=True)
    time = np.arange(SAMPLES) / 16000
    tones = np.stack([np.sin(2 * np.pi * f * time) for f in (500, 3000)])
    batch = make_batch(tones * rng.uniform(0.5, 1, (4, 2, 1)))
    step = jax.jit(
        partial(train_step, system=system, loss=find("loss", loss)(), optimizer=rule, ema_decay=0.9)
    )
    history = []
    for _ in range(25):
        state, metrics = step(state, batch)
        history.append(float(metrics["loss"]))
    assert history[-1] < history[0]
    assert int(state.step) == 25
    assert int(state.skipped) == 0
    result = jax.jit(partial(eval_step, system=system, loss=find("loss", loss)()))(state, batch)
    assert float(result["weight"]) == 4
    assert np.isfinite(float(result["loss"]))


def test_a_bad_example_is_skipped_counted_and_changes_nothing(batch):
    system = small_system()
    rule = Adam()()
    state = init_state(system, rule, ema=True)
    step = jax.jit(partial(train_step, system=system, loss=SNR(), optimizer=rule, ema_decay=0.9))
    bad = {**batch, "sources": batch["sources"].at[0, 0, 0, 5].set(jnp.nan)}
    after, metrics = step(state, bad)
    assert not metrics["finite"]
    assert (int(after.step), int(after.skipped)) == (1, 1)
    for name in ("params", "model_state", "opt_state", "ema"):
        jax.tree.map(np.testing.assert_array_equal, getattr(after, name), getattr(state, name))
    assert step(after, batch)[1]["finite"]


@pytest.mark.slow
def test_gradients_are_clipped_and_norms_measured(batch):
    system = small_system()
    for clip, expected in ((0.0, None), (1e-3, 1e-3)):
        rule = SGD(learning_rate=1.0, clip_norm=clip)()
        state = init_state(system, rule)
        step = jax.jit(partial(train_step, system=system, loss=SNR(), optimizer=rule))
        _, metrics = step(state, batch)
        assert float(metrics["update_norm"]) == pytest.approx(
            expected or float(metrics["grad_norm"]), rel=1e-4
        )
        assert float(metrics["param_norm"]) == pytest.approx(float(optax.tree.norm(state.params)))


def test_schedules_rise_and_fall():
    cosine = Cosine(warmup_steps=10)(1.0, 110)
    assert [round(float(cosine(s)), 3) for s in (0, 5, 10, 60, 110)] == [0.0, 0.5, 1.0, 0.5, 0.0]
    falling = Exponential(decay_rate=0.1)(1.0, 100)
    assert [round(float(falling(s)), 3) for s in (0, 50, 100)] == [1.0, 0.316, 0.1]
    for schedule in (Cosine(), Exponential(warmup_steps=3)):
        with pytest.raises(ValueError, match=rf"total_steps=0: a {schedule.name} schedule falls"):
            AdamW(schedule=schedule)()


def test_only_the_sources_chosen_are_trained(batch):
    """One network a source: those not chosen keep their parameters and statistics."""
    system = small_system("per_source", trained=(1,))
    rule = AdamW(learning_rate=0.1, weight_decay=0.1)()
    state = init_state(system, rule)
    step = jax.jit(partial(train_step, system=system, loss=SNR(), optimizer=rule))
    after = step(state, batch)[0].variables()
    for collection in ("params", "batch_stats"):
        before, now = state.variables()[collection], after[collection]
        jax.tree.map(np.testing.assert_array_equal, now["source_0"], before["source_0"])
        moved = ravel_pytree(now["source_1"])[0] - ravel_pytree(before["source_1"])[0]
        assert np.abs(moved).max() > 0


def test_frozen_parameters_stay_and_rates_are_multiplied(batch):
    """By pattern; weight decay moves no frozen parameter, and frozen statistics stay."""
    system = small_system("complement")
    rule = AdamW(learning_rate=0.01, weight_decay=0.1)()
    state = init_state(system, rule)
    common = dict(system=system, loss=SNR(), optimizer=rule)

    def moved(**tuning):
        step = jax.jit(partial(train_step, tuning=FineTuning(**tuning), **common))
        after = step(state, batch)[0]
        before = dict(named(state.params))
        change = {name: np.asarray(leaf - before[name]) for name, leaf in named(after.params)}
        return change, after.model_state

    whole, statistics = moved()
    some, _ = moved(freeze=("*/down_*",), rates={"*/up_1/*": 0.5, "*/up_*": 3.0})
    for name, change in some.items():
        rate = 0 if "/down_" in name else 0.5 if "/up_1/" in name else 3.0 if "/up_" in name else 1.0
        np.testing.assert_allclose(change, rate * whole[name], rtol=1e-4, atol=1e-7, err_msg=name)
    both = zip(jax.tree.leaves(statistics), jax.tree.leaves(state.model_state), strict=True)
    assert any(np.abs(a - b).max() > 0 for a, b in both)
    _, kept = moved(statistics="frozen")
    jax.tree.map(np.testing.assert_array_equal, kept, state.model_state)
    for wrong, said in (
        (dict(freeze=("x",)), "no parameter is called 'x'"),
        (dict(freeze=("*",)), "nothing"),
    ):
        with pytest.raises(ValueError, match=said):
            FineTuning(**wrong).check(state.params)


def test_a_masks_complement_is_the_other_source(batch):
    """One network of a model of two, its weights found by name; the rest of the mixture beside it."""
    one = small_system("complement")
    inner = PerSource(SpleeterUNet(levels=2, filters=3))
    both = System(dataclasses.replace(one.config, network=inner))
    start = start_from(init_state(one, SGD()()).variables(), init_state(both, SGD()(), seed=3).variables())
    assert not start.fresh and all("/source_1/" in name for name in start.unused)
    mixture = batch["sources"].sum(1)
    estimates, _, _ = one.forward(start.variables, mixture)
    two, _, _ = both.forward(init_state(both, SGD()(), seed=3).variables(), mixture)
    np.testing.assert_allclose(estimates.outputs[:, 0], two.outputs[:, 0], atol=1e-6)
    np.testing.assert_allclose(estimates.masks.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(estimates.masks[:, 0], estimates.outputs[:, 0], atol=1e-6)
    with pytest.raises(ValueError, match="expected 2 sources, not 3"):
        SystemConfig(sources=("a", "b", "c"), residual="c", network=Complement())
    with pytest.raises(ValueError, match="expected masks in"):
        SystemConfig(network=Complement(SpleeterUNet(activation="linear")))


def test_the_first_source_has_its_own_mask_and_the_others_share_what_it_leaves():
    network = SpleeterUNet(levels=2, filters=3)
    features = jax.random.uniform(jax.random.key(0), (2, 1, 33, 8))
    size = dict(sources=3, channels=1, bins=33)
    alone, joint = PerSource(network).build(**size), PerSource(network, joint="first").build(**size)
    variables = alone.init(jax.random.key(1), features)
    outputs, masks = (np.asarray(n.apply(variables, features)[0], np.float64) for n in (alone, joint))
    np.testing.assert_array_equal(masks[:, 0], outputs[:, 0])
    left = 1 - outputs[:, 0]
    for i in (1, 2):
        share = outputs[:, i] ** 2 / (outputs[:, 1] ** 2 + outputs[:, 2] ** 2)
        np.testing.assert_allclose(masks[:, i], left * share, atol=1e-6)
    np.testing.assert_allclose(masks.sum(1), 1, atol=1e-6)
    shut = jax.tree.map(jnp.zeros_like, variables["params"])
    for source in ("source_1", "source_2"):
        shut[source]["outputs"]["bias"] -= 42.0  # the square of their square is 0 in float32
    slopes = jax.grad(lambda p: joint.apply({**variables, "params": p}, features)[0][:, 1].sum())(shut)
    assert all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(slopes))
    assert PerSource(network, joint="first").output_range == "unit"
    with pytest.raises(ValueError, match="joint='first' needs masks"):
        PerSource(LSTM, joint="first").check(3, 33)
    with pytest.raises(ValueError, match="there is one source"):
        PerSource(network, joint="first").check(1, 33)


def test_a_masks_exponent_gives_the_source_more_of_what_is_in_doubt(batch):
    plain = small_system("complement")
    raised = System(
        dataclasses.replace(plain.config, network=dataclasses.replace(plain.config.network, exponent=0.5))
    )
    variables = init_state(plain, SGD()()).variables()
    features = jnp.abs(jax.random.normal(jax.random.key(1), (2, 1, plain.config.codec.num_bins, 16)))
    (before, _), (after, _) = (s.network.apply(variables, features) for s in (plain, raised))
    np.testing.assert_allclose(after[:, 0], np.sqrt(before[:, 0]), atol=1e-6)
    np.testing.assert_allclose(after.sum(1), 1, atol=1e-6)
    shut = jax.tree.map(jnp.zeros_like, variables["params"])
    shut["source_0"]["outputs"]["bias"] -= 1e4  # masks of 0, which stay
    assert not raised.network.apply({**variables, "params": shut}, features)[0][:, 0].any()

    def total(params):
        return raised.network.apply({**variables, "params": params}, features)[0][:, 0].sum()

    assert all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(jax.grad(total)(shut)))


def test_the_average_follows_the_parameters(batch):
    system = small_system()
    rule = SGD(learning_rate=0.1)()
    state = init_state(system, rule, ema=True)
    options = dict(system=system, loss=SNR(), optimizer=rule, ema_decay=0.05)
    after, _ = jax.jit(partial(train_step, **options))(state, batch)
    now = after.variables(average=False)
    expected = jax.tree.map(lambda a, v: 0.05 * a + 0.95 * v, state.ema, now)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), after.ema, expected)
    assert now["batch_stats"]
    assert after.variables() is after.ema
    assert after.variables(average=False)["params"] is after.params


def test_a_teachers_share_blends_two_gradients(batch):
    """Of a loss that is quadratic in the reference: that to the sources, and that to the teacher's stems."""
    system, other = small_system("complement"), small_system("complement")
    teacher = init_state(other, SGD()(), seed=5).variables()
    state = init_state(system, SGD()())

    def gradient(share):
        options = {} if share is None else {"teacher": teacher_of(other, teacher, share)}
        found, *_ = jax.jit(partial(batch_gradient, system=system, loss=WaveformMSE(), **options))(
            state, batch
        )
        return ravel_pytree(found)[0]

    alone, none, half, whole = (gradient(share) for share in (None, 0.0, 0.5, 1.0))
    scale = np.abs(alone).max()
    np.testing.assert_allclose(none, alone, atol=1e-6 * scale)
    np.testing.assert_allclose(half, (alone + whole) / 2, atol=2e-5 * scale)
    assert np.abs(whole - alone).max() > 0.01 * scale


def test_a_system_that_is_its_own_teacher_has_nothing_to_learn(batch):
    system = small_system("complement")
    state = init_state(system, SGD()())
    teacher = teacher_of(system, state.variables(), 1.0)
    options = dict(system=system, loss=WaveformMSE(), tuning=FineTuning(statistics="frozen"), teacher=teacher)
    found, value, _ = jax.jit(partial(batch_gradient, **options))(state, batch)
    assert float(value) < 1e-9 and np.abs(ravel_pytree(found)[0]).max() < 1e-6
