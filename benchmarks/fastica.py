"""FastICA beside scikit-learn's at its best (float32, eigh, either number of threads)."""

from __future__ import annotations

import os
import warnings
from functools import partial

import jax
import numpy as np

from benchmarks.mixtures import amari, mixture
from benchmarks.timing import Result, compare, over_devices
from jaxsep import fastica
from jaxsep.bss import infomax
from jaxsep.bss.whitening import whiten

_TOL = 1e-4


def run(say) -> list[Result]:
    """Run every case, and count on how many problems both find the same."""
    try:
        from sklearn.decomposition import FastICA
        from threadpoolctl import threadpool_limits
    except ImportError:
        say("scikit-learn is not installed: skipped")
        return []

    def peer(x, threads=None, whitening="eigh", fun="logcosh"):
        """scikit-learn, by default with its faster whitening; returns unmixing, steps."""
        model = FastICA(whiten="unit-variance", whiten_solver=whitening, fun=fun, tol=_TOL, random_state=0)
        with threadpool_limits(threads), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit_transform(x.T)
        return model.components_, model.n_iter_

    results = []
    for count, samples in ((4, 66150), (3, 661500)):
        results += _single(count, samples, peer, "logcosh")
    results += _single(3, 661500, peer, "cube")
    results += _batch(peer)
    _agreement(FastICA, say)
    _infomax(say)
    return results


def _single(count, samples, peer, fun):
    matrix, x = mixture(count, samples, np.random.default_rng(1))
    device = jax.device_put(x)
    peers = {f"scikit-learn, {t} threads": partial(peer, x, t, fun=fun) for t in (1, 2)}
    peers["scikit-learn, svd"] = partial(peer, x, None, "svd", fun)
    ours = partial(fastica, tol=_TOL, fun=fun)
    distance = amari(np.asarray(ours(x).unmixing) @ matrix) - amari(peer(x, fun=fun)[0] @ matrix)
    title = f"fastica {count} x {samples}" if fun == "logcosh" else f"fastica {fun} {count} x {samples}"
    return compare(title, lambda: ours(device), peers, error=dict.fromkeys(peers, distance))


def _batch(peer):
    rng = np.random.default_rng(2)
    x = np.stack([mixture(4, 66150, rng)[1] for _ in range(128)])
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("batch",))
    spread = jax.device_put(x, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("batch")))
    ours = partial(over_devices(partial(fastica, tol=_TOL)), spread)
    peers: dict = {f"scikit-learn, {t} threads": lambda t=t: [peer(p, t) for p in x] for t in (1, 2)}
    return compare("fastica 128 x (4 x 66150)", ours, peers, rounds=3)


def _agreement(solver, say):
    """Count problems on which ours is as near the truth as scikit-learn, on the same whitened data.

    Both begin at the same rotation; the peer's in float64, where it converges best. At the usual
    tolerance both stop short of the fixed point, each elsewhere: the peer's own agreement from
    another start says how much of the count is that. At a tight one the solutions are compared.
    """
    total = int(os.environ.get("JAXSEP_BENCH_PROBLEMS", "200"))
    rng = np.random.default_rng(3)
    counts: dict = {tol: np.zeros(4, int) for tol in (_TOL, 1e-6)}
    for i in range(total):
        matrix, x = mixture((2, 3, 4, 8)[i % 4], 66150, rng)
        basis, z = _whitened(x)
        starts = [np.asarray(jax.random.normal(jax.random.key(k), (len(x), len(x)))) for k in (0, 1)]
        for tol, count in counts.items():
            ours = fastica(x, tol=tol, key=jax.random.key(0))
            theirs, other = (_fixed_point(solver, z, start, tol) for start in starts)
            found = amari(np.asarray(ours.unmixing) @ matrix)
            truth, again = (amari(w @ basis @ matrix) for w, _ in (theirs, other))
            near = [a <= 1.1 * truth + 1e-3 for a in (found, again)]
            count += [*near, theirs[1], theirs[1] and bool(ours.converged)]
    for tol, (near, itself, tried, converged) in counts.items():
        say(
            f"tol {tol:.0e}: {near} of {total} problems as near the truth (the peer to itself from another "
            f"start: {itself}); converged on {converged} of the peer's {tried}"
        )


def _whitened(x):
    """The whitening that ours starts from, to float64 precision, and the mixtures through it."""
    white = jax.jit(whiten, static_argnums=1)(x, len(x))
    centered = x.astype(np.float64) - x.mean(axis=1, keepdims=True, dtype=np.float64)
    z = np.asarray(white.matrix, np.float64) @ centered
    correct = np.linalg.inv(np.linalg.cholesky(z @ z.T / z.shape[1]))
    return correct @ np.asarray(white.matrix, np.float64), correct @ z


def _fixed_point(solver, z, start, tol):
    """The peer's unmixing of whitened data, and whether it converged."""
    model = solver(
        whiten=False, tol=tol, w_init=start.astype(np.float64), max_iter=200 if tol == _TOL else 1000
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(z.T)
    return model.components_, model.n_iter_ < model.max_iter


def _infomax(say):
    """Infomax against FastICA: steps, time and distance."""
    rng = np.random.default_rng(4)
    problems = [mixture(4, 66150, rng) for _ in range(20)]
    for name, method in (("fastica", fastica), ("infomax", infomax)):
        results = [method(x) for _, x in problems]
        distance = np.median(
            [amari(np.asarray(r.unmixing) @ m) for r, (m, _) in zip(results, problems, strict=True)]
        )
        steps = np.median([int(r.num_steps) for r in results])
        done = sum(bool(r.converged) for r in results)
        timed = compare(name, partial(method, problems[0][1]), {"nothing": lambda: None}, rounds=5)[0].ours_ms
        say(f"{name}: median {steps:.0f} steps, Amari {distance:.4f}, converged {done} of 20, {timed:.2f} ms")
