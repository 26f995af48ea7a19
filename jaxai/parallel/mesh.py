"""Named meshes: `jax.jit` over `NamedSharding`s; data parallel, fully sharded, tensor parallel, and their products."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxai.core.errors import InputError
from jaxai.core.fields import check_fields
from jaxai.parallel.layout import Device, all_devices, in_lockstep
from jaxai.parallel.placing import Placing

AXES = ("data", "fsdp", "tensor")
BATCH_AXES = ("data", "fsdp")
GATHERED = "gathered"
"""The name of parameters brought together for use, which is not to be kept for the backward pass."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mesh:
    """A mesh of `data` x `fsdp` x `tensor` devices.

    The batch is cut over `data` and `fsdp`, the state over `fsdp` and `tensor`. What a step computes follows: the
    compiler puts every activation where its inputs are, and adds the communication. BatchNorm sees the whole batch.
    """

    data: int = -1
    """Devices along the data axis; -1 takes what the other axes leave."""
    fsdp: int = 1
    """Devices over which parameters and optimizer state are cut (fully sharded data parallelism, ZeRO-3)."""
    tensor: int = 1
    """Devices over which the inside of a layer is cut (Shoeybi et al. 2019, "Megatron-LM")."""
    rules: tuple[tuple[str, int | None], ...] = ()
    """Rules (regex, dim) saying which dim of a tensor is cut over `fsdp`, None for none; by default the largest that
    divides."""
    tensor_rules: tuple[tuple[str, int | None], ...] | None = None
    """Rules (regex, dim) saying which dim of a parameter is cut over `tensor`; by default Megatron's, for the
    Transformers here: the heads of an attention, the inside of a feed-forward, the rows of a vocabulary."""

    def __post_init__(self):
        check_fields(self, "parallel.")

    def lay_out(self, mapped: bool = False) -> MeshLayout:
        devices = all_devices()
        shape = self._shape(len(devices))
        chosen = np.asarray(devices[: math.prod(shape)]).reshape(shape)
        if jax.process_count() > 1 and chosen.size < len(devices):
            what = f"a mesh of {chosen.size} leaves some of {len(devices)} devices idle"
            raise InputError("parallel", what, "several processes use all")
        for name, size in zip(AXES[1:], shape[1:], strict=True):
            if mapped and size > 1:
                what = f"needs the whole state on every device, which {name}={size} cuts"
                raise InputError("reproducible", what, f"{name}=1")
        mesh = jax.sharding.Mesh(chosen, AXES, axis_types=(AxisType.Auto,) * len(AXES))
        placing = Placing(mesh, self.rules, self.tensor_rules)
        return MeshLayout(mesh, placing, "data" if mapped and shape[0] > 1 else None)

    def _shape(self, num_devices: int) -> tuple[int, ...]:
        """The sizes of the axes; raises InputError where they do not fit the devices."""
        sizes = {name: getattr(self, name) for name in AXES}
        for name, size in sizes.items():
            if size != -1 and size < 1:
                raise InputError(f"parallel.{name}", f"must be at least 1, or -1 for the rest, is {size}")
        free = [name for name, size in sizes.items() if size == -1]
        if len(free) > 1:
            raise InputError("parallel", "only one axis can take the rest", f"give {' or '.join(free)} a size")
        known = math.prod(size for size in sizes.values() if size != -1)
        if known > num_devices or (free and num_devices % known):
            fix = f"sizes that multiply to {num_devices}"
            raise InputError("parallel", f"a mesh of {known} does not fit the {num_devices} devices here", fix)
        return tuple(num_devices // known if size == -1 else size for size in sizes.values())


@dataclasses.dataclass(frozen=True)
class MeshLayout:
    """`Mesh` on concrete devices."""

    mesh: jax.sharding.Mesh
    placing: Placing
    axis: str | None = None

    @property
    def devices(self) -> Sequence[Device]:
        return list(self.mesh.devices.flat)

    @property
    def num_shards(self) -> int:
        return math.prod(self.mesh.shape[axis] for axis in BATCH_AXES)

    @property
    def share(self) -> tuple[int, int]:
        rows = self.mesh.devices.reshape(self.num_shards, -1)
        mine = [i for i, row in enumerate(rows) if any(device.process_index == jax.process_index() for device in row)]
        index, rest = divmod(mine[0], len(mine))
        if rest or mine != list(range(mine[0], mine[0] + len(mine))) or self.num_shards % len(mine):
            what = f"this process would have parts {', '.join(map(str, mine))} of {self.num_shards} of a batch"
            raise InputError("parallel.tensor", what, "a number that divides, or is a multiple of, its devices")
        return index, self.num_shards // len(mine)

    def init(self, create: Callable[..., Any], *args: Any) -> Any:
        shardings = self.placing.shardings(jax.eval_shape(create, *args))
        return jax.jit(create, out_shardings=shardings)(*args)

    def abstract(self, state: Any) -> Any:
        placed = self.placing.shardings(state)
        return jax.tree.map(lambda x, where: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where), state, placed)

    def saveable(self, state: Any) -> Any:
        return state

    def place(self, state: Any) -> Any:
        return state

    def send(self, batch: Any, dim: int = 0) -> Any:
        """The share of this process as its part of the global batch; alone, the compiled function takes it as it is."""
        sharding = self._batch(dim)
        if jax.process_count() > 1:
            return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)
        return batch if self.devices[0].platform == "cpu" else jax.device_put(batch, sharding)

    def replicate(self, data: Any) -> Any:
        return jax.device_put(data, self._whole)

    def own_share(self, x: jax.Array) -> jax.Array:
        if self.axis is None:
            return jax.lax.with_sharding_constraint(x, self._batch())
        size = x.shape[0] // self.num_shards
        return jax.lax.dynamic_slice_in_dim(x, jax.lax.axis_index(self.axis) * size, size)

    @property
    def for_use(self) -> Callable[[Any], Any] | None:
        return self._gather if self.mesh.shape["fsdp"] > 1 else None

    def _gather(self, params: Any) -> Any:
        # Said to the compiler, which else may rather move activations to where the parameters are. The parts that the
        # tensor axis has are used as they are.
        placed = self.placing.shardings(params, only_tensor=True)
        return jax.tree.map(
            lambda x, where: checkpoint_name(jax.lax.with_sharding_constraint(x, where), GATHERED), params, placed
        )

    def compile_step(self, step: Callable[..., Any], dim: int = 0) -> Callable[..., Any]:
        # The state's shardings are read off the first state: it was born, or restored, with them.
        compiled: list[Callable[..., Any]] = []

        def run(state: Any, shared: Any, batch: Any) -> Any:
            if not compiled:
                held = jax.tree.map(lambda x: x.sharding, state)
                compiled.append(self.jit_step(step, held, dim))
            return compiled[0](state, shared, batch)

        return in_lockstep(self.devices, run)

    def jit_step(self, step: Callable[..., Any], held: Any, dim: int = 0) -> Any:
        """`step(state, shared, batch)` under `jax.jit`, for a state with the shardings `held`."""
        whole = PartitionSpec()
        mapped = self._mapped(step, (whole, whole, _batch_spec(dim)), (whole, whole))
        ins, outs = (held, self._whole, self._batch(dim)), (held, self._whole)
        return jax.jit(mapped, in_shardings=ins, out_shardings=outs, donate_argnums=0)

    def lower_step(self, step: Callable[..., Any], state: Any, shared: Any, batch: Any, dim: int = 0) -> Any:
        def whole(x: Any) -> Any:
            return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=self._whole)

        # Numbers of the host stay free; what has a place is traced with it, which gives another program.
        shared = jax.tree.map(lambda x: whole(x) if isinstance(x, jax.ShapeDtypeStruct) else x, shared)
        state = self.abstract(state)
        return self.jit_step(step, jax.tree.map(lambda x: x.sharding, state), dim).lower(state, shared, batch)

    def compile_evaluation(self, step: Callable[..., Any]) -> Callable[..., Any]:
        whole = PartitionSpec()
        mapped = self._mapped(step, (whole, _batch_spec(), whole), whole)
        shardings = (None, self._batch(), self._whole)
        compiled = jax.jit(mapped, in_shardings=shardings, out_shardings=self._whole, donate_argnums=2)
        return in_lockstep(self.devices, lambda variables, batch, sums: compiled(variables, self.send(batch), sums))

    def _mapped(self, step: Callable[..., Any], in_specs: Any, out_specs: Any) -> Callable[..., Any]:
        """`step` with the axis bound, if it is to be; every device then runs it on its own share."""
        if self.axis is None:
            return step
        # What comes out is equal on all devices, which the check cannot see through exchanges between neighbours.
        return jax.shard_map(step, mesh=self.mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)

    @property
    def _whole(self) -> NamedSharding:
        return NamedSharding(self.mesh, PartitionSpec())

    def _batch(self, dim: int = 0) -> NamedSharding:
        return NamedSharding(self.mesh, _batch_spec(dim))


def _batch_spec(dim: int = 0) -> PartitionSpec:
    return PartitionSpec(*[None] * dim, BATCH_AXES)
