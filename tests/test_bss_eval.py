"""BSS Eval against mir_eval, against a dense float64 projection, and its properties."""

import json
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal
from test_train_step import in_time

from jaxsep import metrics
from jaxsep.audio import read_audio
from jaxsep.losses import BSSEvalSDR
from jaxsep.metrics import bss_eval, bss_eval_images, bss_eval_sources, toeplitz
from jaxsep.metrics.toeplitz import solve_toeplitz

#: Largest difference in dB, by dtype.
TOLERANCE = {"float64": 1e-6, "float32": 1e-3}


def judge(name, references, estimates, permute=True):
    """mir_eval's scores, in float64."""
    import mir_eval.separation

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return getattr(mir_eval.separation, name)(references, estimates, permute)


def mixed(rng, sources, samples, color=0.5):
    """Coloured sources, and estimates with leakage, echo and noise, in another order."""
    s = scipy.signal.lfilter([1], [1, -color], rng.standard_normal((sources, samples)))
    e = s + 0.2 * np.roll(s, 1, axis=0) + 0.3 * np.roll(s, 37, axis=-1)
    return s, (e + 0.05 * rng.standard_normal(s.shape))[rng.permutation(sources)]


def close(ours, theirs, tolerance):
    np.testing.assert_allclose(np.asarray(ours, np.float64), theirs, atol=tolerance, rtol=1e-7)


@pytest.mark.parametrize(
    ("sources", "samples", "color"),
    [
        (2, 8000, 0.5),
        pytest.param(3, 5000, 0.9, marks=pytest.mark.slow),
        pytest.param(2, 700, 0.0, marks=pytest.mark.slow),
        (1, 3000, 0.5),
    ],
)
def test_sources_equal_mir_eval(rng, sources, samples, color):
    s, e = mixed(rng, sources, samples, color)
    sdr, sir, sar, order = judge("bss_eval_sources", s, e)
    for dtype, tolerance in TOLERANCE.items():
        scores = bss_eval_sources(s, e, dtype=dtype)
        assert scores.sdr.dtype == dtype
        close(scores.sdr, sdr, tolerance)
        close(scores.sir, sir, tolerance)
        # With few samples a filter of 512 taps fits all: what is left is rounding.
        if samples > 1024 * sources:
            close(scores.sar, sar, tolerance)
        assert scores.permutation.tolist() == list(order)


def test_nearly_equal_and_nearly_silent_sources_equal_mir_eval(rng):
    s, e = mixed(rng, 2, 8000)
    for references in (np.stack([s[0], s[0] + 0.1 * s[1]]), np.stack([s[0], 1e-4 * s[1]])):
        sdr, sir, _, order = judge("bss_eval_sources", references, e)
        for dtype, tolerance in TOLERANCE.items():
            scores = bss_eval_sources(references, e, dtype=dtype)
            assert scores.condition < 1e5
            close(scores.sdr, sdr, tolerance)
            close(scores.sir, sir, tolerance)
            assert scores.permutation.tolist() == list(order)


def test_images_equal_mir_eval(rng):
    s, e = mixed(rng, 4, 6000)
    s, e = s.reshape(2, 2, -1), e.reshape(2, 2, -1)
    *figures, order = judge("bss_eval_images", np.moveaxis(s, 1, 2), np.moveaxis(e, 1, 2))
    for dtype, tolerance in TOLERANCE.items():
        scores = bss_eval_images(s, e, dtype=dtype)
        for ours, theirs in zip(scores[:4], figures, strict=True):
            close(ours, theirs, tolerance)
        assert scores.permutation.tolist() == list(order)


def fixture_signals(folder):
    return np.stack([read_audio(p) for p in sorted(folder.iterdir())]).astype(np.float64)


@pytest.mark.parametrize("case", ["01", "02", "03", "05", "07", "08", "09"])
def test_sources_equal_the_fixtures_of_mir_eval(recordings, case):
    """Scores that the MATLAB toolbox gave; its conditions reach 3e10."""
    folder = recordings / "mir_eval_separation"
    expected = json.loads((folder / f"output{case}.json").read_text())["Sources"]
    s, e = (fixture_signals(folder / f"{side}{case}")[:, 0] for side in ("ref", "est"))
    scores = bss_eval_sources(s, e, dtype="float64")
    for ours, name in zip(
        (scores.sdr, scores.sir, scores.sar), ("Distortion", "Interference", "Artifact"), strict=True
    ):
        close(ours, expected[f"Source to {name}"], 1e-3)
    assert scores.permutation.tolist() == expected["Source permutation"]


