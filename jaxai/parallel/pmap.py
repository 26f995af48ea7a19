"""Data parallelism with `jax.pmap`: every device has the whole state and a share of the batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.sharding import SingleDeviceSharding

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

    def lay_out(self) -> PMapLayout:
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

    def init(self, create: Callable[..., Any], *args: Any) -> Any:
        with jax.default_device(self.devices[0]):
            return jax.jit(create)(*args)

    def abstract(self, state: Any) -> Any:
        sharding = SingleDeviceSharding(self.devices[0])
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), state)

    def saveable(self, state: Any) -> Any:
        # All copies are equal: the first device's is an ordinary array, which every checkpoint library understands.
        return jax.tree.map(lambda x: x.addressable_data(0), state)

    def compile_step(self, step: Callable[..., Any]) -> Callable[..., Any]:
        if self.num_shards == 1:
            return jax.jit(step, donate_argnums=0)
        mapped = jax.pmap(step, AXIS, in_axes=(None, 0), out_axes=(None, None), devices=self.devices, donate_argnums=0)
        return in_lockstep(self.devices, lambda state, batch: mapped(state, self._cut(batch)))

    def compile_evaluation(self, step: Callable[..., Any]) -> Callable[..., Any]:
        if self.num_shards == 1:
            return jax.jit(step, donate_argnums=2)
        mapped = jax.pmap(step, AXIS, in_axes=(None, 0, None), out_axes=None, devices=self.devices, donate_argnums=2)
        return in_lockstep(self.devices, lambda variables, batch, sums: mapped(variables, self._cut(batch), sums))

    def _cut(self, batch: Any) -> Any:
        """[batch, ...] as [device, batch / devices, ...]; a view of the host's memory."""
        return jax.tree.map(lambda x: x.reshape(self.num_shards, -1, *x.shape[1:]), batch)
