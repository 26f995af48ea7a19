"""Adapters of single layers: a low-rank change of the kernel, or a small network after the layer."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxai.adapt.efficient.places import Interceptor, Layer, Own, Places, around, choose
from jaxai.core import rng
from jaxai.core.errors import InputError
from jaxai.core.fields import check_fields
from jaxai.models.attention import Dropout


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lora:
    """Low-rank adaptation (Hu et al. 2022): a chosen layer adds `alpha / rank * dropout(x) A B` to what it gives.

    A starts normal and B zero, so that training starts at the base. For a convolution, A is one with `rank` features
    and B mixes these; the change of a kernel is always `alpha / rank * A B`, which `merge` adds to it.
    """

    rules: tuple[tuple[str, int], ...]
    """Ordered (regex, rank) over the paths of kernels, such as `(("attention/qkv", 8),)`; 0 leaves a layer alone."""
    alpha: float = 16.0
    """Strength: a change is scaled by `alpha / rank`."""
    dropout: float = 0.0
    """Share of the inputs of A that is zeroed in training."""
    name: str = "lora"
    """What its parameters are called."""

    def __post_init__(self):
        check_fields(self, "task.adapters.")
        if not 0 <= self.dropout < 1:
            raise InputError("task.adapters.dropout", f"must be at least 0 and below 1, is {self.dropout}")

    def init(self, key: jax.Array, layers: Mapping[str, Layer], field: str) -> Places:
        """A [*stack, *ins, rank] and B [*stack, rank, *outs] by path of the layer."""
        places: Places = {}
        for layer, rank in choose(self.rules, layers, field):
            if not layer.is_linear:
                raise _refused(layer, "is no linear layer with `use_bias`", field)
            places[layer.path] = {
                "a": _fan_in(key, layer.path, layer.stack, layer.ins, (rank,)),
                "b": jnp.zeros((*layer.stack, rank, *layer.outs)),
            }
        return places

    def interceptor(self) -> Interceptor:
        """What changes the layers that have parameters of this adapter."""
        return around(self.name, self._apply)

    def fold(self, kernel: jax.Array, own: Own) -> jax.Array:
        """The kernel that does alone what `kernel` does with the adapter."""
        num_stacked = own["a"].ndim + own["b"].ndim - 2 - kernel.ndim
        rank, stack = own["a"].shape[-1], kernel.shape[:num_stacked]
        change = own["a"].reshape(*stack, -1, rank) @ own["b"].reshape(*stack, rank, -1)
        return kernel + self._scale(own) * change.reshape(kernel.shape)

    def _apply(self, own: Own, module: Any, call: Any, args: Any, kwargs: Any) -> Any:
        x, *others = (*args, *kwargs.values())
        if self.dropout and module.has_rng("dropout"):  # models are given one in training only
            x = Dropout(self.dropout).apply({}, x, True, rngs={"dropout": module.make_rng("dropout")})
        layer, rank = module.clone(parent=None, name=None), own["a"].shape[-1]
        if _narrows(module):
            low: Any = layer.clone(features=rank, use_bias=False).apply({"params": {"kernel": own["a"]}}, x)
            change = _times(low, own["b"], 1)
        else:
            # Other layers are run with A B as their kernel, which has the size of the whole.
            params = {n: jnp.zeros_like(p) for n, p in module.variables["params"].items() if not isinstance(p, Mapping)}
            params["kernel"] = jnp.tensordot(own["a"], own["b"], 1)
            change = layer.apply({"params": params}, x, *others)
        # A tree, because the cells of Flax's LSTM have layers that only give their kernel and bias.
        return jax.tree.map(lambda y, more: y + self._scale(own) * more, call(*args, **kwargs), change)

    def _scale(self, own: Own) -> float:
        return self.alpha / own["a"].shape[-1]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Houlsby:
    """Bottleneck adapters (Houlsby et al. 2019): `y + up(gelu(down(y)))` instead of what a chosen layer gives, y.

    The paper has one after each part of a Transformer block: `(("attention/out|mlp/dense2", 64),)`. `up` starts at
    zero, so that training starts at the base.
    """

    rules: tuple[tuple[str, int], ...]
    """Ordered (regex, width in between) over the paths of kernels; width 0 leaves a layer alone."""
    name: str = "houlsby"
    """What its parameters are called."""

    def __post_init__(self):
        check_fields(self, "task.adapters.")

    def init(self, key: jax.Array, layers: Mapping[str, Layer], field: str) -> Places:
        """`down` [*stack, *outs, width] and `up` [*stack, width, *outs] with their biases, by path of the layer."""
        places: Places = {}
        for layer, width in choose(self.rules, layers, field):
            if not layer.gives_outs:
                raise _refused(layer, f"does not give {list(layer.outs)} features", field)
            places[layer.path] = {
                "down": {
                    "kernel": _fan_in(key, layer.path, layer.stack, layer.outs, (width,)),
                    "bias": jnp.zeros((*layer.stack, width)),
                },
                "up": {
                    "kernel": jnp.zeros((*layer.stack, width, *layer.outs)),
                    "bias": jnp.zeros((*layer.stack, *layer.outs)),
                },
            }
        return places

    def interceptor(self) -> Interceptor:
        """What changes the layers that have parameters of this adapter."""
        return around(self.name, self._apply)

    def _apply(self, own: Own, module: nn.Module, call: Any, args: Any, kwargs: Any) -> jax.Array:
        del module
        y = call(*args, **kwargs)
        down, up = own["down"], own["up"]
        between = _times(y, down["kernel"], up["bias"].ndim)
        between = jax.nn.gelu(between + _row(down["bias"], between), approximate=False)
        return y + _times(between, up["kernel"], 1) + _row(up["bias"], y)


def _fan_in(
    key: jax.Array, path: str, stack: tuple[int, ...], ins: tuple[int, ...], outs: tuple[int, ...]
) -> jax.Array:
    """Normal numbers [*stack, *ins, *outs] that keep the variance of what comes in."""
    return jax.random.normal(rng.stream(key, path), (*stack, *ins, *outs)) / math.sqrt(math.prod(ins))


def _times(x: jax.Array, kernel: jax.Array, num_ins: int) -> jax.Array:
    """The sum over the last `num_ins` axes of `x` and the first of `kernel`, as one product of matrices."""
    outs, outer = kernel.shape[num_ins:], x.shape[: x.ndim - num_ins]
    rows, size = math.prod(outer), math.prod(kernel.shape[:num_ins])
    return (x.reshape(rows, size) @ kernel.astype(x.dtype).reshape(size, -1)).reshape(*outer, *outs)


def _row(bias: jax.Array, like: jax.Array) -> jax.Array:
    """`bias` with as many axes, and of the type, of `like`."""
    return bias.astype(like.dtype).reshape(*(1,) * (like.ndim - bias.ndim), *bias.shape)


def _narrows(module: Any) -> bool:
    """Whether the layer can be had with fewer features, which then are mixed: A and B apart."""
    if isinstance(module, nn.Conv):
        return module.feature_group_count == 1 and module.mask is None
    return isinstance(module, (nn.Dense, nn.DenseGeneral))


def _refused(layer: Layer, what: str, field: str) -> InputError:
    fix = f"a rule before the others gives it 0: ({layer.path!r}, 0)"
    return InputError(field, f"{layer.path}, a {layer.kind.__name__}, {what}", fix)
