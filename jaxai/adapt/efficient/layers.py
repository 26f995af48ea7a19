"""Adapters of single layers: a low-rank change of the kernel, or a small network after the layer."""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxai.adapt.efficient.places import Interceptor, Own, Places, around, choose, kernels
from jaxai.core import rng
from jaxai.core.errors import InputError
from jaxai.core.fields import check_fields
from jaxai.models.transformer import Dropout

_fan_in = nn.initializers.variance_scaling(1.0, "fan_in", "normal")


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

    def init(self, key: jax.Array, params: Any) -> Places:
        """A [..., in, rank] and B [rank, out] by path of the layer."""
        return {
            path: {
                "a": _fan_in(rng.stream(key, path), (*kernel.shape[:-1], rank)),
                "b": jnp.zeros((rank, kernel.shape[-1])),
            }
            for path, kernel, rank in choose(self.rules, kernels(params), "task.adapters.rules")
        }

    def interceptor(self) -> Interceptor:
        """What changes the layers that have parameters of this adapter."""
        return around(self.name, self._apply)

    def fold(self, kernel: jax.Array, own: Own) -> jax.Array:
        """The kernel that does alone what `kernel` does with the adapter."""
        return kernel + self._scale(own) * (own["a"] @ own["b"])

    def _apply(self, own: Own, module: nn.Module, call: Any, args: Any, kwargs: Any) -> jax.Array:
        layer = _layer(module, type(self).__name__)
        (x,) = args
        if self.dropout and module.has_rng("dropout"):  # models are given one in training only
            x = Dropout(self.dropout).apply({}, x, True, rngs={"dropout": module.make_rng("dropout")})
        narrow = layer.clone(parent=None, name=None, features=own["b"].shape[0], use_bias=False)
        low: Any = narrow.apply({"params": {"kernel": own["a"]}}, x)
        return call(*args, **kwargs) + self._scale(own) * (low @ own["b"].astype(low.dtype))

    def _scale(self, own: Own) -> float:
        return self.alpha / own["b"].shape[0]


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

    def init(self, key: jax.Array, params: Any) -> Places:
        """`down` [out, width] and `up` [width, out] with their biases, by path of the layer."""
        return {
            path: {
                "down": {
                    "kernel": _fan_in(rng.stream(key, path), (kernel.shape[-1], width)),
                    "bias": jnp.zeros(width),
                },
                "up": {"kernel": jnp.zeros((width, kernel.shape[-1])), "bias": jnp.zeros(kernel.shape[-1])},
            }
            for path, kernel, width in choose(self.rules, kernels(params), "task.adapters.rules")
        }

    def interceptor(self) -> Interceptor:
        """What changes the layers that have parameters of this adapter."""
        return around(self.name, self._apply)

    def _apply(self, own: Own, module: nn.Module, call: Any, args: Any, kwargs: Any) -> jax.Array:
        _layer(module, type(self).__name__)
        y = call(*args, **kwargs)
        down, up = (jax.tree.map(lambda leaf: leaf.astype(y.dtype), own[name]) for name in ("down", "up"))
        between = jax.nn.gelu(y @ down["kernel"] + _row(down["bias"], y), approximate=False)
        return y + between @ up["kernel"] + _row(up["bias"], y)


def _row(bias: jax.Array, like: jax.Array) -> jax.Array:
    """`bias` [feature] with as many axes as `like`."""
    return bias.reshape(*(1,) * (like.ndim - 1), -1)


def _layer(module: nn.Module, adapter: str) -> nn.Dense | nn.Conv:
    """`module`, if it is a layer that an adapter of one layer goes with."""
    path = "/".join(module.path)
    if not isinstance(module, (nn.Dense, nn.Conv)):
        what = f"{adapter} goes with nn.Dense and nn.Conv, {path} is {type(module).__name__}"
        raise InputError("task.adapters.rules", what, f"a rule before the others gives it 0: ({path!r}, 0)")
    if isinstance(module, nn.Conv) and module.feature_group_count > 1:
        what = f"{adapter} does not go with the groups of the convolution {path}"
        raise InputError("task.adapters.rules", what, f"a rule before the others gives it 0: ({path!r}, 0)")
    return module
