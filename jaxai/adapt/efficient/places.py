"""Where adapters are: their parameters lie in the scope of the module that they change, which is how it is known.

An adapter called `lora` of the module `block0/mlp/dense1` has its parameters at `block0/mlp/dense1/lora/...`. An
interceptor (`flax.linen.intercept_methods`) sees every call of every module, and changes those whose scope has such
parameters. So one rule over paths decides at initialization, whatever parts the task applies, and wherever: within
`remat`, under a mapped axis, or in a clone without its head.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax

from jaxai.core import rules, tree
from jaxai.core.errors import InputError

Own = Mapping[str, Any]
"""An adapter's parameters in one place."""
Places = dict[str, dict[str, Any]]
"""An adapter's parameters by path of the module that they change."""
Interceptor = Callable[[Any, tuple[Any, ...], dict[str, Any], nn.module.InterceptorContext], Any]
Apply = Callable[[Own, nn.Module, Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]


def kernels(params: Mapping[str, Any], pattern: str = r"(.*)/kernel") -> dict[str, tuple[str, jax.Array]]:
    """(module, kernel) by path of the kernels whose whole path is `pattern`, in which the module is a group."""
    matches = ((re.fullmatch(pattern, path), leaf) for path, leaf in tree.flatten(params).items())
    return {match[0]: (match[1], leaf) for match, leaf in matches if match}


def choose(chosen: rules.Rules[int], among: dict[str, tuple[str, jax.Array]], field: str) -> list[tuple[str, Any, int]]:
    """(module, kernel, size) of those `among` kernels to which the rules give a size that is not 0."""
    for pattern, size in chosen:
        if size < 0:
            raise InputError(field, f"rule {pattern!r} must not be negative, is {size}")
    sizes = rules.assign(chosen, {path: kernel for path, (_, kernel) in among.items()}, 0, field)
    return [(*among[path], size) for path, size in sizes.items() if size]


def place(places: Places, name: str) -> dict[str, Any]:
    """The parameters of the adapter called `name` as a tree, to be joined with the base's."""
    placed: dict[str, Any] = {}
    for path, own in places.items():
        node = placed
        for part in path.split("/"):
            node = node.setdefault(part, {})
        node[name] = own
    return placed


def placed(params: Mapping[str, Any], name: str, path: str = "") -> Places:
    """Undoes `place` in a tree of the parameters of several adapters."""
    found: Places = {}
    for part, node in params.items():
        if part == name:
            found[path.removesuffix("/")] = node
        elif isinstance(node, Mapping):
            found |= placed(node, name, f"{path}{part}/")
    return found


def around(name: str, apply: Apply, method: str = "__call__") -> Interceptor:
    """The interceptor by which `apply(own, module, call, args, kwargs)` is what a module that has `name` gives."""

    def intercept(call: Any, args: tuple[Any, ...], kwargs: dict[str, Any], context: Any) -> Any:
        module = context.module
        if context.method_name != method or module.scope is None or not module.has_variable("params", name):
            return call(*args, **kwargs)
        return apply(module.get_variable("params", name), module, call, args, kwargs)

    return intercept
