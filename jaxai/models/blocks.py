"""Models of many blocks: what each computes again for its gradient, and one compiled in place of all."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxai.core.errors import InputError, did_you_mean

Remat = Literal["none", "full", "dots", "dots_no_batch"]
"""What a block computes again in the backward pass, for less memory (Chen et al. 2016); numbers stay the same.

| | computed again | kept |
|---|---|---|
| "none" | nothing | all that gradients need |
| "full" | all | what the block was given |
| "dots" | the rest | products of matrices, and convolutions |
| "dots_no_batch" | the rest, and products within attention | products with a kernel |
"""
_POLICIES = {
    "full": jax.checkpoint_policies.nothing_saveable,
    "dots": jax.checkpoint_policies.dots_saveable,
    "dots_no_batch": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}
_STACKED, _NUMBERED = "blocks", re.compile(r"block(\d+)")


def remat(target: Any, policy: Remat, **settings: Any) -> Any:
    """A module's class, or a function of one, that computes again what `policy` says; `settings` are of `nn.remat`."""
    if policy == "none":
        return target
    if policy not in _POLICIES:
        raise InputError("remat", f"{policy!r} is unknown", did_you_mean(str(policy), ("none", *_POLICIES)))
    return nn.remat(target, policy=_POLICIES[policy], **settings)


def through(
    make: Callable[..., nn.Module],
    depth: int,
    scan: bool,
    x: jax.Array,
    *arguments: Any,
    drops: tuple[float, ...] = (),
) -> jax.Array:
    """What `depth` blocks `make(name=...)` make of `x`, one after the other: `block(x, *arguments) -> x`.

    They are called `block0`, `block1`, ... With `scan` they are one, `blocks`, that is compiled once and runs in a
    loop; its parameters, and its cache, are [depth, ...]. Each layer draws its initial values and its dropout by
    itself, but from other keys than blocks that have a name each: other numbers of the same distributions. Without
    `remat`, what gradients need is copied into one array for all layers, which takes time. Optimizers that look at
    tensors as a whole (LARS, LAMB) look at all layers at once.

    `drops` are the rates of each block's stochastic depth.
    """
    if not scan:
        for i in range(depth):
            block: Any = make(name=f"block{i}", **({"drop": drops[i]} if drops else {}))
            x = block(x, *arguments)
        return x

    def step(block: Any, x: jax.Array, drop: jax.Array | None) -> tuple[jax.Array, None]:
        return block(x, *arguments, **({} if drop is None else {"drop": drop})), None

    once = nn.scan(
        step,
        variable_axes={"params": 0, "cache": 0},
        split_rngs={"params": True, "dropout": True},
        length=depth,
    )
    return once(make(name=_STACKED), x, jnp.array(drops) if any(drops) else None)[0]


def stacked(variables: Mapping[str, Any]) -> dict[str, Any]:
    """The variables of a model, or a task, whose blocks have a name each, as those of one with `scan`."""
    numbered = {int(match[1]): name for name in variables if (match := _NUMBERED.fullmatch(name))}
    found = {
        name: stacked(node) if isinstance(node, Mapping) else node
        for name, node in variables.items()
        if name not in numbered.values()
    }
    if numbered:
        found[_STACKED] = jax.tree.map(
            lambda *leaves: jnp.stack(leaves), *(variables[numbered[i]] for i in sorted(numbered))
        )
    return found


def unstacked(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Undoes `stacked`."""
    found = {}
    for name, node in variables.items():
        if name == _STACKED:
            depth = len(jax.tree.leaves(node)[0])
            found |= {f"block{i}": jax.tree.map(lambda leaf, i=i: leaf[i], node) for i in range(depth)}
        else:
            found[name] = unstacked(node) if isinstance(node, Mapping) else node
    return found


def unrolled(model: Any, variables: Mapping[str, Any]) -> tuple[Any, Mapping[str, Any]]:
    """A model and its variables without `scan`, for where a loop that takes a layer's parameters out is slower."""
    return (model.clone(scan=False), unstacked(variables)) if getattr(model, "scan", False) else (model, variables)
