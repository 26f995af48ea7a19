"""Trees of parameters as flat dictionaries of slash-joined paths, and what is done with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

Tree = Any


def path_name(path: tuple[Any, ...]) -> str:
    """`encoder/Dense_0/kernel` for a JAX key path."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def flatten(tree: Tree) -> dict[str, Any]:
    """Leaves by slash-joined path, in tree order."""
    return {path_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def map_paths(fn: Callable[[str, Any], Any], tree: Tree) -> Tree:
    """`fn(path, leaf)` on every leaf."""
    return jax.tree_util.tree_map_with_path(lambda path, leaf: fn(path_name(path), leaf), tree)


def split(tree: Mapping[str, Any], chosen: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Splits nested dictionaries by a tree of booleans into (true leaves, false leaves); empty branches vanish."""
    yes, no = {}, {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yes_part, no_part = split(value, chosen[name])
            if yes_part:
                yes[name] = yes_part
            if no_part:
                no[name] = no_part
        else:
            (yes if chosen[name] else no)[name] = value
    return yes, no


def join(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Undoes `split`."""
    joined = dict(first)
    for name, value in second.items():
        mine = joined.get(name)
        joined[name] = join(mine, value) if isinstance(mine, Mapping) else value
    return joined


def cast(tree: Tree, dtype: Any) -> Tree:
    """Floating-point leaves in `dtype`; others untouched."""
    return jax.tree.map(lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree)


def floating_dtype(tree: Tree) -> Any:
    """The dtype that the floating-point leaves compute in; float32 where there is none."""
    dtypes = {leaf.dtype for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)}
    return jnp.result_type(*dtypes) if dtypes else jnp.float32


def size(tree: Tree) -> int:
    """Number of elements."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def num_bytes(tree: Tree) -> int:
    """Bytes of all leaves; abstract leaves count as if they were there."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
