"""BSS Eval beside mir_eval's, and fast_bss_eval's by its conjugate gradients and its exact solver."""

from __future__ import annotations

import os
import warnings
from functools import partial
from pathlib import Path

import jax
import numpy as np

from benchmarks.timing import Result, compare, over_devices, torch_threads
from jaxsep.audio import read_audio
from jaxsep.metrics import bss_eval_sources

#: Cases of the comparison with mir_eval.
_CASES = int(os.environ.get("JAXSEP_BENCH_CASES", "40"))


def run(say) -> list[Result]:
    """Run every case, and count on how many signals the scores are mir_eval's."""
    rng = np.random.default_rng(0)
    s, e = _signals(rng, 5, 66150, 0.9)
    true = _mir_eval(s, e)
    results = []
    for dtype in ("float32", "float64"):
        peers = {"mir_eval": partial(_mir_eval, s, e), **_fast(say, s, e, dtype)}
        error = {name: _error(call(), true) for name, call in peers.items()}
        say(
            f"{dtype}: our largest error {_error(_figures(bss_eval_sources(s, e, dtype=dtype)), true):.1e} dB"
        )
        with jax.enable_x64(dtype == "float64"):
            pair = jax.device_put((s.astype(dtype), e.astype(dtype)))
        ours = partial(bss_eval_sources, *pair, dtype=dtype)
        results += compare(f"bss_eval 5 x 66150, {dtype}", ours, peers, rounds=3, error=error)
    batch = np.stack([s] * 16).astype(np.float32), np.stack([e] * 16).astype(np.float32)
    both = jax.device_put(np.stack(batch, axis=1))
    spread = over_devices(lambda both: bss_eval_sources(both[:, 0], both[:, 1]).sdr)
    peers = _fast(say, *batch, "float32")
    results += compare("bss_eval 16 x 5 x 66150, float32", lambda: spread(both), peers, rounds=3)
    _agreement(say)
    return results


def _signals(rng, sources, samples, color):
    """Coloured noise, and estimates with leakage, echo and noise, in another order."""
    s = rng.standard_normal((sources, samples))
    for k in range(1, samples):
        s[:, k] += color * s[:, k - 1]
    return s, _estimates(rng, s)


def _estimates(rng, s):
    e = s + 0.2 * np.roll(s, 1, axis=0) + 0.3 * np.roll(s, 37, axis=-1)
    return (e + 0.05 * s.std() * rng.standard_normal(s.shape))[rng.permutation(len(s))]


def _mir_eval(s, e):
    import mir_eval.separation

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return mir_eval.separation.bss_eval_sources(s, e, True)


def _fast(say, s, e, dtype):
    """fast_bss_eval's solvers that work, with either number of threads."""
    try:
        import fast_bss_eval
        import torch
    except ImportError:
        say("fast_bss_eval or PyTorch is not installed: skipped")
        return {}
    pair = [torch.from_numpy(x.astype(dtype)) for x in (s, e)]
    peers = {}
    for name, steps in (("gradients", 10), ("exact", None)):
        call = partial(fast_bss_eval.bss_eval_sources, *pair, use_cg_iter=steps)
        try:
            call()
        except Exception as error:
            say(f"fast_bss_eval, {name}, {dtype}: fails ({type(error).__name__})")
            continue
        for threads in (1, 2):
            peers[f"fast_bss_eval {name} {threads}t"] = torch_threads(torch, call, threads)
    return peers


def _figures(scores):
    return scores.sdr, scores.sir, scores.sar


def _error(scores, true):
    """Largest difference in dB of SDR, SIR and SAR."""
    pairs = zip(scores[:3], true[:3], strict=True)
    return max(float(np.max(np.abs(np.asarray(a, np.float64) - b))) for a, b in pairs)


def _agreement(say):
    """Random and, where they are, real signals: how far from mir_eval.

    Where float64 is further off than 1e-6 dB, mir_eval is asked again about the same signals in
    another order and 3.7 times as loud, which says how sure its own answer is.
    """
    rng = np.random.default_rng(1)
    worst = {"float64": 0.0, "float32": 0.0, "float32, condition above 1e5": 0.0}
    clips, conditions, unsure, missed = _clips(), [], [], 0
    for case in range(_CASES):
        s = _case(rng, case, clips)
        e = _estimates(rng, s)
        true = _mir_eval(s, e)
        for dtype in ("float64", "float32"):
            scores = bss_eval_sources(s, e, dtype=dtype)
            error = _error(_figures(scores), true)
            if dtype == "float64" and error > 1e-6:
                again = [figure[::-1] for figure in _mir_eval(3.7 * s[::-1], 3.7 * e[::-1])[:3]]
                unsure.append((error, _error(again, true)))
                continue
            beyond = dtype == "float32" and not scores.condition < 1e5
            key = "float32, condition above 1e5" if beyond else dtype
            worst[key] = max(worst[key], error)
            missed += dtype == "float32" and not beyond and error > 1e-3
        conditions.append(float(scores.condition))
    real = sum(case % 2 for case in range(_CASES)) if clips else 0
    text = ", ".join(f"{name} {error:.1e} dB" for name, error in worst.items())
    say(f"{_CASES} signals, {real} of them real, conditions to {max(conditions):.0e}: off mir_eval by {text}")
    say(f"float32 off by more than 1e-3 dB at a condition below 1e5: {missed}")
    for error, itself in sorted(unsure):
        say(f"float64 off by {error:.1e} dB where mir_eval is off itself by {itself:.1e} dB")


def _case(rng, case, clips):
    """2 to 5 sources, 1 to 4 s, some nearly silent and some nearly equal."""
    sources, samples = int(rng.integers(2, 6)), (8000, 16000, 32000)[case % 3]
    if clips and case % 2:
        picked = rng.choice(len(clips), sources, replace=False)
        s = np.stack([np.resize(read_audio(clips[i])[0], samples) for i in picked]).astype(np.float64)
    else:
        s = _signals(rng, sources, samples, rng.choice([0.0, 0.5, 0.9]))[0]
    if case % 5 == 3:
        s[0] *= 1e-4
    if case % 5 == 4:
        s[1] = s[0] + 0.03 * s[1]
    return s


def _clips():
    folder = Path(os.environ.get("JAXSEP_DATA", "")) / "fiveclass" / "speech"
    return sorted(folder.glob("*.*")) if "JAXSEP_DATA" in os.environ else []
