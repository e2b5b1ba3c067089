"""Every public function of arrays under JAX's modes: meshes of every kind, 64 bits, strict promotion."""

import dataclasses
import inspect
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from test_train_step import GAMMA, SMALL, in_time, small_system, uneven

import jaxsep
from jaxsep import augment, baselines, bss, losses, masks, metrics, spectral, wiener
from jaxsep.bss import diagnostics
from jaxsep.bss.fastica import _fixed_start
from jaxsep.optimizers import Adam
from jaxsep.parts import find
from jaxsep.training import eval_step, init_state, train_step

SHORT = dict(n_fft=64, hop_length=16)


def spectra(x):
    return spectral.stft(x, n_fft=64)


def sizes(x):
    return jnp.abs(spectra(x))


def other(x):
    return x[:, ::-1] + 0.5 * x


def images(x):
    return x[:, :, None], other(x)[:, :, None]


#: Name -> a call for ``(batch, sources or channels, samples)`` waveforms, whose results have the batch first.
CALLS = {
    "stft": spectra,
    "istft": lambda x: spectral.istft(spectra(x)),
    "magnitude": lambda x: spectral.magnitude(spectra(x)),
    "overlap_add": lambda x: spectral.overlap_add(x.reshape(*x.shape[:-1], -1, 64), 16),
    "melspectrogram": lambda x: spectral.melspectrogram(x, n_mels=8, **SHORT),
    "griffin_lim": lambda x: spectral.griffin_lim(sizes(x), n_iter=2),
    "power_to_db": lambda x: spectral.power_to_db(x * x),
    "amplitude_to_db": lambda x: spectral.amplitude_to_db(jnp.abs(x)),
    "db_to_power": spectral.db_to_power,
    "db_to_amplitude": spectral.db_to_amplitude,
    "resample": lambda x: jaxsep.resample(x, 44100, 16000),
    "ratio_mask": lambda x: masks.ratio_mask(sizes(x)),
    "at_most_one": lambda x: masks.at_most_one(sizes(x)),
    "complete_masks": lambda x: masks.complete_masks(masks.at_most_one(sizes(x)), 1),
    "inserted": lambda x: masks.inserted(x, x[:, :1], 1, axis=1),
    "residual_mask": lambda x: masks.residual_mask(masks.ratio_mask(sizes(x))),
    "slowed_mask": lambda x: masks.slowed_mask(masks.ratio_mask(sizes(x)), speed=0.8, frames=10),
    "wiener_mask": lambda x: masks.wiener_mask(spectra(x)),
    "binary_mask": lambda x: masks.binary_mask(spectra(x)),
    "phase_sensitive_mask": lambda x: masks.phase_sensitive_mask(spectra(x)),
    "wiener": lambda x: wiener.wiener(sizes(x)[:, :, None], spectra(x.sum(1, keepdims=True)), iterations=1),
    "wiener_stems": lambda x: wiener.wiener_stems(x[:, :, None], x.sum(1, keepdims=True), **SHORT),
    "fastica": bss.fastica,
    "fastica by deflation": lambda x: bss.fastica(x, algorithm="deflation"),
    "infomax": lambda x: bss.infomax(x, max_iter=2),
    "fobi": bss.fobi,
    "auxiva": lambda x: bss.auxiva(x, n_iter=2, **SHORT),
    "ilrma": lambda x: bss.ilrma(x, n_iter=2, **SHORT),
    "excess_kurtosis": diagnostics.excess_kurtosis,
    "negentropy": diagnostics.negentropy,
    "nonlinear_correlation": diagnostics.nonlinear_correlation,
    "mutual_information": diagnostics.mutual_information,
    "complexity": lambda x: diagnostics.complexity(x, n_fft=64),
    "rms": diagnostics.rms,
    "zero_crossing_rate": diagnostics.zero_crossing_rate,
    "envelope": diagnostics.envelope,
    "hpss": lambda x: baselines.hpss(x, kernel_size=5, **SHORT),
    "repet": lambda x: baselines.repet(x, min_period=3, max_period=9, **SHORT),
    "oracle": lambda x: baselines.oracle(x, **SHORT),
    "si_sdr": lambda x: metrics.si_sdr(x, other(x)),
    "sd_sdr": lambda x: metrics.sd_sdr(x, other(x)),
    "snr": lambda x: metrics.snr(x, other(x)),
    "log_spectral_distance": lambda x: metrics.log_spectral_distance(x, other(x), n_fft=64, hop_length=16),
    "mel_correlation": lambda x: metrics.mel_correlation(x, other(x), n_fft=256, hop_length=64, n_mels=8),
    "si_sdr_improvement": lambda x: metrics.si_sdr_improvement(x, other(x), x.sum(1)),
    "nsdr": lambda x: metrics.nsdr(x, other(x), x.sum(1), filter_length=8),
    "bss_eval_sources": lambda x: metrics.bss_eval_sources(x, other(x), filter_length=8),
    "bss_eval_images": lambda x: metrics.bss_eval_images(
        x[:, :, None], other(x)[:, :, None], filter_length=8
    ),
    "discriminative": lambda x: losses.discriminative(sizes(x), 2 * sizes(x), 0.05),
    "magnitude_mse": lambda x: losses.magnitude_mse(sizes(x), 2 * sizes(x)),
    "magnitude_mae": lambda x: losses.magnitude_mae(sizes(x), 2 * sizes(x)),
    "waveform_mse": lambda x: losses.waveform_mse(x, 2 * x),
    "waveform_mae": lambda x: losses.waveform_mae(x, 2 * x),
    "mask_mse": lambda x: losses.mask_mse(masks.ratio_mask(sizes(x)), masks.wiener_mask(spectra(x))),
    "negative_si_sdr": lambda x: losses.negative_si_sdr(x, other(x)),
    "negative_snr": lambda x: losses.negative_snr(x, other(x)),
    "permutation_invariant": lambda x: losses.permutation_invariant(losses.negative_snr, x, x[:, ::-1]),
    "multi_resolution_stft": lambda x: losses.multi_resolution_stft(x, 2 * x),
    "lowpass": lambda x: augment.lowpass(x, 0.2),
    "equalizer": lambda x: augment.equalizer(x, np.arange(3.0, dtype=np.float32)),
    "time_stretch": lambda x: augment.time_stretch(x, 1.1),
    "pitch_shift": lambda x: augment.pitch_shift(x, 2.0),
    "resample_at": lambda x: jax.vmap(jax.vmap(lambda row: augment.resample_at(row, 1.1, 300)))(x),
    "in_room": lambda x: augment.in_room(x, np.ones(5, np.float32)),
    "play_back": lambda x: augment.play_back(x, 200, speed=1.25, cutoff=3000, sample_rate=8000),
}
#: Taken at once for a whole batch: results over parts of it are not parts of the result.
WHOLE = {"power_to_db", "amplitude_to_db"}
#: Whose FFTs, over automatic axes inside jit, XLA computes on every device for the whole batch.
GATHERED = {"time_stretch", "pitch_shift", "in_room", "play_back"}
NOT_OF_WAVEFORMS = {
    "free_field_mixing",
    "get_window",
    "num_frames",
    "mel_filters",
    "projection_back",
    "diagnose",
}


