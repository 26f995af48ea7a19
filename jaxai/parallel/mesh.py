"""Named meshes: `jax.jit` over `NamedSharding`s; data parallel over `data`, state sharded over `fsdp`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxai.core import rules, tree
from jaxai.core.errors import InputError
from jaxai.core.fields import check_fields
from jaxai.parallel.layout import Device, all_devices, in_lockstep

BATCH = PartitionSpec(("data", "fsdp"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mesh:
    """A mesh of `data` x `fsdp` devices: the batch is cut over both, the state over `fsdp`.

    BatchNorm sees the whole batch.
    """

    data: int = -1
    """Devices along the data axis; -1 takes what the other axis leaves."""
    fsdp: int = 1
    """Devices over which parameters and optimizer state are cut (fully sharded data parallelism, ZeRO-3)."""
    rules: tuple[tuple[str, int | None], ...] = ()
    """Rules (regex, dim) saying which dim of a tensor is cut over `fsdp`, None for none; by default the largest that
    divides."""

    def __post_init__(self):
        check_fields(self, "parallel.")

    def lay_out(self, mapped: bool = False) -> MeshLayout:
        devices = all_devices()
        for name, size in (("data", self.data), ("fsdp", self.fsdp)):
            if size != -1 and size < 1:
                raise InputError(f"parallel.{name}", f"must be at least 1, or -1 for the rest, is {size}")
        if self.data == -1 and self.fsdp == -1:
            raise InputError("parallel", "only one axis can take the rest", "give data or fsdp a size")
        known = max(self.data, 1) * max(self.fsdp, 1)
        rest = len(devices) // known
        if (-1 in (self.data, self.fsdp) and len(devices) % known) or known > len(devices):
            fix = f"sizes that multiply to {len(devices)}"
            raise InputError("parallel", f"a mesh of {known} does not fit the {len(devices)} devices here", fix)
        shape = tuple(rest if size == -1 else size for size in (self.data, self.fsdp))
        chosen = np.asarray(devices[: shape[0] * shape[1]]).reshape(shape)
        if jax.process_count() > 1 and chosen.size < len(devices):
            what = f"a mesh of {chosen.size} leaves some of {len(devices)} devices idle"
            raise InputError("parallel", what, "several processes use all")
        if mapped and shape[1] > 1:
            what = f"needs the whole state on every device, which fsdp={shape[1]} cuts"
            raise InputError("reproducible", what, "fsdp=1")
        mesh = jax.sharding.Mesh(chosen, ("data", "fsdp"), axis_types=(AxisType.Auto,) * 2)
        return MeshLayout(mesh, self.rules, "data" if mapped and shape[0] > 1 else None)


@dataclasses.dataclass(frozen=True)
class MeshLayout:
    """`Mesh` on concrete devices."""

    mesh: jax.sharding.Mesh
    rules: rules.Rules[int | None]
    axis: str | None = None

    @property
    def devices(self) -> Sequence[Device]:
        return list(self.mesh.devices.flat)

    @property
    def num_shards(self) -> int:
        return self.mesh.size

    def init(self, create: Callable[..., Any], *args: Any) -> Any:
        shardings = self.shardings(jax.eval_shape(create, *args))
        return jax.jit(create, out_shardings=shardings)(*args)

    def shardings(self, state: Any) -> Any:
        """The sharding of every leaf; optimizer slots and averages are cut like the parameters that they belong to."""
        chosen = rules.assign(self.rules, state, -1, "parallel.rules") if self.rules else None
        dims = chosen if chosen is not None else jax.tree.map(lambda _: -1, state)
        leaves, treedef = jax.tree.flatten(state)
        flat_dims = treedef.flatten_up_to(dims)
        paths = list(tree.flatten(state))
        cut = [self._sharding(*entry) for entry in zip(paths, leaves, flat_dims, strict=True)]
        return jax.tree.unflatten(treedef, cut)

    def abstract(self, state: Any) -> Any:
        return jax.tree.map(
            lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), state, self.shardings(state)
        )

    def saveable(self, state: Any) -> Any:
        return state

    def place(self, state: Any) -> Any:
        return state

    def compile_step(self, step: Callable[..., Any]) -> Callable[..., Any]:
        # The state's shardings are read off the first state: it was born, or restored, with them.
        compiled: list[Callable[..., Any]] = []

        def run(state: Any, batch: Any) -> Any:
            if not compiled:
                held = jax.tree.map(lambda x: x.sharding, state)
                mapped = self._mapped(step, (PartitionSpec(), BATCH), (PartitionSpec(), PartitionSpec()))
                out = (held, self._whole)
                compiled.append(jax.jit(mapped, in_shardings=(held, self._batch), out_shardings=out, donate_argnums=0))
            return compiled[0](state, self._put(batch))

        return in_lockstep(self.devices, run)

    def compile_evaluation(self, step: Callable[..., Any]) -> Callable[..., Any]:
        mapped = self._mapped(step, (PartitionSpec(), BATCH, PartitionSpec()), PartitionSpec())
        shardings = (None, self._batch, self._whole)
        compiled = jax.jit(mapped, in_shardings=shardings, out_shardings=self._whole, donate_argnums=2)
        return in_lockstep(self.devices, lambda variables, batch, sums: compiled(variables, self._put(batch), sums))

    def _mapped(self, step: Callable[..., Any], in_specs: Any, out_specs: Any) -> Callable[..., Any]:
        """`step` with the axis bound, if it is to be; every device then runs it on its own share."""
        if self.axis is None:
            return step
        # What comes out is equal on all devices, which the check cannot see through exchanges between neighbours.
        return jax.shard_map(step, mesh=self.mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)

    def _put(self, batch: Any) -> Any:
        """The share of this process as its part of the global batch; alone, the compiled function takes it as it is."""
        if jax.process_count() == 1:
            return batch
        return jax.tree.map(lambda x: jax.make_array_from_process_local_data(self._batch, x), batch)

    @property
    def _whole(self) -> NamedSharding:
        return NamedSharding(self.mesh, PartitionSpec())

    @property
    def _batch(self) -> NamedSharding:
        return NamedSharding(self.mesh, BATCH)

    def _sharding(self, path: str, leaf: Any, dim: int | None) -> NamedSharding:
        size = self.mesh.shape["fsdp"]
        if dim == -1:
            divisible = [d for d in range(leaf.ndim) if leaf.shape[d] % size == 0 and leaf.shape[d] >= size]
            dim = max(divisible, key=lambda d: leaf.shape[d], default=None) if size > 1 else None
        elif dim is not None and (dim >= leaf.ndim or leaf.shape[dim] % size):
            what = f"{path} {list(leaf.shape)} cannot be cut over fsdp={size} in dim {dim}"
            raise InputError("parallel.rules", what, "choose a dim that divides, or None")
        spec = [None] * leaf.ndim
        if dim is not None:
            spec[dim] = "fsdp"
        return NamedSharding(self.mesh, PartitionSpec(*spec))
