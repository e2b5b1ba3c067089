"""Batches that are spread over devices stay so, whatever the axes of their mesh are called and typed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar, cast

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

_P = ParamSpec("_P")
_T = TypeVar("_T")
_F = TypeVar("_F", bound=Callable)


def on_each_device(
    function: Callable, *arrays: jax.Array, core: int | tuple[int, ...], shared: tuple = ()
) -> Any:
    """Apply ``function`` on each device to its own part of the batch, under explicit axes.

    A loop over problems needs them on one device, and XLA gathers what a loop or an FFT runs over. So a
    batch that is traced over automatic axes, where how it is spread is unknown, is spread over them by its
    first dimension, as far as that divides. Arrays on one device, or inside ``shard_map``, go to
    ``function`` as they are. A core that is spread is gathered first.

    Args:
      function: from arrays with leading batch dimensions, and the shared ones, to arrays with the same
        batch dimensions. It must not close over traced arrays: those are ``shared``.
      *arrays: of the same batch dimensions, all spread alike or not at all.
      core: how many last dimensions belong to a problem; of every array, or of each.
      shared: pytrees that every device is given whole.
    """
    cores = core if isinstance(core, tuple) else (core,) * len(arrays)
    specs = [_explicit_spec(x) for x in arrays]
    if any(any(spec) for spec in specs):
        first = next(i for i, spec in enumerate(specs) if any(spec))
        mesh = jax.typeof(arrays[first]).sharding.mesh
        batch = PartitionSpec(*specs[first][: arrays[first].ndim - cores[first]])
        arrays = tuple(jax.sharding.reshard(x, NamedSharding(mesh, batch)) for x in arrays)
    else:
        mesh, batch = _automatic_axes(arrays, cores)
    if not any(batch):
        return function(*arrays, *shared)
    whole = (PartitionSpec(),) * len(shared)
    return jax.shard_map(function, mesh=mesh, in_specs=(batch,) * len(arrays) + whole, out_specs=batch)(
        *arrays, *shared
    )


def _automatic_axes(arrays, cores):
    """The mesh of traced arrays and the spread of their batch over its automatic axes; empty for none."""
    meshes = {jax.typeof(x).sharding.mesh for x in arrays if isinstance(x, jax.core.Tracer)}
    meshes = {mesh for mesh in meshes if set(mesh.axis_types) == {AxisType.Auto} and mesh.size > 1}
    if len(meshes) != 1 or any(x.ndim == core for x, core in zip(arrays, cores, strict=True)):
        return None, PartitionSpec()
    axes: list[str] = []
    mesh, length = meshes.pop(), arrays[0].shape[0]
    for name, size in mesh.shape.items():
        if size == 1 or length % size:
            continue
        axes, length = [*axes, name], length // size
    return mesh, PartitionSpec(tuple(axes)) if axes else PartitionSpec()


def keeps_sharding(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Let a public function return a batch as it was spread over automatic axes.

    Arrays given to it outside ``jit`` know how they are spread; inside, automatic axes leave that to XLA,
    which gathers what a loop runs over. So they are computed as over explicit axes.
    """

    @wraps(function)
    def wrapped(*args, **kwargs):
        meshes = {mesh for x in (*args, *kwargs.values()) if (mesh := _automatic_mesh(x)) is not None}
        if len(meshes) != 1:
            return function(*args, **kwargs)
        typed = lambda x: x if _automatic_mesh(x) is None else _with_axes(x, AxisType.Explicit)  # noqa: E731
        args, kwargs = tuple(map(typed, args)), {k: typed(v) for k, v in kwargs.items()}
        return jax.tree.map(lambda x: _with_axes(x, AxisType.Auto), function(*args, **kwargs))

    return wrapped


def step_on_each_device(step: _F) -> _F:
    """Let a step ``(state, batch, *, axis_name=None, ...)`` take a batch that is spread over explicit axes.

    It then runs under ``shard_map``, with those axes as its ``axis_name``, and returns what is the same
    on every device.
    """

    @wraps(step)
    def wrapped(state, batch, *, axis_name=None, **options):
        spec = PartitionSpec(*_explicit_spec(batch["sources"])[:1])
        if axis_name is not None or not any(spec):
            return step(state, batch, axis_name=axis_name, **options)
        mesh = jax.typeof(batch["sources"]).sharding.mesh
        own = partial(step, axis_name=spec[0], **options)
        specs = (PartitionSpec(), spec)
        return jax.shard_map(own, mesh=mesh, in_specs=specs, out_specs=PartitionSpec())(state, batch)

    return cast(_F, wrapped)


def _explicit_spec(x) -> tuple:
    """The mesh axes of each dimension; none where no axis is explicit."""
    sharding: Any = getattr(jax.typeof(x), "sharding", None)
    spec = tuple(getattr(sharding, "spec", ()))
    types = dict(zip(sharding.mesh.axis_names, sharding.mesh.axis_types, strict=True)) if any(spec) else {}
    explicit = any(types[name] == AxisType.Explicit for axes in spec for name in _names(axes))
    return spec + (None,) * (x.ndim - len(spec)) if explicit else (None,) * x.ndim


def _names(axes) -> tuple:
    return () if axes is None else axes if isinstance(axes, tuple) else (axes,)


def _automatic_mesh(x):
    """The mesh over whose automatic axes a concrete array is spread; None for all else."""
    if not isinstance(x, jax.Array) or isinstance(x, jax.core.Tracer):
        return None
    sharding = x.sharding
    if not isinstance(sharding, NamedSharding) or not any(sharding.spec):
        return None
    return sharding.mesh if AxisType.Explicit not in sharding.mesh.axis_types else None


def _with_axes(x, kind: AxisType):
    """The same array over a mesh whose axes are all of one kind; nothing is moved."""
    if not isinstance(x, jax.Array) or not isinstance(x.sharding, NamedSharding):
        return x
    mesh = x.sharding.mesh
    mesh = jax.sharding.Mesh(mesh.devices, mesh.axis_names, axis_types=(kind,) * len(mesh.axis_names))
    parts = [part.data for part in x.addressable_shards]
    return jax.make_array_from_single_device_arrays(x.shape, NamedSharding(mesh, x.sharding.spec), parts)
