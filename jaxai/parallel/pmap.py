"""Data parallelism with `jax.pmap`: every device has the whole state and a share of the batch."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding

from jaxai.core.fields import check_fields
from jaxai.parallel.layout import Device, choose_devices, in_lockstep

AXIS = "data"


@dataclasses.dataclass(frozen=True, kw_only=True)
class PMap:
    """Data parallelism with `jax.pmap`; on one device a plain `jax.jit`.

    BatchNorm sees a device's share of the batch.
    """

    devices: int | None = None
    """How many of the devices to use; by default all."""

    def __post_init__(self):
        check_fields(self, "parallel.")

    def lay_out(self, mapped: bool = False) -> PMapLayout:
        del mapped  # it always is
        devices = choose_devices(self.devices, "parallel.devices")
        return PMapLayout(devices=devices, num_shards=len(devices), axis=AXIS if len(devices) > 1 else None)


@dataclasses.dataclass(frozen=True)
class PMapLayout:
    """`PMap` on concrete devices.

    The state goes in and comes out with `in_axes=None`: it keeps its own shapes, with no leading device dim, and is
    replicated by the compiled step itself.
    """

    devices: Sequence[Device]
    num_shards: int
    axis: str | None

    @property
    def share(self) -> tuple[int, int]:
        return jax.process_index(), jax.process_count()

    def init(self, create: Callable[..., Any], *args: Any) -> Any:
        return jax.jit(create, out_shardings=self._whole(self._local))(*args)

    def abstract(self, state: Any) -> Any:
        sharding = self._whole(self.devices)
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), state)

    def saveable(self, state: Any) -> Any:
        if jax.process_count() == 1:
            # All copies are equal: the first device's is an ordinary array, which needs no agreement to be saved.
            return jax.tree.map(lambda x: x.addressable_data(0), state)
        return self._over(self.devices, state)

    def place(self, state: Any) -> Any:
        return self._over(self._local, state)

    def send(self, batch: Any, dim: int = 0) -> Any:
        if self.num_shards == 1:
            # On CPU the host's arrays are the device's as they are, and asking for it costs more than it gives.
            return batch if self.devices[0].platform == "cpu" else jax.device_put(batch, self.devices[0])
        return self._cut(batch, dim)

    def replicate(self, data: Any) -> Any:
        return jax.device_put(data, self._whole(self._local))

    def own_share(self, x: jax.Array) -> jax.Array:
        if self.axis is None:
            return x
        size = x.shape[0] // self.num_shards
        return jax.lax.dynamic_slice_in_dim(x, jax.lax.axis_index(self.axis) * size, size)

    @property
    def for_use(self) -> None:
        return None

    def compile_step(self, step: Callable[..., Any], dim: int = 0) -> Callable[..., Any]:
        if self.num_shards == 1:
            return jax.jit(step, donate_argnums=0)
        compiled = self._map(step, dim)
        return in_lockstep(self.devices, lambda *args: compiled(self._ranks, *args))

    def lower_step(self, step: Callable[..., Any], state: Any, shared: Any, batch: Any, dim: int = 0) -> Any:
        # Numbers of the host stay free; what has a place is traced with it, which gives another program.
        state, shared = jax.tree.map(
            lambda x: self.abstract(x) if isinstance(x, jax.ShapeDtypeStruct) else x, (state, shared)
        )
        if self.num_shards == 1:
            return jax.jit(step, donate_argnums=0).lower(state, shared, batch)
        return self._map(step, dim).lower(self._ranks, state, shared, batch)

    def _map(self, step: Callable[..., Any], dim: int) -> Any:
        def mapped(rank: jax.Array, *args: Any) -> Any:
            del rank  # `jax.pmap` wants something that is cut, which a batch on the device already is not
            return step(*args)

        axes = {"in_axes": (0, None, None, dim), "out_axes": (None, None)}
        return jax.pmap(mapped, AXIS, devices=self._mapped, donate_argnums=1, **axes)

    @functools.cached_property
    def _ranks(self) -> np.ndarray:
        return np.arange(len(self._local), dtype=np.int32)

    def compile_evaluation(self, step: Callable[..., Any]) -> Callable[..., Any]:
        if self.num_shards == 1:
            return jax.jit(step, donate_argnums=2)
        mapped = jax.pmap(step, AXIS, in_axes=(None, 0, None), out_axes=None, devices=self._mapped, donate_argnums=2)
        return in_lockstep(self.devices, lambda variables, batch, sums: mapped(variables, self._cut(batch), sums))

    def _cut(self, batch: Any, dim: int = 0) -> Any:
        """[batch, ...] as [local device, batch / devices, ...], or so behind a dim of steps; views of the host."""
        local = len(self._local)
        return jax.tree.map(lambda x: x.reshape(*x.shape[:dim], local, -1, *x.shape[dim + 1 :]), batch)

    @property
    def _local(self) -> Sequence[Device]:
        return [device for device in self.devices if device.process_index == jax.process_index()]

    @property
    def _mapped(self) -> Sequence[Device] | None:
        """What `jax.pmap` is told: over several processes it takes all devices, and none by name."""
        return self.devices if jax.process_count() == 1 else None

    @staticmethod
    def _whole(devices: Sequence[Device]) -> Sharding:
        """All of an array on each of `devices`."""
        if len(devices) == 1:
            return SingleDeviceSharding(devices[0])
        mesh = jax.sharding.Mesh(np.asarray(devices), (AXIS,), axis_types=(AxisType.Auto,))
        return NamedSharding(mesh, PartitionSpec())

    def _over(self, devices: Sequence[Device], state: Any) -> Any:
        """`state`, which every local device holds whole, as arrays over `devices`; nothing is copied."""
        sharding = self._whole(devices)

        def over(x: jax.Array) -> jax.Array:
            parts = [shard.data for shard in x.addressable_shards]
            return jax.make_array_from_single_device_arrays(x.shape, sharding, parts)

        return jax.tree.map(over, state)
