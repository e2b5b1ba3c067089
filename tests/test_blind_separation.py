"""Blind separation: the sources come back, degenerate input is data, batches are single problems."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile
from test_train_step import in_time

from jaxsep import bss, fastica, si_sdr
from jaxsep.audio import read_audio
from jaxsep.bss import diagnostics, projection, whitening
from jaxsep.bss.fastica import moments_of_cube
from jaxsep.cli import main

INSTANTANEOUS = {"fastica": fastica, "infomax": bss.infomax, "fobi": bss.fobi}


def amari(product):
    p = np.abs(np.asarray(product, np.float64))
    n = len(p)
    rows, columns = (p.sum(1) / p.max(1) - 1).sum(), (p.sum(0) / p.max(0) - 1).sum()
    return (rows + columns) / (2 * n * (n - 1))


def signals(n, samples, seed=0):
    """Sources of different, non-normal distributions."""
    rng = np.random.default_rng(seed)
    kinds = [
        rng.laplace(size=samples),
        np.sin(np.arange(samples) * 0.031),
        rng.uniform(-1, 1, samples),
        rng.laplace(size=samples) ** 3,
    ]
    return np.stack([kinds[i % 4] if i < 4 else rng.laplace(size=samples) for i in range(n)])


def mixtures(n, samples=20_000, seed=0):
    matrix = np.linalg.qr(np.random.default_rng(seed).standard_normal((n, n)))[0] + 0.3 * np.eye(n)
    return matrix, (matrix @ signals(n, samples, seed)).astype(np.float32)


@pytest.mark.parametrize("name", INSTANTANEOUS)
@pytest.mark.parametrize("n", [2, 3, 4])
def test_the_sources_come_back(name, n):
    matrix, x = mixtures(n)
    r = INSTANTANEOUS[name](x)
    assert bool(r.converged)
    assert int(r.rank) == n
    assert amari(np.asarray(r.unmixing) @ matrix) < (0.1 if name == "fobi" else 0.05)
    np.testing.assert_allclose(np.std(r.sources, axis=1), 1, atol=1e-3)
    centered = x - np.asarray(r.mean)[:, None]
    np.testing.assert_allclose(r.sources, r.unmixing @ centered, atol=1e-3)
    np.testing.assert_allclose(r.mixing @ r.sources, centered, atol=1e-3 * np.abs(x).max())
    np.testing.assert_allclose(r.mean, x.mean(axis=1), atol=1e-4)


def alike(n, condition, samples=20_000, seed=0):
    """Microphones that hear nearly the same: all correlations equal, with this condition number."""
    s = np.random.default_rng(seed).laplace(size=(n, samples))
    white = np.linalg.solve(np.linalg.cholesky(np.cov(s, bias=True)), s - s.mean(axis=1, keepdims=True))
    rho = (condition - 1) / (condition + n - 1)
    return np.linalg.cholesky(np.full((n, n), rho) + (1 - rho) * np.eye(n)) @ white


@pytest.mark.parametrize("name", INSTANTANEOUS)
@pytest.mark.parametrize("n", [2, 5])
def test_sources_are_white_however_alike_the_microphones(name, n):
    """Variance 1, and uncorrelated where rows are orthogonal, at every condition with full rank."""
    for condition in (1, 1e2, 4494, 1e6):
        for offset, level in ((0.0, 1.0), (0.5, 1e-3)):
            x = level * (alike(n, condition) + offset)
            r = INSTANTANEOUS[name](x.astype(np.float32))
            assert int(r.rank) == n
            covariance = np.cov(np.asarray(r.sources, np.float64), bias=True)
            np.testing.assert_allclose(np.diag(covariance), 1, atol=1e-5)
            if name != "infomax":
                np.testing.assert_allclose(covariance, np.eye(n), atol=1e-5)
    r = INSTANTANEOUS[name](alike(n, 1e8).astype(np.float32))
    rank = int(r.rank)
    assert rank < n
    np.testing.assert_allclose(np.std(np.asarray(r.sources, np.float64), axis=1)[:rank], 1, atol=1e-5)


@pytest.mark.parametrize("algorithm", ["parallel", "deflation"])
@pytest.mark.parametrize("fun", ["logcosh", "exp", "cube", (jnp.tanh, lambda u: 1 - jnp.tanh(u) ** 2)])
def test_every_rule_finds_the_same_sources(algorithm, fun):
    matrix, x = mixtures(3)
    r = fastica(x, algorithm=algorithm, fun=fun)
    assert bool(r.converged)
    assert amari(np.asarray(r.unmixing) @ matrix) < 0.05


@pytest.mark.parametrize("algorithm", ["parallel", "deflation"])
@pytest.mark.parametrize("n", [2, 3, 4])
def test_fourth_moments_find_what_iterations_over_the_samples_find(n, algorithm):
    """``"cube"`` looks at the samples once; the same function as a pair goes over them in every iteration."""
    cube = (lambda u: u**3, lambda u: 3 * u**2)
    _, x = mixtures(n, 33_000)
    x[:, ::1000] += 0.1  # channels with a mean
    deficient = np.concatenate([x[:-1], x[:1]])
    for given, rank in ((x, n), (deficient, n - 1)):
        once, often = (fastica(given, fun=fun, algorithm=algorithm, tol=1e-6) for fun in ("cube", cube))
        assert bool(once.converged)
        assert int(once.rank) == int(often.rank) == rank
        product = np.asarray(once.unmixing)[:rank] @ np.asarray(often.mixing)[:, :rank]
        assert rank == 1 or amari(product) < 2e-3
        centered = given - given.mean(axis=1, keepdims=True)
        np.testing.assert_allclose(once.mixing @ once.sources, centered, atol=1e-3)
    spoilt = np.stack([x, x])
    spoilt[0, 0, 5] = np.nan
    both, alone = (
        fastica(spoilt, fun="cube", algorithm=algorithm),
        fastica(x, fun="cube", algorithm=algorithm),
    )
    assert both.converged.tolist() == [False, True]
    assert np.isnan(both.sources[0]).all()
    np.testing.assert_allclose(both.unmixing[1], alone.unmixing, atol=1e-4)


def test_fourth_moments_are_averages_over_the_samples():
    _, x = mixtures(4)
    white = whitening.whiten(jnp.asarray(x), 4)
    w = np.linalg.qr(np.random.default_rng(0).standard_normal((4, 4)))[0].astype(np.float32)
    products, slope = moments_of_cube(jnp.asarray(x), white)(jnp.asarray(w))
    z = np.asarray(white.matrix, np.float64) @ (x - np.asarray(white.mean)[:, None])
    u = w @ z
    np.testing.assert_allclose(products, u**3 @ z.T / z.shape[1], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(slope, (3 * u**2).mean(axis=1), rtol=1e-4)


def test_the_logistic_function_separates_skewed_sources():
    rng = np.random.default_rng(0)
    s = rng.exponential(size=(2, 20_000))
    matrix = np.array([[1.0, 0.6], [0.4, 1.0]])
    r = fastica((matrix @ s).astype(np.float32), fun="logistic")
    assert amari(np.asarray(r.unmixing) @ matrix) < 0.1


@pytest.mark.parametrize("n", [2, 3, 4, 8])
def test_as_near_the_truth_as_scikit_learn(n):
    decomposition = pytest.importorskip("sklearn.decomposition", reason="scikit-learn is not installed")
    for seed in range(5):
        matrix, x = mixtures(n, 30_000, seed)
        peer = decomposition.FastICA(whiten="unit-variance", whiten_solver="eigh", random_state=0).fit(x.T)
        theirs = amari(peer.components_ @ matrix)
        assert amari(np.asarray(fastica(x).unmixing) @ matrix) <= 1.1 * theirs + 1e-3


def test_a_batch_is_its_problems_one_by_one():
    x = np.stack([mixtures(3, 6000, seed)[1] for seed in range(6)]).reshape(2, 3, 3, 6000)
    batch = fastica(x)
    assert batch.sources.shape == (2, 3, 3, 6000)
    assert batch.num_steps.shape == (2, 3)
    one = fastica(x[1, 2])
    np.testing.assert_allclose(batch.unmixing[1, 2], one.unmixing, atol=1e-4)
    assert int(batch.num_steps[1, 2]) == int(one.num_steps)


@pytest.mark.slow
def test_a_batch_spread_over_devices_is_the_same():
    x = np.stack([mixtures(3, 6000, seed)[1] for seed in range(4)])
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("batch",))
    spec = jax.sharding.PartitionSpec("batch")
    for function in (fastica, bss.infomax, bss.fobi):
        spread = jax.jit(jax.shard_map(function, mesh=mesh, in_specs=spec, out_specs=spec))(x)
        np.testing.assert_allclose(spread.unmixing, function(x).unmixing, atol=1e-3)


def test_every_row_converges_however_normal_its_source():
    """Rows of nearly normal sources are small before decorrelation, and must not lose their digits."""
    rng = np.random.default_rng(0)
    almost = rng.standard_normal((4, 30_000)) + 0.35 * rng.laplace(size=(4, 30_000))
    s = np.concatenate([almost, rng.laplace(size=(4, 30_000)) ** 3])
    x = (np.linalg.qr(rng.standard_normal((8, 8)))[0] @ (s / s.std(axis=1, keepdims=True))).astype(np.float32)
    r = fastica(x, tol=1e-6, max_iter=1000)
    assert bool(r.converged)
    covariance = np.cov(np.asarray(r.sources, np.float64))
    np.testing.assert_allclose(covariance, np.eye(8), atol=1e-4)


def test_an_hour_takes_no_more_memory_than_ten_minutes():
    def temporary(minutes):
        x = jax.ShapeDtypeStruct((8, minutes * 60 * 16_000), jnp.float32)
        return jax.jit(fastica).lower(x).compile().memory_analysis().temp_size_in_bytes

    ten, sixty = temporary(10), temporary(60)
    assert abs(sixty - ten) < 1 << 20
    assert sixty < 64 << 20


def test_the_same_key_gives_the_same_sources():
    _, x = mixtures(3)
    one, two, other = (fastica(x, key=jax.random.key(k)) for k in (1, 1, 2))
    np.testing.assert_array_equal(one.sources, two.sources)
    assert not np.array_equal(one.sources, other.sources)


def test_fewer_components_are_the_strongest_directions():
    _, x = mixtures(4)
    r = fastica(x, n_components=2)
    assert r.sources.shape == (2, x.shape[1])
    assert r.mixing.shape == (4, 2)
    assert int(r.rank) == 2


@pytest.mark.parametrize("name", INSTANTANEOUS)
def test_channels_that_add_nothing_lower_the_rank(name):
    _, x = mixtures(3)
    faint = np.float32(1e-8) * x[2]
    for channels, rank in (
        ([x[0], x[1], faint], 3),
        ([x[0], x[0], x[1]], 2),
        ([x[0], 0 * x[0], x[1]], 2),
        ([x[0], 3 + 0 * x[0], 2 * x[0]], 1),
        ([0 * x[0]] * 3, 0),
    ):
        r = INSTANTANEOUS[name](np.stack(channels))
        assert int(r.rank) == rank
        assert np.isfinite(r.sources).all()
        assert not np.any(np.asarray(r.sources)[rank:])


def test_nan_spoils_its_own_problem_alone():
    _, x = mixtures(2, 5000)
    for value in (np.nan, np.inf):
        bad = x.copy()
        bad[1, 7] = value
        r = fastica(np.stack([x, bad]))
        assert r.converged.tolist() == [True, False]
        assert np.isfinite(r.sources[0]).all()
        assert np.isnan(r.sources[1]).all()


def test_normal_sources_and_few_samples_end():
    x = np.random.default_rng(0).standard_normal((3, 5000)).astype(np.float32)
    r = fastica(x, max_iter=20)
    assert np.isfinite(r.sources).all()
    assert int(r.num_steps) <= 20
    short = fastica(x[:, :2])
    assert int(short.rank) <= 1


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (dict(n_components=4), "n_components=4"),
        (dict(n_components=0), "n_components=0"),
        (dict(algorithm="magic"), "algorithm='magic'"),
        (dict(fun="magic"), "fun='magic'"),
        (dict(fun=jnp.tanh), "fun="),
        (dict(tol=0), "tol=0"),
        (dict(max_iter=0), "max_iter=0"),
    ],
)
def test_bad_options_are_named(options, part):
    with pytest.raises(ValueError) as error:
        fastica(np.ones((3, 100), np.float32), **options)
    assert part in str(error.value)
    with pytest.raises(ValueError, match="dtype=int64"):
        fastica(np.ones((3, 100), int))


def room(n, samples=32_000, seed=0):
    """Images ``(sources, microphones, samples)`` of short random echoes."""
    rng = np.random.default_rng(seed)
    envelope = np.repeat(rng.random((n, samples // 1600)) > 0.4, 1600, axis=1)
    s = rng.laplace(size=(n, samples)) * envelope
    echo = rng.standard_normal((n, n, 200)) * np.exp(-np.arange(200) / 25)
    echo[:, :, 0] += 3 * np.eye(n)
    return np.stack([[np.convolve(s[k], echo[k, m])[:samples] for m in range(n)] for k in range(n)])


@pytest.mark.parametrize("n", [2, 3, pytest.param(4, marks=pytest.mark.slow)])
@pytest.mark.parametrize("method", [bss.auxiva, bss.ilrma])
def test_echo_is_no_obstacle(n, method):
    image = room(n).astype(np.float32)
    x = image.sum(axis=0)
    y = method(x, n_iter=40, n_fft=1024, hop_length=256)
    before = np.asarray(si_sdr(image[:, 0], x[0][None]))
    table = np.asarray(si_sdr(image[:, None, 0], y[None]))
    assert (table.max(axis=1) - before).mean() > 4
    np.testing.assert_allclose(y.sum(axis=0), x[0], atol=2e-3 * np.abs(x).max())


@pytest.mark.slow
@pytest.mark.parametrize("method", [bss.auxiva_spectra, bss.ilrma_spectra])
def test_rooms_in_a_batch_are_rooms_one_by_one(rng, method):
    x = (rng.standard_normal((3, 2, 33, 40)) + 1j * rng.standard_normal((3, 2, 33, 40))).astype(np.complex64)
    batch = method(x, n_iter=5)
    np.testing.assert_allclose(batch[1], method(x[1], n_iter=5), atol=1e-3)
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:3]), ("batch",))
    spec = jax.sharding.PartitionSpec("batch")
    call = jax.shard_map(lambda x: method(x, n_iter=5), mesh=mesh, in_specs=spec, out_specs=spec)
    np.testing.assert_allclose(jax.jit(call)(x), batch, atol=1e-3)


@pytest.mark.parametrize("method", [bss.auxiva, bss.ilrma])
@pytest.mark.parametrize("level", [1e-12, 1e12])
def test_rooms_at_any_level_stay_finite(method, level):
    x = (level * room(2, 8000).sum(axis=0)).astype(np.float32)
    silent, alike = np.stack([x[0], 0 * x[0]]), np.stack([x[0], x[0]])
    made_up = np.stack([x[0], x[1], x[0] - x[1], x[0]])
    for mixture in (x, silent, 0 * x, alike, np.float32([[1], [0.3]]) * alike, made_up):
        assert np.isfinite(method(mixture, n_iter=5, n_fft=256, hop_length=64)).all()
    with pytest.raises(ValueError, match="at least two channels"):
        method(x[:1])


def test_auxiva_has_a_gradient_at_silence():
    x = jnp.zeros((2, 2000)).at[0, 1000:].set(jax.random.normal(jax.random.key(0), (1000,)))
    for mixture in (0 * x, x):
        gradient = jax.grad(lambda x: jnp.sum(bss.auxiva(x, n_iter=2, n_fft=128, hop_length=32)))(mixture)
        assert np.isfinite(gradient).all()


def test_auxiva_is_no_worse_than_pyroomacoustics():
    pra = pytest.importorskip("pyroomacoustics", reason="pyroomacoustics is not installed")
    from jaxsep import istft, stft

    image = room(2)
    spectra = np.asarray(stft(image.sum(axis=0).astype(np.float32), n_fft=1024))
    theirs = pra.bss.auxiva(np.ascontiguousarray(spectra.transpose(2, 1, 0)), n_iter=20, proj_back=True)
    ours = bss.auxiva_spectra(spectra, n_iter=20)
    theirs = np.ascontiguousarray(theirs.transpose(2, 1, 0)).astype(np.complex64)
    a, b = (np.asarray(si_sdr(image[:, 0], istft(y, length=32_000))) for y in (ours, theirs))
    assert (a - b).min() > -0.3  # and often better: its complex64 covariances lose digits


def test_diagnostics_tell_sources_from_mixtures():
    s = signals(2, 20_000)
    x = np.array([[1.0, 0.7], [0.6, 1.0]]) @ (s / s.std(axis=1, keepdims=True))
    sources, mixed = (bss.diagnose(a.astype(np.float32)) for a in (s, x))
    for name in ("mutual information", "nonlinear correlation"):
        assert max(sources[name]) < 0.1 < min(mixed[name])
    assert max(sources["negentropy"]) > max(mixed["negentropy"])
    assert min(sources["complexity"]) < min(mixed["complexity"])


def test_diagnostics_equal_numpy_and_scipy(rng):
    stats = pytest.importorskip("scipy.stats")
    scipy_signal = pytest.importorskip("scipy.signal")
    x = rng.laplace(size=(2, 3001)).astype(np.float32)
    np.testing.assert_allclose(diagnostics.excess_kurtosis(x), stats.kurtosis(x, axis=1), rtol=1e-3)
    np.testing.assert_allclose(diagnostics.rms(x), np.sqrt((x**2).mean(1)), rtol=1e-5)
    np.testing.assert_allclose(diagnostics.envelope(x), np.abs(scipy_signal.hilbert(x)), atol=1e-3)
    expected = (np.diff(np.signbit(x), axis=1) != 0).mean(axis=1)
    np.testing.assert_allclose(diagnostics.zero_crossing_rate(x), expected, rtol=1e-5)


@pytest.fixture
def microphones(tmp_path):
    matrix, x = mixtures(2, 16_000)
    x = (0.2 * x / np.abs(x).max()).astype(np.float32)
    for i, channel in enumerate(x):
        soundfile.write(tmp_path / f"mic{i + 1}.wav", channel, 8000, subtype="FLOAT")
    soundfile.write(tmp_path / "both.wav", x.T, 8000, subtype="FLOAT")
    return tmp_path, x, matrix


@pytest.mark.parametrize("method", ["fastica", "infomax", "fobi", "auxiva", "ilrma"])
@pytest.mark.parametrize("files", in_time((("both.wav",), ("mic1.wav", "mic2.wav")), (("both.wav",),)))
def test_the_command_writes_a_file_per_source(microphones, method, files, capsys):
    folder, x, _ = microphones
    command = ["ica", *(str(folder / f) for f in files), "-o", str(folder / "out"), "--method", method]
    assert main([*command, "--diagnostics", "--figure", "--iterations", "5"]) == 0
    out = folder / "out" / "ica" / files[0].removesuffix(".wav")
    names = {"source1.wav", "source2.wav", "source.json", "spectrograms.png"}
    assert {p.name for p in out.iterdir()} == names
    total = sum(read_audio(out / f"source{i}.wav")[0] for i in (1, 2))
    np.testing.assert_allclose(total, x[0] - x[0].mean() * (method in INSTANTANEOUS), atol=2e-3)
    assert json.loads((out / "source.json").read_text())["method"] == method
    assert "excess kurtosis" in capsys.readouterr().out


@pytest.mark.parametrize("method", ["fastica", "infomax"])
def test_iterations_of_the_command_are_those_of_the_method(microphones, method, capsys):
    folder, *_ = microphones
    command = ["ica", str(folder / "both.wav"), "-o", str(folder / "out"), "--method", method]
    assert main([*command, "--iterations", "1"]) == 0
    assert "iterations, not converged" in capsys.readouterr().out
    assert main(command) == 0
    assert "not converged" not in capsys.readouterr().out


def test_results_of_other_microphones_stay_and_old_files_go(microphones):
    folder, x, _ = microphones
    soundfile.write(folder / "silent.wav", np.zeros(16_000), 8000)
    for other, options in (("mic2.wav", ["--format", "flac"]), ("mic2.wav", []), ("silent.wav", [])):
        files = [str(folder / name) for name in ("mic1.wav", other)]
        assert main(["ica", *files, "-o", str(folder / "out"), *options]) == 0
    found = {p.relative_to(folder / "out/ica").as_posix() for p in (folder / "out/ica").rglob("source*")}
    first = {f"mic1/source{n}" for n in ("1.wav", "2.wav", ".json")}
    assert found == first | {"mic1-2/source1.wav", "mic1-2/source.json"}


def test_ilrma_stays_finite_with_many_microphones_and_few_frames():
    rng = np.random.default_rng(0)
    sources = 0.1 * rng.laplace(size=(6, 20_000))
    x = (rng.standard_normal((6, 6)) @ sources).astype(np.float32)
    found = np.asarray(bss.ilrma(x, n_fft=2048, hop_length=512, key=jax.random.key(0)))
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found.sum(0), x[0], atol=0.05 * np.abs(x).max())


def test_the_command_says_what_does_not_fit(microphones, capsys, rng):
    folder, x, _ = microphones
    soundfile.write(folder / "long.wav", rng.standard_normal(20_000) * 0.1, 8000)
    soundfile.write(folder / "fast.wav", rng.standard_normal(32_000) * 0.1, 16_000)
    soundfile.write(folder / "silent.wav", np.zeros((5000, 2)), 8000)
    soundfile.write(folder / "tiny.wav", np.ones((2, 2)) * 0.1, 8000)

    def run(*arguments):
        files = [str(folder / a) if a.endswith(".wav") else a for a in arguments]
        status = main(["ica", *files, "-o", str(folder / "out")])
        return status, capsys.readouterr().err

    for arguments, part in (
        (("mic1.wav",), "at least two"),
        (("mic1.wav", "long.wav"), "--trim"),
        (("mic1.wav", "fast.wav"), "--resample 16000"),
        (("silent.wav",), "silent or constant"),
        (("silent.wav", "--method", "auxiva"), "silent or constant"),
        (("tiny.wav",), "too few"),
        (("both.wav", "--sources", "3"), "--sources 3"),
        (("both.wav", "--reference", "3"), "--reference 3"),
        (("both.wav", "nowhere.wav"), "nowhere.wav"),
    ):
        status, said = run(*arguments)
        assert status == 2
        assert part in said
    assert run("mic1.wav", "long.wav", "--trim")[0] == 0
    assert run("mic1.wav", "fast.wav", "--resample", "8000", "--trim")[0] == 0
    assert run("both.wav", "--sources", "1", "--format", "flac")[0] == 0


def test_a_channel_that_is_not_there_is_refused(rng):
    """JAX would take the last one."""
    spectra = (rng.standard_normal((2, 5, 40)) + 1j).astype(np.complex64)
    for call in (
        lambda: bss.auxiva_spectra(spectra, reference=2),
        lambda: bss.ilrma_spectra(spectra, reference=2),
        lambda: bss.auxiva(rng.standard_normal((2, 8000)), reference=2),
    ):
        with pytest.raises(ValueError, match="reference=2: expected 0 to 1"):
            call()
    result = fastica(rng.laplace(size=(2, 500)).astype(np.float32))
    with pytest.raises(ValueError, match="channel=9: expected 0 to 1"):
        bss.projection_back(result, 9)


def test_real_scenes_are_separated(recordings):
    """Instantaneous scenes with their dry sources: every source is found, well above the mixture."""
    for scene in sorted((recordings / "ica").glob("t*_mics_*")) + sorted((recordings / "ica").glob("four*")):
        x = np.concatenate([read_audio(p) for p in sorted(scene.glob("mic*"))])
        sources = np.concatenate([read_audio(p) for p in sorted(scene.glob("src*"))])
        y = bss.projection_back(fastica(x))
        gained = np.asarray(si_sdr(sources[:, None], y[None])).max(axis=1)
        gained -= np.asarray(si_sdr(sources, x[:1])).clip(-30)
        assert gained.min() > 8, scene


@pytest.mark.parametrize("channels", [2, 3, 4, *(pytest.param(n, marks=pytest.mark.slow) for n in (6, 9))])
def test_columns_of_inverses_are_those_of_numpy(rng, channels):
    a = rng.standard_normal((2, channels, channels, 50)).astype(np.float32)
    a = a[0] + 1j * a[1]
    a[0, 0] = 0  # nothing to divide by without a pivot
    for k in range(channels):
        column = np.asarray(projection._inverse_column(a, k))
        true = np.linalg.inv(np.moveaxis(a, -1, 0).astype(complex))[..., k].T
        np.testing.assert_allclose(column, true, rtol=0, atol=3e-5 * np.abs(true).max())


def test_equal_values_do_not_count_as_dependence(rng):
    signs = np.sign(rng.standard_normal((2, 20_000))).astype(np.float32)
    bursts = rng.laplace(size=(2, 20_000)) * (rng.random((2, 20_000)) < 0.5)
    for x in (signs, bursts.astype(np.float32), np.zeros((2, 500), np.float32)):
        assert abs(diagnostics.mutual_information(x)[0, 1]) < 2e-3
    same = diagnostics.mutual_information(signs[[0, 0]])[0, 1]
    np.testing.assert_allclose(same, np.log(2), atol=1e-3)


def test_diagnostics_of_constant_channels_are_unknown_and_leave_the_others(rng):
    assert np.isnan(diagnostics.excess_kurtosis(np.full(1000, 0.1, np.float32)))
    x = rng.laplace(size=(2, 5000)).astype(np.float32)
    silent = diagnostics.diagnose(np.concatenate([x, np.zeros((1, 5000), np.float32)]))
    two = diagnostics.diagnose(x)
    assert silent["nonlinear correlation"][:2] == pytest.approx(two["nonlinear correlation"], abs=1e-6)
    assert np.isnan(silent["nonlinear correlation"][2]) and silent["complexity"][2] <= 1
    for level in (1e-20, 1e20):
        np.testing.assert_allclose(
            diagnostics.excess_kurtosis(level * x), diagnostics.excess_kurtosis(x), rtol=1e-3
        )
