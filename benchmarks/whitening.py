"""``python -m benchmarks.whitening``: how white FastICA's sources are, against the condition of the mixtures.

Microphones that hear nearly the same: all their correlations are equal, and the condition number of the
correlation matrix is as given. The error is the largest difference of the sources' covariance, in
float64, from the identity, the worst of ten problems; beside it that of scikit-learn in float32 with its
faster whitening, where it is installed. An error of 1 there is two components of unit variance
that came out the same. Writes benchmarks/results/whitening.md.
"""

from __future__ import annotations

import argparse
import platform
import sys
import warnings
from pathlib import Path

import jax
import numpy as np

from jaxsep import fastica

RESULTS = Path(__file__).parent / "results" / "whitening.md"


def main(arguments: list[str]) -> int:
    """Run every condition and write the table."""
    argparse.ArgumentParser(prog="python -m benchmarks.whitening", description=__doc__).parse_args(arguments)
    lines = [
        "# Whiteness of the sources against the condition of the mixtures",
        "",
        "`python -m benchmarks.whitening`: 4 and 8 x 66150 float32, the worst of ten problems; "
        f"jax {jax.__version__}, {platform.machine()}. An error of 1 of the peer: two of its components "
        "are the same.",
        "",
        "| microphones | condition | rank found | error | scikit-learn, float32, eigh |",
        "|---|---|---|---|---|",
    ]
    for count in (4, 8):
        for power in range(9):
            problems = [alike(count, 10.0**power, np.random.default_rng(seed)) for seed in range(10)]
            ranks, errors = zip(*map(_ours, problems), strict=True)
            found = f"{min(ranks)}" if min(ranks) == max(ranks) else f"{min(ranks)} to {max(ranks)}"
            theirs = [_theirs(x) for x in problems]
            peer = "not installed" if None in theirs else f"{max(theirs):.1e}"
            lines.append(f"| {count} | 1e{power} | {found} | {max(errors):.1e} | {peer} |")
            print(lines[-1], flush=True)
    RESULTS.write_text("\n".join(lines) + "\n")
    return 0


def alike(count: int, condition: float, rng, samples: int = 66150) -> np.ndarray:
    """``(count, samples)`` float32 whose correlations are all equal, with this condition number."""
    s = rng.laplace(size=(count, samples))
    white = np.linalg.solve(np.linalg.cholesky(np.cov(s, bias=True)), s - s.mean(axis=1, keepdims=True))
    rho = (condition - 1) / (condition + count - 1)
    mixing = np.linalg.cholesky(np.full((count, count), rho) + (1 - rho) * np.eye(count))
    return (mixing @ white).astype(np.float32)


def _ours(x):
    result = fastica(x, max_iter=20)
    rank = int(result.rank)
    return rank, _error(np.asarray(result.sources[:rank]))


def _theirs(x):
    try:
        from sklearn.decomposition import FastICA
    except ImportError:
        return None
    model = FastICA(whiten="unit-variance", whiten_solver="eigh", random_state=0, max_iter=20)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _error(model.fit_transform(x.T).T)


def _error(sources):
    covariance = np.atleast_2d(np.cov(sources.astype(np.float64), bias=True))
    return float(np.max(np.abs(covariance - np.eye(len(covariance)))))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
