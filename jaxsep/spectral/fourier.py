"""Short-time Fourier transform and its inverse, with librosa's conventions and names."""

from __future__ import annotations

from functools import partial, reduce

import jax
import jax.numpy as jnp
import numpy as np

from jaxsep._checks import as_complex, as_float, at_least, at_least_ndim
from jaxsep._rows import map_rows
from jaxsep._sharding import keeps_sharding

# Coefficients of the generalized cosine windows, sum_k (-1)^k a_k cos(2 pi k n / N).
_COSINE_WINDOWS = {
    "hann": (0.5, 0.5),
    "hamming": (0.54, 0.46),
    "blackman": (0.42, 0.50, 0.08),
    "nuttall": (0.3635819, 0.4891775, 0.1365995, 0.0106411),
    "blackmanharris": (0.35875, 0.48829, 0.14128, 0.01168),
    "boxcar": (1.0,),
    "ones": (1.0,),
}
_PAD_MODES = ("constant", "edge", "reflect", "symmetric")


def get_window(window, win_length: int) -> np.ndarray:
    """Return a periodic analysis window.

    Args:
      window: ``"hann"``, ``"hamming"``, ``"blackman"``, ``"nuttall"``, ``"blackmanharris"``,
        ``"boxcar"``, ``"ones"``, ``"bartlett"``, or an array of shape ``(win_length,)``.
      win_length: length in samples, at least 1.

    Returns:
      ``(win_length,)`` float64 numpy array.

    Raises:
      ValueError: an unknown name, or an array of another length.

    Example:
      >>> get_window("hann", 4).round(3).tolist()
      [0.0, 0.5, 1.0, 0.5]

    Differs from ``scipy.signal.get_window`` in offering only the names above.
    """
    win_length = at_least("win_length", win_length, 1)
    if isinstance(window, str) and window not in (*_COSINE_WINDOWS, "bartlett"):
        raise ValueError(f"window={window!r}: expected one of {sorted(_COSINE_WINDOWS)} or bartlett")
    if not isinstance(window, str):
        array = np.asarray(window, np.float64)
        if array.shape != (win_length,):
            raise ValueError(f"window.shape={array.shape}: expected ({win_length},)")
        return array
    if win_length == 1:
        return np.ones(1)
    n = np.arange(win_length)
    if window == "bartlett":
        return 1.0 - np.abs(2.0 * n / win_length - 1.0)
    terms = enumerate(_COSINE_WINDOWS[window])
    values = sum((-1) ** k * a * np.cos(2 * np.pi * k * n / win_length) for k, a in terms)
    # What rounding leaves of a zero would be divided by in the inverse.
    return np.where(np.abs(values) < 1e-12, 0.0, values)