@pytest.mark.parametrize("case", ["01", "05", "06", "08"])
def test_images_equal_the_fixtures_of_mir_eval(recordings, case):
    """Their channels are copies of one, so the equations are singular."""
    folder = recordings / "mir_eval_separation"
    expected = json.loads((folder / f"output{case}.json").read_text())["Images"]
    s, e = (fixture_signals(folder / f"{side}{case}").mean(axis=1) for side in ("ref", "est"))
    gains = [1.0] + [expected["gain"]] * (expected["nchan"] - 1)
    gains = gains[::-1] if expected["reverse"] else gains
    scores = bss_eval_images(
        np.stack([s] * len(gains), axis=1), np.stack([g * e for g in gains], axis=1), dtype="float64"
    )
    names = ("Source to Distortion", "Image to Spatial", "Source to Interference", "Source to Artifact")
    for ours, name in zip(scores[:4], names, strict=True):
        close(ours, expected[name], 1e-3)


def delays(rows, taps):
    """``(rows, samples)`` -> ``(samples + taps - 1, rows * taps)``: every delayed copy."""
    padded = np.pad(rows, ((0, 0), (0, taps - 1)))
    return np.stack([np.roll(row, k) for row in padded for k in range(taps)], axis=1)


def test_frames_keep_the_filters_of_the_whole(rng):
    """museval's definition, by a dense least-squares fit in float64."""
    taps, window, hop = 12, 400, 300
    s, e = mixed(rng, 4, 1500)
    s, e = s.reshape(2, 2, -1), e.reshape(2, 2, -1)
    s[0, :, 600:1010] = 0
    every = np.linalg.lstsq(
        delays(s.reshape(4, -1), taps), np.pad(e, ((0, 0), (0, 0), (0, taps - 1))).reshape(4, -1).T
    )[0]
    scores = bss_eval_images(s, e, filter_length=taps, window=window, hop=hop, permute=False, dtype="float64")
    assert scores.sdr.shape == (2, 4)
    for j in range(2):
        own = np.linalg.lstsq(delays(s[j], taps), np.pad(e[j], ((0, 0), (0, taps - 1))).T)[0]
        for t in range(4):
            at = slice(t * hop, t * hop + window)
            target = (delays(s[j, :, at], taps) @ own).T
            explained = (delays(s[..., at].reshape(4, -1), taps) @ every[:, 2 * j : 2 * j + 2]).T
            image, given = (np.pad(x[j, :, at], ((0, 0), (0, taps - 1))) for x in (s, e))
            pairs = ((image, given - image), (image, target - image))
            pairs += ((target, explained - target), (explained, given - explained))
            heard = np.any(s[0, :, at])
            expected = [10 * np.log10(np.sum(a**2) / np.sum(b**2)) if heard else np.nan for a, b in pairs]
            np.testing.assert_allclose([figure[j, t] for figure in scores[:4]], expected, atol=1e-6)


@pytest.mark.slow
def test_a_silent_reference_leaves_the_others_as_without_it(rng):
    s, e = mixed(rng, 3, 4000)
    e = e[np.asarray(bss_eval_sources(s, e, filter_length=64).permutation)]
    silent = s.copy()
    silent[1] = 0
    with_it = bss_eval_sources(silent, e, filter_length=64)
    without = bss_eval_sources(silent[[0, 2]], e[[0, 2]], filter_length=64)
    for a, b in zip(
        (with_it.sdr, with_it.sir, with_it.sar), (without.sdr, without.sir, without.sar), strict=True
    ):
        assert np.isnan(a[1])
        close(a[np.array([0, 2])], b, 1e-3)


