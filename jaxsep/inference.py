"""Long and endless input: windows with cross-fades, as a pure function from carry to carry."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

#: ``(batch, channels, samples) -> (batch, sources, channels, samples)``: any separation of whole windows.
Separate = Callable[[jax.Array], jax.Array]


class Carry(NamedTuple):
    """What :func:`stream_step` remembers between chunks."""

    context: jax.Array
    """``(channels, overlap)``: the end of the input so far."""
    tail: jax.Array
    """``(sources, channels, overlap)``: the faded-out end of the output so far."""


def init_carry(num_sources: int, channels: int, overlap: int, start=None) -> Carry:
    """Return the carry before the first chunk.

    Args:
      num_sources: number of stems.
      channels: channels of the stream.
      overlap: samples that windows share.
      start: ``(channels, at least 1)``: the first samples, which mirrored are the left context; silence
        without. Networks that never heard silence cut off sound do worse beside it.
    """
    context: np.ndarray | jax.Array = np.zeros((channels, overlap), np.float32)
    if start is not None:
        context = extend_before(start, overlap)
    return Carry(
        jax.device_put(context), jax.device_put(np.zeros((num_sources, channels, overlap), np.float32))
    )


def extend_before(start: np.ndarray | jax.Array, count: int) -> np.ndarray | jax.Array:
    """Return symmetric padding before the beginning of a stream.

    Args:
      start: ``(channels, at least 1)``: the first samples.
      count: samples to return.

    Example:
      >>> extend_before(np.array([[1.0, 2.0, 3.0]]), 4).tolist()
      [[3.0, 3.0, 2.0, 1.0]]
    """
    pad = jnp.pad if isinstance(start, jax.Array) else np.pad  # in numpy nothing is compiled
    return pad(start[:, : max(1, count)], ((0, 0), (count, 0)), mode="symmetric")[:, :count]


def extend(ending: np.ndarray, count: int) -> np.ndarray:
    """Return symmetric padding past the end of a stream.

    Args:
      ending: ``(channels, at least 1)``: the last samples.
      count: samples to return.

    Example:
      >>> extend(np.array([[1.0, 2.0, 3.0]]), 7).tolist()
      [[3.0, 2.0, 1.0, 1.0, 2.0, 3.0, 3.0]]
    """
    return np.pad(ending, ((0, 0), (0, count)), mode="symmetric")[:, ending.shape[1] :]


def stream_step(
    separate: Separate, carry: Carry, chunk: jax.Array, *, segment: int
) -> tuple[Carry, jax.Array]:
    """Separate the next chunk of a stream.

    The stream is cut into windows of ``segment`` samples that overlap by the carry's ``overlap``;
    each is separated on its own and neighbors are cross-faded linearly, so stems that sum to
    each window sum to the stream.

    Args:
      separate: separation of windows, ``(batch, channels, segment) -> (batch, sources, channels,
        segment)``, as :meth:`jaxsep.System.separate_channels`.
      carry: from :func:`init_carry` or the step before.
      chunk: ``(channels, n * (segment - overlap))`` floats, for any n of at least 1.
      segment: samples of a window.

    Returns:
      The carry after, and ``(sources, channels, n * (segment - overlap))``: the stems,
      ``overlap`` samples behind the input.

    Example:
      >>> both = lambda x: jnp.stack([0.25 * x, 0.75 * x], axis=1)
      >>> carry, out = stream_step(both, init_carry(2, 1, 2), jnp.arange(8.0)[None], segment=6)
      >>> out.sum(0)[0].tolist()
      [0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0]

    References:
      R. Crochiere, "A weighted overlap-add method of short-time Fourier analysis/synthesis",
      IEEE Trans. ASSP 28(1), 1980.
    """
    overlap = carry.context.shape[1]
    hop = segment - overlap
    count, rest = divmod(chunk.shape[-1], hop)
    if rest or not count:
        raise ValueError(f"chunk.shape={chunk.shape}: expected a multiple of {hop} samples")
    x = jnp.concatenate([carry.context, chunk], axis=-1)
    windows = jnp.stack([x[:, k * hop : k * hop + segment] for k in range(count)])
    out, tail = cross_fade(separate(windows) * fade(segment, overlap), carry.tail)
    return Carry(x[:, -overlap:], tail), out


def cross_fade(faded: jax.Array, tail: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Join windows that fade in and out, the first to the end of those before.

    Args:
      faded: ``(windows, sources, channels, segment)``, each times :func:`fade`.
      tail: ``(sources, channels, overlap)``: the faded-out end before them.

    Returns:
      ``(sources, channels, windows * (segment - overlap))``, and the tail after.

    Example:
      >>> faded, tail = fade(6, 2) * jnp.ones((2, 1, 1, 6)), jnp.zeros((1, 1, 2))
      >>> cross_fade(faded, tail)[0][0, 0].tolist()
      [0.25, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    """
    overlap = tail.shape[-1]
    hop = faded.shape[-1] - overlap
    out = []
    for window in faded:
        out.append(jnp.concatenate([window[..., :overlap] + tail, window[..., overlap:hop]], axis=-1))
        tail = window[..., hop:]
    return jnp.concatenate(out, axis=-1), tail