def test_every_public_function_is_here():
    public = {
        name
        for module in (spectral, masks, wiener, bss, baselines, metrics, losses)
        for name, value in vars(module).items()
        if inspect.isfunction(inspect.unwrap(value))
        and value.__module__.startswith("jaxsep.")
        and (module.__file__.endswith("__init__.py") or value.__module__ == module.__name__)
        and not name.startswith("_")
    }
    inner = {"refine", "close", "auxiva_spectra", "ilrma_spectra", "median_of_frames", "weighted_mean"}
    inner |= {"check_gamma", "domains_of", "loss_of"}
    assert public - set(CALLS) - NOT_OF_WAVEFORMS - inner == set()


@pytest.fixture
def x(rng):
    return (rng.laplace(size=(4, 2, 512)) / 5).astype(np.float32)


def assert_same(found, expected):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        level = np.nanmax(np.abs(b), initial=0.0, where=np.isfinite(b)) if b.size else 0.0
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-3 * level)


def spread(x, kind):
    mesh = jax.make_mesh((2,), ("devices",), axis_types=(kind,))
    return mesh, jax.tree.map(lambda leaf: jax.device_put(leaf, NamedSharding(mesh, P("devices"))), x)


LOOPS = ("stft", "wiener", "fastica", "auxiva", "bss_eval_sources", "hpss", "repet")