def num_frames(num_samples: int, n_fft: int, hop_length: int, center: bool = True) -> int:
    """Return how many frames :func:`stft` gives for a waveform of ``num_samples``.

    Example:
      >>> num_frames(16000, n_fft=1024, hop_length=256)
      63
    """
    padded = num_samples + 2 * (n_fft // 2) if center else num_samples
    return 1 + (padded - n_fft) // hop_length


@keeps_sharding
def stft(
    x,
    *,
    n_fft: int = 2048,
    hop_length: int | None = None,
    win_length: int | None = None,
    window="hann",
    center: bool = True,
    pad_mode: str = "constant",
    dtype=jnp.float32,
) -> jax.Array:
    """Short-time Fourier transform.

    ``S[f, t] = sum_n w[n] x[t * hop_length + n - n_fft // 2] exp(-2 pi i f n / n_fft)``

    Args:
      x: ``(..., samples)`` floating-point waveform, any unit.
      n_fft: length of the transform in samples.
      hop_length: samples between frames; ``n_fft // 4`` (of ``win_length``) when None.
      win_length: length of the window, zero-padded on both sides to ``n_fft`` when shorter.
      window: a name that :func:`get_window` knows, or an array of ``win_length`` values.
      center: pad ``n_fft // 2`` samples on both sides, so that frame t is centered on
        ``t * hop_length``.
      pad_mode: how to pad when ``center``: constant (zeros), edge, reflect, symmetric.
      dtype: precision of the computation; float64 only inside ``jax.enable_x64(True)``.

    Returns:
      ``(..., n_fft // 2 + 1, frames)`` complex64 (complex128 for float64), the unit of ``x``.

    Raises:
      ValueError: integers, an empty or too short ``x``, or a length that is not positive.

    Example:
      >>> x = np.sin(np.arange(8000) * 0.3).astype(np.float32)
      >>> stft(x, n_fft=512).shape
      (257, 63)

    Equal to ``librosa.stft`` within 1e-5 of its maximum, except that float64 is computed as
    float32 unless asked and that a too short waveform is an error, not a warning.

    References:
      J. B. Allen, "Short term spectral analysis, synthesis, and modification by discrete Fourier
      transform", IEEE Trans. ASSP 25(3), 1977.
    """
    x = as_float("x", x, dtype)
    n_fft, hop_length, padded_window = analysis_window(n_fft, hop_length, win_length, window)
    check_waveform(x, n_fft, center, pad_mode)
    return _stft(x, jnp.asarray(padded_window, dtype), hop_length, center, pad_mode)


@keeps_sharding
def istft(
    spectrum,
    *,
    hop_length: int | None = None,
    win_length: int | None = None,
    n_fft: int | None = None,
    window="hann",
    center: bool = True,
    length: int | None = None,
    dtype=jnp.float32,
) -> jax.Array:
    """Inverse short-time Fourier transform: windowed overlap-add, least squares.

    Args:
      spectrum: ``(..., n_fft // 2 + 1, frames)`` complex, as :func:`stft` returns.
      hop_length: samples between frames; a quarter of ``win_length`` when None.
      win_length: length of the window; ``n_fft`` when None.
      n_fft: length of the transform; ``2 * (bins - 1)`` when None (give it when it is odd).
      window: the window that :func:`stft` used.
      center: whether :func:`stft` padded, so that ``n_fft // 2`` samples are cut off again.
      length: samples to return: cut, or filled with zeros.
      dtype: precision of the computation; float64 only inside ``jax.enable_x64(True)``.

    Returns:
      ``(..., length)`` float32 (or ``dtype``), the unit of the waveform that was transformed.
      Without ``length``: ``hop_length * (frames - 1)`` samples when ``center``, for even ``n_fft``.

    Raises:
      ValueError: not complex, empty, or with bins that do not belong to ``n_fft``.

    Example:
      >>> x = np.sin(np.arange(8000) * 0.3).astype(np.float32)
      >>> y = istft(stft(x, n_fft=512), length=8000)
      >>> bool(np.max(np.abs(x - y)) < 1e-5)
      True

    References:
      D. Griffin and J. Lim, "Signal estimation from modified short-time Fourier transform",
      IEEE Trans. ASSP 32(2), 1984, eq. 6.
    """
    complex_dtype = jnp.complex128 if jnp.dtype(dtype) == jnp.float64 else jnp.complex64
    spectrum = as_complex("spectrum", spectrum, complex_dtype)
    at_least_ndim("spectrum", spectrum, 2, "(..., n_fft // 2 + 1, frames)")
    n_fft = 2 * (spectrum.shape[-2] - 1) if n_fft is None else n_fft
    n_fft, hop_length, padded_window = analysis_window(n_fft, hop_length, win_length, window)
    if spectrum.shape[-2] != n_fft // 2 + 1:
        raise ValueError(f"spectrum.shape={spectrum.shape}: n_fft={n_fft} has {n_fft // 2 + 1} bins")
    if length is not None:
        length = at_least("length", length, 1)
        padded_length = length + 2 * (n_fft // 2) if center else length
        spectrum = spectrum[..., : -(-padded_length // hop_length)]
    return _istft(spectrum, jnp.asarray(padded_window, dtype), hop_length, center, length)


def magnitude(spectrum) -> jax.Array:
    """Magnitude of a complex spectrum, with gradient zero (not NaN) where it is zero.

    Args:
      spectrum: complex array of any shape.

    Returns:
      float array of the same shape and unit.

    Example:
      >>> float(magnitude(jnp.asarray(3 + 4j)))
      5.0
    """
    power = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
    positive = power > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, power, 1.0)), 0.0)


def overlap_add(frames, hop_length: int) -> jax.Array:
    """Sum frames that start ``hop_length`` samples apart.

    Args:
      frames: ``(..., frames, samples)``.
      hop_length: samples between the starts of two frames.

    Returns:
      ``(..., samples + hop_length * (frames - 1))``.

    Example:
      >>> overlap_add(jnp.ones((3, 4)), 2).tolist()
      [1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 1.0, 1.0]

    Shifted adds of blocks of one hop, which XLA fuses; a scatter-add is several times slower.
    """
    *batch, num, size = frames.shape
    blocks = -(-size // hop_length)
    pad = [(0, 0)] * len(batch)
    frames = jnp.pad(frames, [*pad, (0, 0), (0, blocks * hop_length - size)])
    frames = frames.reshape(*batch, num, blocks, hop_length)
    shifted = [jnp.pad(frames[..., k, :], [*pad, (k, blocks - 1 - k), (0, 0)]) for k in range(blocks)]
    rows = reduce(jnp.add, shifted)
    return rows.reshape(*batch, (num + blocks - 1) * hop_length)[..., : size + hop_length * (num - 1)]


def check_waveform(x, n_fft, center, pad_mode):
    """Refuse a waveform that is empty or too short for a transform, and an unknown padding."""
    at_least_ndim("x", x, 1, "(..., samples)")
    if pad_mode not in _PAD_MODES:
        raise ValueError(f"pad_mode={pad_mode!r}: expected one of {_PAD_MODES}")
    samples = x.shape[-1]
    if not center and samples < n_fft:
        raise ValueError(f"x.shape={x.shape}: with center=False at least n_fft={n_fft} samples")
    if center and pad_mode == "reflect" and samples <= n_fft // 2:
        raise ValueError(
            f"x.shape={x.shape}: pad_mode={pad_mode!r} needs more than n_fft // 2={n_fft // 2} "
            "samples; use pad_mode='constant'"
        )


def analysis_window(n_fft, hop_length, win_length, window):
    """Check the lengths of a transform; return n_fft, hop_length and the window padded to n_fft."""
    n_fft = at_least("n_fft", n_fft, 1)
    win_length = n_fft if win_length is None else at_least("win_length", win_length, 1)
    if win_length > n_fft:
        raise ValueError(f"win_length={win_length}: longer than n_fft={n_fft}")
    hop_length = max(1, win_length // 4) if hop_length is None else hop_length
    hop_length = at_least("hop_length", hop_length, 1)
    values = get_window(window, win_length)
    left = (n_fft - win_length) // 2
    return n_fft, hop_length, np.pad(values, (left, n_fft - win_length - left))


@partial(jax.jit, static_argnums=(2, 3, 4))
def _stft(x, window, hop_length, center, pad_mode):
    def rows(x, window):
        return jnp.swapaxes(analyze(x, window, hop_length, center, pad_mode), -1, -2)

    row_bytes = frame_bytes(x.shape[-1], window, hop_length)
    return map_rows(rows, x, core=1, row_bytes=row_bytes, shared=(window,))


@partial(jax.jit, static_argnums=(2, 3, 4))
def _istft(spectrum, window, hop_length, center, length):
    def rows(spectrum, window):
        return synthesize(jnp.swapaxes(spectrum, -1, -2), window, hop_length, center, length)

    row_bytes = frame_bytes(spectrum.shape[-1] * hop_length, window, hop_length)
    return map_rows(rows, spectrum, core=2, row_bytes=row_bytes, shared=(window,))


def analyze(x, window, hop_length, center, pad_mode):
    """(..., samples) -> (..., frames, bins): frames-major, which the FFT wants."""
    n_fft = window.shape[0]
    if center:
        sides = [(0, 0)] * (x.ndim - 1) + [(n_fft // 2, n_fft // 2)]
        x = jnp.pad(x, sides, mode=pad_mode)
    return jnp.fft.rfft(_windowed_frames(x, window, hop_length))


def _windowed_frames(x, window, hop_length):
    """(..., samples) -> (..., frames, n_fft): by slices where the hop divides n_fft."""
    n_fft = window.shape[0]
    frames = 1 + (x.shape[-1] - n_fft) // hop_length
    overlap, rest = divmod(n_fft, hop_length)
    if rest:
        index = hop_length * np.arange(frames)[:, None] + np.arange(n_fft)
        return x[..., index] * window
    count = frames + overlap - 1
    hops = x[..., : count * hop_length].reshape(*x.shape[:-1], count, hop_length)
    parts = window.reshape(overlap, hop_length)
    return jnp.concatenate([hops[..., k : k + frames, :] * parts[k] for k in range(overlap)], -1)


def frame_bytes(samples, window, hop_length):
    """Size of the overlapping frames of one waveform."""
    return window.dtype.itemsize * window.shape[0] * (1 + samples // hop_length)


def synthesize(spectrum, window, hop_length, center, length):
    """(..., frames, bins) -> (..., length): overlap-add over the summed squared windows."""
    n_fft = window.shape[0]
    frames = jnp.fft.irfft(spectrum, n=n_fft) * window
    x = overlap_add(frames, hop_length)
    x = x / _sum_of_squares(window, frames.shape[-2], hop_length)
    start = n_fft // 2 if center else 0
    natural = n_fft + hop_length * (frames.shape[-2] - 1)
    stop = natural - start if length is None else min(natural, start + length)
    x = x[..., start:stop]
    missing = 0 if length is None else length - x.shape[-1]
    return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, missing)])


def _sum_of_squares(window, frames, hop_length):
    """Summed squared windows of an inverse transform, 1 where they vanish, as librosa."""
    squares = jnp.broadcast_to(jnp.square(window), (frames, window.shape[0]))
    total = overlap_add(squares, hop_length)
    return jnp.where(total > jnp.finfo(total.dtype).tiny, total, 1.0)