def separate_each(
    separate: Separate, waveforms: Iterable, *, num_sources: int, segment: int, overlap: int, windows: int = 4
) -> Iterator[np.ndarray]:
    """Separate arrays of any lengths, by batches of as many windows, of whichever arrays they are.

    The windows are those of :func:`stream_step`, mirrored beyond both ends.

    Args:
      separate: a jitted separation of ``windows`` windows.
      waveforms: of ``(channels, samples)`` floats.
      num_sources: how many stems ``separate`` returns.
      segment, overlap: samples of a window and of the cross-fade.
      windows: windows computed together.

    Yields:
      ``(sources, channels, samples)`` float32 numpy arrays, in their order.

    Example:
      >>> both = lambda x: jnp.stack([0.25 * x, 0.75 * x], axis=1)
      >>> waveforms = np.ones((1, 7)), np.ones((1, 30))
      >>> stems = separate_each(both, waveforms, num_sources=2, segment=8, overlap=2)
      >>> [s.sum(0).tolist() == x.tolist() for s, x in zip(stems, waveforms)]
      [True, True]
    """
    hop, faded = segment - overlap, np.asarray(fade(segment, overlap))
    queue: deque[tuple[np.ndarray, int]] = deque()  # arrays whose windows are not all back
    places: list[tuple[np.ndarray, int]] = []
    batch: list[np.ndarray] = []

    def run():
        given = np.stack(batch + batch[-1:] * (windows - len(batch)))
        stems = np.asarray(separate(jnp.asarray(given))) * faded
        for (out, start), window in zip(places, stems, strict=False):
            out[..., start : start + segment] += window
        places.clear()
        batch.clear()

    def whole():
        held = {id(out) for out, _ in places}
        while queue and id(queue[0][0]) not in held:
            out, samples = queue.popleft()
            yield out[..., overlap : overlap + samples]

    for x in waveforms:
        x = np.asarray(x, np.float32)
        channels, samples = x.shape
        count = -(-(samples + overlap) // hop)
        more = count * hop - samples
        x = np.concatenate([np.asarray(init_carry(1, channels, overlap, x).context), x], axis=1)
        x = np.concatenate([x, extend(x[:, max(overlap, x.shape[1] - segment) :], more)], axis=1)
        out = np.zeros((num_sources, channels, overlap + samples + more), np.float32)
        queue.append((out, samples))
        for start in range(0, count * hop, hop):
            places.append((out, start))
            batch.append(x[:, start : start + segment])
            if len(batch) == windows:
                run()
        yield from whole()
    if batch:
        run()
    yield from whole()


@partial(jax.jit, static_argnums=(0, 1))
def fade(segment, overlap):
    """Trapezoid whose rise and fall add to one."""
    rise = (jnp.arange(overlap, dtype=jnp.float32) + 0.5) / overlap
    return jnp.concatenate([rise, jnp.ones(segment - 2 * overlap, jnp.float32), rise[::-1]])
