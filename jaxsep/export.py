"""A model as one serialized function that needs JAX alone to run."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import jax
from jax import export

from jaxsep.inference import Carry, init_carry, stream_step
from jaxsep.separator import Separator


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
      model's sample rate; begin with :func:`jaxsep.inference.init_carry`. Needs the extra
      ``export`` (flatbuffers).

    Example:
      >>> separator = Separator.from_pretrained("vocals")
      >>> data = export_stream(separator)                                # doctest: +SKIP
      >>> step = jax.export.deserialize(data).call                       # doctest: +SKIP
    """
    system = separator.system
    channels = channels or system.config.channels
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
