"""STFT, inverse STFT, mel spectrogram and Griffin-Lim beside librosa, scipy and PyTorch."""

from __future__ import annotations

from functools import partial

import jax
import librosa
import numpy as np
import scipy.signal

from benchmarks.timing import Result, compare, difference, find_torch, over_devices, torch_threads
from jaxsep import griffin_lim, istft, melspectrogram, stft

_RATE, _N_FFT, _HOP = 22050, 512, 128


def run(say) -> list[Result]:
    """Run every case; ``say`` tells of peers that are missing."""
    torch = find_torch(say)
    x = np.random.default_rng(0).standard_normal((32, 3 * _RATE)).astype(np.float32)
    return [*_stft(x, torch), *_istft(x, torch), *_mel(x), *_griffin_lim(x[:2], torch)]


def _stft(x, torch):
    ours = partial(over_devices(partial(stft, n_fft=_N_FFT, hop_length=_HOP)), _spread(x))
    peers = {
        "librosa": lambda: librosa.stft(x, n_fft=_N_FFT, hop_length=_HOP),
        "scipy": lambda: scipy.signal.stft(x, nperseg=_N_FFT, noverlap=_N_FFT - _HOP, padded=False)[2],
    }
    error = {"librosa": difference(ours(), peers["librosa"]())}
    if torch:
        signal, window = torch.tensor(x), torch.hann_window(_N_FFT)
        options = dict(window=window, pad_mode="constant", return_complex=True)
        call = partial(torch.stft, signal, _N_FFT, _HOP, **options)
        for threads in (1, 2):
            peers[f"torch, {threads} threads"] = torch_threads(torch, call, threads)
            error[f"torch, {threads} threads"] = difference(ours(), call())
    return compare("stft 32 x 3 s, 512/128", ours, peers, error=error)


def _istft(x, torch):
    spectrum = np.asarray(stft(x, n_fft=_N_FFT, hop_length=_HOP))
    inverse = partial(istft, hop_length=_HOP, length=x.shape[1])
    ours = partial(over_devices(inverse), _spread(spectrum))
    peers = {
        "librosa": lambda: librosa.istft(spectrum, hop_length=_HOP, length=x.shape[1]),
        "scipy": lambda: scipy.signal.istft(spectrum, nperseg=_N_FFT, noverlap=_N_FFT - _HOP)[1],
    }
    error = {"librosa": difference(ours(), peers["librosa"]())}
    if torch:
        frames, window = torch.tensor(spectrum), torch.hann_window(_N_FFT)
        call = partial(torch.istft, frames, _N_FFT, _HOP, window=window, length=x.shape[1])
        for threads in (1, 2):
            peers[f"torch, {threads} threads"] = torch_threads(torch, call, threads)
            error[f"torch, {threads} threads"] = difference(ours(), call())
    return compare("istft 32 x 3 s, 512/128", ours, peers, error=error)


def _mel(x):
    options: dict = dict(n_fft=2048, hop_length=512, n_mels=512)
    ours = partial(over_devices(partial(melspectrogram, sample_rate=_RATE, **options)), _spread(x))

    def peer():
        return librosa.feature.melspectrogram(y=x, sr=_RATE, **options)

    return compare(
        "mel 32 x 3 s, 512 bands", ours, {"librosa": peer}, error={"librosa": difference(ours(), peer())}
    )


def _griffin_lim(x, torch):
    size = np.abs(librosa.stft(x, n_fft=_N_FFT, hop_length=_HOP))
    invert = partial(griffin_lim, n_iter=32, hop_length=_HOP, length=x.shape[1])
    ours = partial(over_devices(invert), _spread(size))
    options: dict = dict(n_iter=32, hop_length=_HOP, length=x.shape[1], init=None)
    peers: dict = {"librosa": lambda: librosa.griffinlim(size, **options)}
    if torch:
        target = torch.tensor(size)
        for threads in (1, 2):
            call = partial(_torch_griffin_lim, torch, target, x.shape[1])
            peers[f"torch, {threads} threads"] = torch_threads(torch, call, threads)
    error = {
        "librosa": difference(
            np.abs(stft(ours(), n_fft=_N_FFT)), np.abs(stft(peers["librosa"](), n_fft=_N_FFT))
        )
    }
    return compare("griffin-lim 2 x 3 s, 32 iterations", ours, peers, rounds=5, error=error)


def _torch_griffin_lim(torch, target, length, momentum=0.99):
    """The same iterations as a loop over torch.stft and torch.istft."""
    window, previous, spectrum = torch.hann_window(_N_FFT), 0.0, target.to(torch.complex64)
    for _ in range(32):
        x = torch.istft(spectrum, _N_FFT, _HOP, window=window, length=length)
        rebuilt = torch.stft(x, _N_FFT, _HOP, window=window, pad_mode="constant", return_complex=True)
        ahead = rebuilt - momentum / (1 + momentum) * previous
        spectrum, previous = target * ahead / (ahead.abs() + 1e-30), rebuilt
    return torch.istft(spectrum, _N_FFT, _HOP, window=window, length=length)


def _spread(x):
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("batch",))
    return jax.device_put(x, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("batch")))
