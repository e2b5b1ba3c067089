"""What each augmentation costs a training step, and resampling and pitch beside soxr and librosa."""

from __future__ import annotations

from functools import partial

import jax
import numpy as np

from benchmarks.timing import Result, compare, difference
from jaxsep import resample
from jaxsep.augment import AugmentConfig, pitch_shift
from jaxsep.losses import MagnitudeMSE
from jaxsep.networks import LSTMMask
from jaxsep.optimizers import Adam
from jaxsep.system import System, SystemConfig
from jaxsep.training import init_state, make_batch, train_step

_BATCH, _SAMPLES = 16, 2 * 16000
_CONFIGS = {
    "gain": AugmentConfig(gain_db=5.0),
    "circular shift": AugmentConfig(circular_shift=True),
    "low-pass": AugmentConfig(lowpass=0.25),
    "equalizer": AugmentConfig(equalizer_db=6.0),
    "speed": AugmentConfig(speed_semitones=2.0),
    "stretch": AugmentConfig(stretch_rates=(1.0, 1.2)),
    "pitch": AugmentConfig(pitch_steps=(-4, -2, 0, 2, 4)),
    "pitch and stretch": AugmentConfig(pitch_steps=(-4, -2, 0, 2, 4), stretch_rates=(1.0, 1.2)),
}


def run(say) -> list[Result]:
    """Time one step with each augmentation beside the step without; say examples a second."""
    results = []
    plain = _step(AugmentConfig())
    for name, config in _CONFIGS.items():
        case = f"train step with {name}"
        results += compare(case, _step(config), {"without": plain}, rounds=5)
        rate, without = (1e3 * _BATCH / t for t in (results[-1].ours_ms, results[-1].peer_ms))
        say(f"{case}: {rate:.1f} examples a second, {without:.1f} without")
    return results + _alone(say)


def _step(config):
    """A call that takes one step of a small LSTM, 16 examples of two sources of 2 s at 16 kHz."""
    system = System(SystemConfig(network=LSTMMask(layers=2, width=256)))
    optimizer = Adam()()
    options = dict(system=system, loss=MagnitudeMSE(), optimizer=optimizer)
    step = jax.jit(partial(train_step, augmentation=config, length=_SAMPLES, **options), donate_argnums=0)
    shape = (_BATCH, 2, config.read_length(_SAMPLES))
    sources = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    state, batch = init_state(system, optimizer), make_batch(sources)

    def call():
        nonlocal state
        state, metrics = step(state, batch)
        return metrics

    return call


def _alone(say):
    """Resampling and pitch shift of one signal beside the peers', with the difference of results."""
    try:
        import librosa
        import soxr
    except ImportError:
        say("librosa or soxr is not installed: skipped")
        return []
    x = np.convolve(np.random.default_rng(0).standard_normal(10 * 44100), np.hanning(9) / 4, "same")
    x = x.astype(np.float32)
    results = []
    for target in (22050, 16000):
        ours, theirs = (
            partial(resample, jax.device_put(x), 44100, target),
            partial(soxr.resample, x, 44100, target),
        )
        error = {"soxr, HQ": difference(ours(), theirs()[: len(ours())])}
        results += compare(f"resample 10 s, 44100 to {target}", ours, {"soxr, HQ": theirs}, error=error)
    short = x[:66150]
    shift = jax.jit(partial(pitch_shift, semitones=4))
    peer = partial(librosa.effects.pitch_shift, short, sr=22050, n_steps=4)
    error = {"librosa": difference(shift(short)[:-2048], peer()[:-2048])}
    return results + compare(
        "pitch shift 3 s, 4 semitones", lambda: shift(short), {"librosa": peer}, error=error
    )
