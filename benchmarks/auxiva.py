"""AuxIVA and ILRMA beside pyroomacoustics, on mixtures in simulated rooms."""

from __future__ import annotations

import itertools
import os
from functools import partial

import jax
import numpy as np

from benchmarks.mixtures import sources
from benchmarks.timing import Result, compare, over_devices
from jaxsep import istft, si_sdr, stft
from jaxsep.bss import auxiva_spectra, ilrma_spectra

_RATE, _SECONDS, _N_FFT, _HOP, _ITERATIONS = 16000, 6, 2048, 512, 40


def run(say) -> list[Result]:
    """Score both on every mixture, then time one and a batch of 16."""
    try:
        import pyroomacoustics as pra
    except ImportError:
        say("pyroomacoustics is not installed: skipped")
        return []
    rng = np.random.default_rng(0)
    total = int(os.environ.get("JAXSEP_BENCH_PROBLEMS", "24"))
    images = [_room(pra, 2 + i % 2, rng) for i in range(total)]
    ours = {"auxiva": auxiva_spectra, "ilrma": ilrma_spectra}
    theirs = {"auxiva": pra.bss.auxiva, "ilrma": pra.bss.ilrma}
    np.random.seed(0)  # noqa: NPY002, what the ILRMA of the peer starts from
    for name in ours:
        gains = np.array([_gains(ours[name], theirs[name], image) for image in images])
        for count in (2, 3):
            mean = gains[count - 2 :: 2].mean(axis=0)
            say(f"{name}, {count} microphones: gain in SI-SDR {mean[0]:.2f} dB, peer {mean[1]:.2f} dB")
        mean = gains.mean(axis=0)
        say(f"{name}, all {total}: gain in SI-SDR {mean[0]:.2f} dB, peer {mean[1]:.2f} dB")
    return [r for name in ours for r in _timed(name, ours[name], theirs[name], images)]


def _timed(name, ours, theirs, images):
    """One mixture, and sixteen at once against sixteen one after the other."""
    spectra = [np.asarray(_spectra(image)) for image in images[::2]]
    batch = np.stack([spectra[i % len(spectra)] for i in range(16)])
    one, many = jax.device_put(spectra[0]), batch
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("batch",))
    many = jax.device_put(batch, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("batch")))
    run = partial(ours, n_iter=_ITERATIONS)
    spread = over_devices(run)
    return [
        *compare(
            f"{name}, 2 x 6 s",
            partial(run, one),
            {"pyroomacoustics": lambda: _peer(theirs, spectra[0])},
            rounds=5,
        ),
        *compare(
            f"{name}, 16 x (2 x 6 s)",
            partial(spread, many),
            {"pyroomacoustics": lambda: [_peer(theirs, x) for x in batch]},
            rounds=3,
        ),
    ]


def _peer(method, spectra):
    """The peer wants (frames, bins, channels)."""
    return method(np.ascontiguousarray(spectra.transpose(2, 1, 0)), n_iter=_ITERATIONS, proj_back=True)


def _spectra(image):
    return stft(image.sum(axis=0), n_fft=_N_FFT, hop_length=_HOP)


def _gains(ours, theirs, image):
    """SI-SDR improvement at the first microphone, dB: ours and the peer's."""
    spectra = np.asarray(_spectra(image))
    estimates = [ours(spectra, n_iter=_ITERATIONS), _peer(theirs, spectra).transpose(2, 1, 0)]
    return [_score(np.ascontiguousarray(e), image[:, 0]) for e in estimates]


def _score(spectra, image):
    estimate = np.asarray(istft(spectra.astype(np.complex64), hop_length=_HOP, length=image.shape[1]))
    table = np.asarray(si_sdr(image[:, None], estimate[None]))
    count = len(image)
    best = max(np.mean([table[i, p[i]] for i in range(count)]) for p in itertools.permutations(range(count)))
    return best - float(np.mean(np.asarray(si_sdr(image, image.sum(axis=0)[None]))))


def _room(pra, count, rng):
    """Images ``(sources, microphones, samples)`` in a room of RT60 0.15 to 0.5 s."""
    size = rng.uniform([5, 4, 2.6], [8, 6, 3.2])
    absorption, order = pra.inverse_sabine(rng.uniform(0.15, 0.5), size)
    room = pra.ShoeBox(size, fs=_RATE, materials=pra.Material(absorption), max_order=min(order, 20))
    center = size * [0.5, 0.45, 0.5]
    line = np.arange(count) - (count - 1) / 2
    angles = np.pi * (np.arange(count) + 0.5 + rng.uniform(-0.2, 0.2, count)) / count
    for signal, angle in zip(sources(count, _RATE * _SECONDS, rng, _RATE), angles, strict=True):
        distance = rng.uniform(1.0, 1.5)
        room.add_source(center + [distance * np.cos(angle), distance * np.sin(angle), 0], signal=signal)
    room.add_microphone_array(np.stack([center + [0.08 * k, 0, 0] for k in line], axis=1))
    premix = room.simulate(return_premix=True)[:, :, : _RATE * _SECONDS]
    return premix.astype(np.float32)
