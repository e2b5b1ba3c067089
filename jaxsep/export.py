"""A model as one serialized function that needs JAX alone to run: of whole waveforms, or of a stream.

A file of :func:`export_model` is a zip archive of ``program.bin`` and ``model.json``, and is run by::

    import json, zipfile
    import jax, numpy as np

    with zipfile.ZipFile("vocals.jaxsep") as file:
        program = jax.export.deserialize(bytearray(file.read("program.bin")))
        model = json.loads(file.read("model.json"))
    waveform = np.zeros((model["channels"], 44100), np.float32)     # at model["sample_rate"]
    stems = program.call(waveform)                                  # (stems, channels, samples)
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jax import export

from jaxsep.files import write_atomically
from jaxsep.inference import Carry, fade, init_carry, stream_step
from jaxsep.live import Live, live_start, live_step
from jaxsep.separator import Separator

PLATFORMS = ("cpu", "cuda", "tpu")


def export_model(separator: Separator, path, *, platforms: Sequence[str] = PLATFORMS) -> dict:
    """Write a file that separates waveforms of any length, without jaxsep.

    The program maps ``(channels, samples)`` float32 at the model's sample rate, as many channels as it hears
    together, to ``(stems, channels, samples)``: windows that overlap, cross-faded, mirrored beyond both
    ends, as :class:`jaxsep.Separator` does, its ``shifts`` apart. Needs the extra ``export`` (flatbuffers).

    Args:
      separator: the model.
      path: the file, a zip archive.
      platforms: where it shall run.

    Returns:
      What its ``model.json`` says: name, stems, sample rate, channels, platforms, delay in samples (none),
      and the SHA-256 of ``program.bin``.
    """
    system, channels = separator.system, separator.system.config.channels
    separate = partial(system.separate_channels, separator.variables, wiener=separator.wiener)
    residual = separator.sources.index(system.config.residual)

    def program(waveform):
        if isinstance(separator.live, Live):
            stems = _going_on(separator.live, waveform)
        else:
            stems = _whole(separate, waveform, system.segment, system.overlap)
        rest = waveform - jnp.sum(stems, axis=0) + stems[residual]
        return stems.at[residual].set(rest)

    (samples,) = export.symbolic_shape("samples", constraints=["samples >= 1"])
    shape = jax.ShapeDtypeStruct((channels, samples), jnp.float32)
    data = bytes(export.export(jax.jit(program), platforms=tuple(platforms))(shape).serialize())
    model = {
        "name": separator.name,
        "stems": list(separator.sources),
        "sample_rate": separator.sample_rate,
        "channels": channels,
        "platforms": list(platforms),
        "delay_samples": 0,
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("program.bin", data)
        file.writestr("model.json", json.dumps(model, indent=2))
    write_atomically(path, archive.getvalue())
    return model


def _whole(separate, waveform, segment, overlap):
    """Separate ``(channels, samples)`` of any, also symbolic, length by windows, one after another."""
    samples, hop = waveform.shape[-1], segment - overlap
    count = (samples + overlap + hop - 1) // hop
    at = jnp.arange(count)[:, None] * hop + jnp.arange(segment) - overlap
    turned = jnp.mod(at, 2 * samples)  # mirrored with the edge repeated: a period of twice the length
    at = jnp.where(turned < samples, turned, 2 * samples - 1 - turned)
    faded = fade(segment, overlap)
    windows = jax.lax.map(lambda index: separate(waveform[None, :, index])[0] * faded, at)
    tails = jnp.concatenate([jnp.zeros_like(windows[:1, ..., hop:]), windows[:-1, ..., hop:]])
    heads = windows[..., :overlap] + tails
    blocks = jnp.moveaxis(jnp.concatenate([heads, windows[..., overlap:hop]], axis=-1), 0, -2)
    return blocks.reshape(*blocks.shape[:-2], count * hop)[..., overlap : overlap + samples]


def export_stream(
    separator: Separator,
    *,
    channels: int | None = None,
    windows: int = 1,
    platforms: Sequence[str] = ("cpu",),
) -> bytes:
    """Serialize the separation of a stream, weights included.

    Args:
      separator: the model.
      channels: channels of the stream; as many as the model hears together when None.
      windows: windows computed together; a chunk is that many times segment minus overlap long.
      platforms: where it shall run: ``"cpu"``, ``"cuda"``, ``"tpu"``.

    Returns:
      Bytes that ``jax.export.deserialize(...).call`` runs as ``(context, tail, chunk) ->
      (context, tail, stems)``, with the shapes of :func:`jaxsep.inference.stream_step`, at the
      model's sample rate; begin with :func:`jaxsep.inference.init_carry`. Of a causal system that
      goes on frame by frame it is ``(*carry, chunk, keep) -> (*carry, stems)``, with chunks of ``windows``
      hops, ``keep`` of :func:`jaxsep.live.live_step` (``(windows,)`` ones until the end) and the leaves of a
      :class:`jaxsep.live.LiveCarry`. Needs the extra ``export`` (flatbuffers).

    Example:
      >>> separator = Separator.from_pretrained("vocals")
      >>> data = export_stream(separator)                                # doctest: +SKIP
      >>> step = jax.export.deserialize(data).call                       # doctest: +SKIP
    """
    system = separator.system
    channels = channels or system.config.channels
    if isinstance(separator.live, Live):
        return _live_stream(separator.live, channels, windows, platforms)
    separate = partial(system.separate_channels, separator.variables, wiener=separator.wiener)

    def step(context, tail, chunk):
        carry, stems = stream_step(separate, Carry(context, tail), chunk, segment=system.segment)
        return *carry, stems

    carry = init_carry(len(separator.sources), channels, system.overlap)
    hop = system.segment - system.overlap
    shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in carry]
    chunk = jax.ShapeDtypeStruct((channels, windows * hop), carry.tail.dtype)
    exported = export.export(jax.jit(step), platforms=tuple(platforms))(*shapes, chunk)
    return bytes(exported.serialize())


def _going_on(live, waveform, frames=64):
    """Separate ``(channels, samples)`` of any, also symbolic, length frame by frame, some at a time."""
    samples, size = waveform.shape[-1], frames * live.hop
    count = (samples + live.skip + size - 1) // size
    whole = (samples + 2 * live.skip - live.n_fft) // live.hop + 1

    def heard(at):
        return jnp.where(at < samples, waveform[:, jnp.minimum(at, samples - 1)], 0.0)

    def step(carry, number):
        chunk = heard(live.lead + number * size + jnp.arange(size))
        keep = (number * frames + jnp.arange(frames) < whole).astype(jnp.float32)
        return live_step(live.system, live.variables, carry, chunk, keep)

    _, stems = jax.lax.scan(step, live_start(live.system, heard(jnp.arange(live.lead))), jnp.arange(count))
    stems = jnp.moveaxis(stems, 0, -2)
    return stems.reshape(*stems.shape[:-2], count * size)[..., live.skip : live.skip + samples]


def _live_stream(live, channels, hops, platforms):
    carry = live.start(jnp.zeros((channels, live.lead)))
    leaves, tree = jax.tree.flatten(carry)

    def step(*arguments):
        *before, chunk, keep = arguments
        after, stems = live_step(live.system, live.variables, jax.tree.unflatten(tree, before), chunk, keep)
        return *jax.tree.leaves(after), stems

    shapes = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves]
    shapes += [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((channels, hops * live.hop), (hops,))]
    return bytes(export.export(jax.jit(step), platforms=tuple(platforms))(*shapes).serialize())