@pytest.mark.parametrize("name", in_time(CALLS, (*LOOPS, "griffin_lim")))
def test_a_batch_spread_over_explicit_axes_stays_so(x, name):
    mesh, parts = spread(x, AxisType.Explicit)
    with jax.set_mesh(mesh):
        found = jax.jit(CALLS[name])(parts)
    for leaf in jax.tree.leaves(found):
        assert jax.typeof(leaf).sharding.spec[0] == "devices", leaf.shape
    assert_same(found, CALLS[name](x))


@pytest.mark.parametrize("name", in_time(CALLS, ("stft", "fastica", "bss_eval_sources")))
def test_a_batch_spread_over_automatic_axes_stays_so(x, name):
    _, parts = spread(x, AxisType.Auto)
    found = CALLS[name](parts)
    for leaf in jax.tree.leaves(found):
        assert leaf.sharding.spec[0] == "devices" and AxisType.Auto in leaf.sharding.mesh.axis_types
    assert_same(found, CALLS[name](x))


@pytest.mark.parametrize("name", in_time(CALLS, ("stft", "fastica", "bss_eval_sources")))
def test_a_batch_spread_over_automatic_axes_stays_so_inside_jit(x, name):
    _, parts = spread(x, AxisType.Auto)
    compiled = jax.jit(CALLS[name]).lower(parts).compile()
    assert name in GATHERED or not any(word in compiled.as_text() for word in ("all-gather", "all-to-all"))
    found = compiled(parts)
    for leaf in jax.tree.leaves(found):
        constant = np.isnan(leaf).all()  # isr, which images alone have
        assert constant or leaf.sharding.spec[0] == "devices", leaf.shape
    assert_same(found, CALLS[name](x))


@pytest.mark.parametrize("kind", in_time((AxisType.Explicit, AxisType.Auto), (AxisType.Explicit,)))
@pytest.mark.parametrize("spec", [P("devices"), P(None, "devices")], ids=["sources", "samples"])
def test_scores_of_one_problem_are_the_same_however_it_is_spread(x, spec, kind):
    mesh = jax.make_mesh((2,), ("devices",), axis_types=(kind,))
    reference, estimate = (
        jax.device_put(signal, NamedSharding(mesh, spec)) for signal in (x[0], other(x)[0])
    )
    expected = metrics.bss_eval_sources(x[0], other(x)[0], filter_length=16)
    assert_same(metrics.bss_eval_sources(reference, estimate, filter_length=16), expected)
    assert_same(metrics.bss_eval_sources(reference, other(x)[0], filter_length=16), expected)


def test_automatic_axes_that_do_not_divide_a_batch(x):
    """Six problems over four devices, and over two of two axes of a mesh."""
    many = np.concatenate([x, x[:2]])
    for shape, names, spec in (
        ((4,), ("a",), P()),
        ((2, 2), ("a", "b"), P("a")),
        ((1, 2), ("a", "b"), P("b")),
    ):
        mesh = jax.make_mesh(shape, names, axis_types=(AxisType.Auto,) * len(shape))
        parts = jax.device_put(many, NamedSharding(mesh, spec))
        for name in ("stft", "fastica"):
            assert_same(jax.jit(CALLS[name])(parts), CALLS[name](many))
            each = jax.jit(jax.vmap(CALLS[name]))  # of another program than the plain one: other signs
            assert_same(each(parts[:, None]), each(many[:, None]))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(CALLS.keys() - WHOLE))
def test_a_function_runs_inside_shard_map(x, name):
    mesh, parts = spread(x, AxisType.Auto)
    found = jax.jit(jax.shard_map(CALLS[name], mesh=mesh, in_specs=P("devices"), out_specs=P("devices")))(
        parts
    )
    assert_same(found, CALLS[name](x))


