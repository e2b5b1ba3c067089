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

_TOL = 1e-4


def run(say) -> list[Result]:
    """Run every case, and count on how many problems both find the same."""
    try:
        from sklearn.decomposition import FastICA
        from threadpoolctl import threadpool_limits
    except ImportError:
        say("scikit-learn is not installed: skipped")
        return []

    def peer(x, threads=None, whitening="eigh"):
        """scikit-learn, by default with its faster whitening; returns unmixing, steps."""
        model = FastICA(whiten="unit-variance", whiten_solver=whitening, tol=_TOL, random_state=0)
        with threadpool_limits(threads), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit_transform(x.T)
        return model.components_, model.n_iter_

    results = []
    for count, samples in ((4, 66150), (3, 661500)):
        results += _single(count, samples, peer)
    results += _batch(peer)
    _agreement(peer, say)
    _infomax(say)
    return results


def _single(count, samples, peer):
    matrix, x = mixture(count, samples, np.random.default_rng(1))
    device = jax.device_put(x)
    peers = {f"scikit-learn, {t} threads": partial(peer, x, t) for t in (1, 2)}
    peers["scikit-learn, svd"] = partial(peer, x, None, "svd")
    error = dict.fromkeys(peers, amari(np.asarray(fastica(x).unmixing) @ matrix) - amari(peer(x)[0] @ matrix))
    return compare(f"fastica {count} x {samples}", lambda: fastica(device, tol=_TOL), peers, error=error)


def _batch(peer):
    rng = np.random.default_rng(2)
    x = np.stack([mixture(4, 66150, rng)[1] for _ in range(128)])
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("batch",))
    spread = jax.device_put(x, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("batch")))
    ours = partial(over_devices(partial(fastica, tol=_TOL)), spread)
    peers: dict = {f"scikit-learn, {t} threads": lambda t=t: [peer(p, t) for p in x] for t in (1, 2)}
    return compare("fastica 128 x (4 x 66150)", ours, peers, rounds=3)


def _agreement(peer, say):
    """Count problems on which ours is as near the truth, and converged wherever the peer did."""
    total = int(os.environ.get("JAXSEP_BENCH_PROBLEMS", "200"))
    rng, near, converged, tried = np.random.default_rng(3), 0, 0, 0
    for i in range(total):
        matrix, x = mixture((2, 3, 4, 8)[i % 4], 66150, rng)
        ours = fastica(x, tol=_TOL)
        theirs, steps = peer(x)
        near += amari(np.asarray(ours.unmixing) @ matrix) <= 1.1 * amari(theirs @ matrix) + 1e-3
        tried += steps < 200
        converged += bool(ours.converged) and steps < 200
    say(f"{near} of {total} problems as near the truth; converged on {converged} of the peer's {tried}")


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
