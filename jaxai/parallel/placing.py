"""Where the state lies on a mesh: rules give every parameter its place, and what belongs to it follows."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

import jax
from jax.sharding import NamedSharding, PartitionSpec

from jaxai.core import rules, tree
from jaxai.core.errors import InputError

#: Which dim of a Transformer's parameter belongs to the tensor axis (Shoeybi et al. 2019): outputs of what fans out,
#: so that each device has whole heads, inputs of what comes together again, rows of the vocabulary.
MEGATRON: tuple[tuple[str, int | None], ...] = (
    (r"(qkv|query|kv|dense1)/kernel$", -1),
    (r"(qkv|query|kv|dense1)/bias$", -1),
    (r"(attention|cross)/out/kernel$|dense2/kernel$", -2),
    (r"tokens/embedding$", 0),
)
_DEFAULT = -10
"""A dim that no rule names: the largest that divides."""


@dataclasses.dataclass(frozen=True)
class Placing:
    """Rules bound to a mesh with the axes `fsdp` and `tensor`."""

    mesh: jax.sharding.Mesh
    fsdp_rules: rules.Rules[int | None]
    tensor_rules: rules.Rules[int | None] | None

    def shardings(self, state: Any, only_tensor: bool = False) -> Any:
        """The sharding of every leaf of `state`, a tree of the variables and of what belongs to them.

        Optimizer slots and averages are cut like the parameters whose path theirs ends in. Raises InputError for rules
        that match nothing, or cut a parameter in a dim that does not divide. `only_tensor` leaves fsdp out.
        """
        along_tensor = self._tensor_dims(state)
        along_fsdp = dict.fromkeys(along_tensor) if only_tensor else self._fsdp_dims(state)
        specs = {
            path: self._spec(path, leaf, along_tensor[path], along_fsdp[path])
            for path, leaf in tree.flatten(state).items()
        }
        return tree.map_paths(lambda path, _: NamedSharding(self.mesh, specs[path]), state)

    def _fsdp_dims(self, state: Any) -> dict[str, int | None]:
        if not self.fsdp_rules:
            return dict.fromkeys(tree.flatten(state), _DEFAULT)
        return rules.by_path(self.fsdp_rules, state, _DEFAULT, "parallel.rules")

    def _tensor_dims(self, state: Any) -> dict[str, int | None]:
        none: dict[str, int | None] = dict.fromkeys(tree.flatten(state))
        if self.mesh.shape["tensor"] == 1:
            return none
        if self.tensor_rules is not None:
            return rules.by_path(self.tensor_rules, state, None, "parallel.tensor_rules")
        dims = {path: next((dim for rule, dim in MEGATRON if re.search(rule, path)), None) for path in none}
        if all(dim is None for dim in dims.values()):
            what = f"no parameter is one that tensor={self.mesh.shape['tensor']} knows how to cut"
            raise InputError("parallel.tensor", what, "give tensor_rules, or use data or fsdp")
        return dims

    def _spec(self, path: str, leaf: Any, tensor_dim: int | None, fsdp_dim: int | None) -> PartitionSpec:
        cut: list[Any] = [None] * leaf.ndim
        is_slot = path.startswith("opt_state/")
        for axis, dim, field in (("tensor", tensor_dim, "tensor_rules"), ("fsdp", fsdp_dim, "rules")):
            size = self.mesh.shape[axis]
            if size == 1 or dim is None:
                continue
            free = [
                d for d in range(leaf.ndim) if cut[d] is None and leaf.shape[d] % size == 0 and leaf.shape[d] >= size
            ]
            if dim == _DEFAULT:
                # The layers that a model with `scan` stacks are taken one by one, each where all devices have a part.
                whole = [0] if "/blocks/" in path and leaf.ndim > 1 else []
                dim = max((d for d in free if d not in whole), key=lambda d: leaf.shape[d], default=None)
            elif not -leaf.ndim <= dim < leaf.ndim or dim % leaf.ndim not in free:
                if is_slot:  # of another shape than its parameter, as factored second moments are
                    continue
                what = f"{path} {list(leaf.shape)} cannot be cut over {axis}={size} in dim {dim}"
                raise InputError(f"parallel.{field}", what, "choose a dim that divides and is not cut yet, or None")
            if dim is not None:
                cut[dim % leaf.ndim] = axis
        return PartitionSpec(*cut)


def shard_bytes(leaf: Any) -> int:
    """Bytes of an array, concrete or abstract with a sharding, on each device."""
    return math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