def test_special_estimates_score_as_documented(rng):
    s = rng.standard_normal((2, 2000)).astype(np.float32)
    e = (s + 0.1 * rng.standard_normal(s.shape)).astype(np.float32)
    quiet = bss_eval_sources(s, np.stack([0 * e[0], e[1]]), filter_length=32, permute=False)
    assert quiet.sdr[0] == -np.inf
    assert np.isnan([quiet.sir[0], quiet.sar[0]]).all()
    close(quiet.sdr[1], bss_eval_sources(s, e, filter_length=32, permute=False).sdr[1], 1e-3)
    assert (bss_eval_sources(s, s, filter_length=32).sdr > 100).all()
    broken = e.copy()
    broken[0, 3] = np.nan
    assert np.isnan(bss_eval_sources(s, broken, filter_length=32).sdr).all()
    images = bss_eval_images(s[:, None], 0 * e[:, None], filter_length=32)
    close(images.sdr, 0, 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("level", [1e-9, 1e-3, 1e6])
def test_levels_of_sources_do_not_matter(rng, level):
    """Nearly silent sources too: rows are brought to unit energy first."""
    s, e = mixed(rng, 2, 3000)
    gains = np.array([[1.0], [level]])
    order = np.asarray(bss_eval_sources(s, e, filter_length=32).permutation)
    a = bss_eval_sources(s, e[order], filter_length=32, permute=False)
    b = bss_eval_sources(gains * s, gains * e[order], filter_length=32, permute=False)
    for x, y in zip((a.sdr, a.sir, a.sar), (b.sdr, b.sir, b.sar), strict=True):
        close(x, y, 2e-3)


def test_equal_references_do_not_break_it(rng):
    s, e = mixed(rng, 2, 3000)
    scores = bss_eval_sources(np.stack([s[0], s[0]]), e, filter_length=32, permute=False, dtype="float64")
    alone = bss_eval_sources(s[:1], e[:1], filter_length=32, dtype="float64")
    close(scores.sdr[0], alone.sdr[0], 1e-6)
    assert scores.condition > 1e10


def normal_equations(s, taps=64):
    """Lags of signals ``(rows, samples)``, and the matrix of them, dense."""
    s = s / np.sqrt(np.sum(s**2, axis=1, keepdims=True))
    full = s.shape[1] - 1  # where np.correlate has lag 0
    lags = np.array([[np.correlate(b, a, "full")[full : full + taps] for b in s] for a in s])
    lags = np.moveaxis(lags, -1, 0)
    blocks = [[lags[p - q] if p >= q else lags[q - p].T for q in range(taps)] for p in range(taps)]
    return lags, np.block(blocks)


def test_conjugate_gradients_solve_what_the_recursion_solves(rng):
    s, _ = mixed(rng, 2, 4000, 0.9)
    smooth = np.cumsum(np.cumsum(s, axis=1), axis=1)  # hardly anything at high frequencies: too much for them
    lags, dense = zip(*[normal_equations(x) for x in (s, s[::-1] + 0.5 * s, smooth)], strict=True)
    lags, right = np.stack(lags), rng.standard_normal((3, 64, 2, 3))
    with jax.enable_x64(True):
        alone, solved = jax.vmap(lambda a, b: toeplitz._conjugate_gradients(a, b, 1e-16))(lags, right)
        assert solved.tolist() == [True, True, False]
        found = np.asarray(toeplitz._solve_by_gradients(lags, right, eps=1e-16))
        recursion = np.asarray(toeplitz._solve_by_recursion(lags, right, eps=1e-16))
    np.testing.assert_array_equal(found[:2], alone[:2])
    np.testing.assert_array_equal(found[2], recursion[2])
    for matrix, filters, b in zip(dense[:2], found, right, strict=False):
        true = np.linalg.solve(matrix, b.reshape(128, 3))
        np.testing.assert_allclose(filters.reshape(128, 3), true, rtol=0, atol=1e-6 * np.abs(true).max())


@pytest.mark.parametrize("gain", [0.3, *(pytest.param(g, marks=pytest.mark.slow) for g in (0.5, 1.0))])
def test_conjugate_gradients_know_where_rounding_left_them_nothing(rng, gain):
    """A mono source between two channels: in float32 the equations may lose their definiteness."""
    s, _ = mixed(rng, 2, 4000, 0.9)
    panned = np.stack([s[0], gain * s[0]])
    noise = 1e-7 * rng.standard_normal((64, 2, 2))
    lags, _ = normal_equations(panned)
    lags = (lags + noise).astype(np.float32)
    lags[0] = (lags[0] + lags[0].T) / 2
    right = np.stack([toeplitz.toeplitz_product(lags, rng.standard_normal((64, 2, 3)).astype(np.float32))])
    with jax.enable_x64(True):
        wide = lags.astype(float)[None], right.astype(float)
        found, solved = jax.vmap(lambda a, b: toeplitz._conjugate_gradients(a, b, 1.2e-7))(*wide)
        rest = wide[1][0] - toeplitz.toeplitz_product(wide[0][0], found[0])
        share = float(jnp.sqrt(jnp.sum(rest**2) / jnp.sum(wide[1] ** 2)))
        assert not bool(solved[0]) or share < 2e-4
        both = toeplitz._solve_by_gradients(*wide, eps=1.2e-7)
        if not bool(solved[0]):
            np.testing.assert_array_equal(both, toeplitz._solve_by_recursion(*wide, eps=1.2e-7))


def test_scores_by_conjugate_gradients_are_those_of_the_recursion(rng, monkeypatch):
    s, e = mixed(rng, 2, 3000, 0.9)
    moments = bss_eval._scaled_moments(s[:, None], e[:, None], 32)[2]
    recursion = bss_eval._fit(moments, 1, True)

    def alone(lags, right, eps):
        return jax.vmap(lambda a, b: toeplitz._conjugate_gradients(a, b, eps)[0])(lags, right)

    monkeypatch.setattr(toeplitz, "_solve_by_recursion", alone)
    gradients = bss_eval._fit(moments, 1, True)
    for a, b in zip(recursion[:-1], gradients[:-1], strict=True):
        close(a, b, 1e-5)
    assert float(gradients.condition) == pytest.approx(float(recursion.condition), rel=0.01)


@pytest.mark.slow
def test_rounding_that_leaves_the_correlations_indefinite_does_little_harm(rng):
    lags = np.full((16, 1, 1), 1 + 1e-6, np.float32)
    lags[0] = 1  # 15 eigenvalues of -1e-6
    filters = solve_toeplitz(lags, np.ones((16, 1, 1), np.float32))
    np.testing.assert_allclose(filters, 1 / 16, rtol=1e-3)
    smooth = np.cumsum(rng.standard_normal((2, 4000)), axis=1)  # hardly anything at high frequencies
    s = np.stack([np.cumsum(smooth[0]) * 1e-6, smooth[1]])
    e = s + 0.1 * s[::-1] + 0.05 * rng.standard_normal(s.shape)
    scores = [bss_eval_sources(s, e, filter_length=128, dtype=dtype) for dtype in ("float32", "float64")]
    assert scores[0].condition > 1e5
    for a, b in zip(scores[0][:4], scores[1][:4], strict=True):
        close(np.nan_to_num(a), np.nan_to_num(b), 1.0)


def test_condition_is_the_order_of_the_true_one(rng):
    for color in (0.0, 0.9, 0.99):
        s, e = mixed(rng, 1, 20000, color)
        matrix = delays(s, 64)
        true = np.linalg.cond(matrix) ** 2
        estimate = float(bss_eval_sources(s, e, filter_length=64, dtype="float64").condition)
        assert 0.05 < estimate / true < 20


@pytest.mark.slow
def test_batches_and_transformations_agree(rng):
    s, e = (x.astype(np.float32) for x in mixed(rng, 2, 1500))
    batch = np.stack([s, 2 * s[:, ::-1]]), np.stack([e, e[:, ::-1]])

    def sdr(a, b):
        return bss_eval_sources(a, b, filter_length=24).sdr

    each = np.stack([sdr(a, b) for a, b in zip(*batch, strict=True)])
    close(sdr(*batch), each, 1e-4)
    close(jax.jit(jax.vmap(sdr))(*batch), each, 1e-4)
    close(jax.vmap(jax.vmap(sdr))(*(x[None] for x in batch))[0], each, 1e-4)


@pytest.mark.slow
def test_gradient_equals_finite_differences(rng):
    s, e = mixed(rng, 2, 600)
    direction = rng.standard_normal(e.shape)

    def total(e, dtype="float64"):
        scores = bss_eval_sources(s, e, filter_length=16, dtype=dtype)
        return (scores.sdr + scores.sir + scores.sar).sum()

    slope = (total(e + 1e-5 * direction) - total(e - 1e-5 * direction)) / 2e-5
    gradient = jax.jit(jax.grad(lambda e: total(e, "float32")))(jnp.asarray(e, jnp.float32))
    np.testing.assert_allclose(np.sum(gradient * direction), slope, rtol=2e-3)
    quiet = jax.grad(lambda e: jnp.nansum(bss_eval_sources(s * [[1], [0]], e, filter_length=16).sdr))
    assert np.isfinite(jax.jit(quiet)(jnp.asarray(e, jnp.float32))).all()


@pytest.mark.slow
@pytest.mark.parametrize("frames", [{}, {"window": 900, "hop": 500}])
def test_long_arrays_go_in_pieces(rng, monkeypatch, frames):
    s, e = (x.reshape(2, 2, -1).astype(np.float32) for x in mixed(rng, 4, 7001))
    whole = bss_eval_images(s, e, filter_length=40, **frames)
    monkeypatch.setattr("jaxsep.metrics.bss_eval.LONG", 10)
    monkeypatch.setattr("jaxsep.metrics.bss_eval._PIECE", 8000)
    pieces = bss_eval_images(s, e, filter_length=40, **frames)
    for a, b in zip(whole[:5], pieces[:5], strict=True):
        close(b, np.asarray(a), 1e-3)


@pytest.mark.parametrize("silent", in_time((0, 1, 2, 3), (2,)))
def test_silent_references_made_a_published_score_of_minus_139_dB(rng, silent):
    """Five good estimates of clips that fade in and out. References of zeros plus 1e-20 are a constant:
    its delayed copies explain the clips' ends and their mean, so nothing of an estimate, and mir_eval
    gives those sources hundreds of dB below zero. The mean over sources then says nothing."""
    fade = np.pad(np.hanning(3000), 600)
    s = scipy.signal.lfilter([1, -1], [1], fade * rng.standard_normal((5, 4200)))
    s[:, -600:] = 0
    e = s + 0.3 * np.roll(s, 1, axis=0)
    s[:silent] = 0
    ours = bss_eval_sources(s, e, permute=False, dtype="float64").sdr
    assert np.isnan(ours[:silent]).all()
    assert (ours[silent:] > 8).all()
    theirs = judge("bss_eval_sources", s + 1e-20, e, permute=False)[0]
    assert (theirs[:silent] < -100).all()
    close(ours[silent:], theirs[silent:], 0.1)


def test_aggregates(rng):
    s, e = mixed(rng, 2, 2000)
    order = np.asarray(bss_eval_sources(s, e, filter_length=32).permutation)
    mixture = s.sum(axis=0)
    better = metrics.nsdr(s, e[order], mixture, filter_length=32)
    base = bss_eval_sources(s, np.stack([mixture] * 2), filter_length=32, permute=False).sdr
    close(better, bss_eval_sources(s, e[order], filter_length=32, permute=False).sdr - base, 1e-4)
    close(
        metrics.si_sdr_improvement(s, e[order], mixture),
        metrics.si_sdr(s, e[order]) - metrics.si_sdr(s, np.stack([mixture] * 2)),
        1e-4,
    )
    scores, lengths = rng.standard_normal((3, 7)), rng.random(7)
    close(metrics.weighted_mean(scores, lengths), np.average(scores, axis=1, weights=lengths), 1e-5)
    holes = np.where(rng.random(scores.shape) < 0.3, np.nan, scores)
    close(metrics.median_of_frames(holes), np.nanmedian(np.nanmedian(holes, axis=1)), 1e-6)
    assert np.isnan(metrics.weighted_mean(np.full(3, np.nan), np.ones(3)))


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((np.ones((2, 9), int), np.ones((2, 9))), {}, "reference.dtype"),
        ((np.ones((2, 9)), np.ones((2, 8))), {}, "estimate.shape"),
        ((np.ones((2, 0)), np.ones((2, 0))), {}, "empty"),
        ((np.ones((9, 50)), np.ones((9, 50))), {}, "permute=True"),
        ((np.ones((2, 50)), np.ones((2, 50))), {"filter_length": 0}, "filter_length=0"),
        ((np.ones((2, 50)), np.ones((2, 50))), {"dtype": "float16"}, "dtype=float16"),
        ((np.ones((2, 50)), np.ones((2, 50))), {"hop": 3}, "hop=3"),
        ((np.ones((2, 50)), np.ones((2, 50))), {"window": 0}, "window=0"),
    ],
)
def test_bad_arguments_are_refused(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        bss_eval_sources(*arguments, **options)


def test_filters_are_compiled_once_for_all_lengths(rng):
    """The longest compilation of all, in eager calls on one problem."""
    for samples in (700, 800, 900):
        bss_eval_sources(*mixed(rng, 2, samples), filter_length=17)
    before = bss_eval._jitted_fit._cache_size()
    bss_eval_sources(*mixed(rng, 2, 1000), filter_length=17)
    assert bss_eval._jitted_fit._cache_size() == before
    bss_eval_sources(*mixed(rng, 2, 1000), filter_length=18)
    assert bss_eval._jitted_fit._cache_size() == before + 1


def test_the_loss_knows_silent_from_perfect_and_hides_no_mistake(rng):
    s = np.zeros((1, 2, 1, 64), np.float32)
    s[0, 0, 0, 3] = s[0, 1, 0, 40] = 1
    loss = BSSEvalSDR(filter_length=1)
    assert float(loss(s, s)[0]) < -100
    np.testing.assert_allclose(loss(0 * s, s), 60, atol=1e-4)
    np.testing.assert_allclose(loss(0 * s, 0 * s), 0)
    wrong = rng.standard_normal((1, 2, 1, 64)).astype(np.float32)
    wrong[0, 0, 0, 5] = np.nan
    assert np.isnan(loss(wrong, s)[0])