def test_fastica_runs_inside_shard_map_outside_jit(x):
    """Where nothing was traced before, so that no constant of an earlier call is at hand."""
    _fixed_start.cache_clear()
    mesh, parts = spread(x, AxisType.Auto)
    found = jax.shard_map(CALLS["fastica"], mesh=mesh, in_specs=P("devices"), out_specs=P("devices"))(parts)
    assert_same(found, CALLS["fastica"](x))


#: Each of another kind: loops, draws, indices and constants whose types were wrong.
OFTEN_WRONG = ("fastica", "wiener", "ilrma", "bss_eval_sources", "mutual_information", "hpss", "pitch_shift")


@pytest.mark.parametrize("name", in_time(CALLS, OFTEN_WRONG))
def test_results_are_those_of_float32_in_every_mode(x, name):
    """With 64 bits, strict promotion and NaN checks on, at once."""
    expected = CALLS[name](x)
    kinds = {leaf.dtype for leaf in jax.tree.leaves(expected)}
    assert kinds <= {np.dtype(d) for d in ("float32", "complex64", "int32", "bool")}
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"), jax.debug_nans(True):
        assert_same(CALLS[name](jnp.asarray(x)), expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_no_tracer_leaks(x, name):
    with jax.check_tracer_leaks(True):
        jax.jit(CALLS[name])(x)


STEPS = ("lstm_mask", "unet")


def stepping(rng, network):
    system, optimizer = small_system(network), Adam()()
    loss = find("loss", SMALL[network][2])(**GAMMA.get(SMALL[network][2], {}))
    state, batch = init_state(system, optimizer, seed=3), uneven(rng, 1)
    step = partial(train_step, system=system, loss=loss, optimizer=optimizer)
    return state, batch, step, partial(eval_step, system=system, loss=loss)


@pytest.mark.parametrize("network", in_time(SMALL, STEPS))
def test_a_step_spread_over_explicit_axes_sums_once(rng, network):
    """The state comes back whole on every device, and the compiled step gathers nothing."""
    state, batch, step, judge = stepping(rng, network)
    (_, metrics), score = jax.jit(step)(state, batch), jax.jit(judge)(state, batch)
    mesh, parts = spread(batch, AxisType.Explicit)
    whole = jax.device_put(state, NamedSharding(mesh, P()))
    compiled = jax.jit(step).lower(whole, parts).compile()
    assert not any(word in compiled.as_text() for word in ("all-gather", "all-to-all", "collective-permute"))
    four, metrics_4 = compiled(whole, parts)
    np.testing.assert_allclose(metrics_4["loss"], metrics["loss"], rtol=1e-5)
    np.testing.assert_allclose(metrics_4["grad_norm"], metrics["grad_norm"], rtol=1e-3)
    assert all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(four))
    np.testing.assert_allclose(jax.jit(judge)(whole, parts)["loss"], score["loss"], rtol=1e-5)


@pytest.mark.parametrize("network", in_time(SMALL, STEPS))
def test_a_step_keeps_its_types_in_every_mode(rng, network):
    state, batch, step, judge = stepping(rng, network)
    shapes = jax.eval_shape(step, state, batch)
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"), jax.debug_nans(True):
        assert jax.tree.map(lambda a: (a.shape, a.dtype), jax.eval_shape(step, state, batch)) == jax.tree.map(
            lambda a: (a.shape, a.dtype), shapes
        )
        jax.jit(step)(state, batch)
        assert dataclasses.is_dataclass(state) and jax.jit(judge)(state, batch)["loss"].dtype == np.float32


def test_what_shapes_follow_from_is_static(x):
    with pytest.raises(ValueError, match=r"n_fft is traced.*static_argnames='n_fft'"):
        jax.jit(jaxsep.stft)(x, n_fft=64)
    assert jax.jit(jaxsep.stft, static_argnames="n_fft")(x, n_fft=64).shape == (4, 2, 33, 33)


def test_scores_in_float64_inside_jit_say_what_they_need(x):
    score = partial(jaxsep.bss_eval_sources, filter_length=8, dtype="float64")
    expected = score(x, other(x)).sdr
    with pytest.raises(ValueError, match=r"dtype='float64': inside jit.*jax.enable_x64\(True\)"):
        jax.jit(score)(x, other(x))
    with jax.enable_x64(True):
        found = jax.jit(score)(x, other(x)).sdr
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=1e-9)
