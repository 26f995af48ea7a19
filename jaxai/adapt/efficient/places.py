"""Where adapters are: their parameters lie in the scope of the module that they change, which is how it is known.

An adapter called `lora` of the module `block0/mlp/dense1` has its parameters at `block0/mlp/dense1/lora/...`. An
interceptor (`flax.linen.intercept_methods`) sees every call of every module, and changes those whose scope has such
parameters. So one rule over paths decides at initialization, whatever parts the task applies, and wherever: within
`remat` or `scan`, under a mapped axis, or in a clone without its head.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn

from jaxai.core import rules, tree
from jaxai.core.errors import InputError

Own = Mapping[str, Any]
"""An adapter's parameters in one place."""
Places = dict[str, dict[str, Any]]
"""An adapter's parameters by path of the module that they change."""
Interceptor = Callable[[Any, tuple[Any, ...], dict[str, Any], nn.module.InterceptorContext], Any]
Apply = Callable[[Own, nn.Module, Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layer:
    """A module with a kernel [*stack, *ins, *outs], as it was when the task made its parameters."""

    path: str
    """Among the task's parameters."""
    kind: type[nn.Module]
    """Its class."""
    within: tuple[type, ...]
    """The classes of the modules that it is part of, from the nearest on."""
    is_linear: bool
    """Whether it is of Flax's kind of layer: linear in its kernel, to which `use_bias` adds a bias."""
    gives_outs: bool
    """Whether it gives an array [..., *outs]."""
    stack: tuple[int, ...] = ()
    """Sizes of the axes that `nn.scan` or `nn.vmap` put first: one layer for each."""
    ins: tuple[int, ...]
    """Sizes of the axes that its input is summed over, and of a convolution's window."""
    outs: tuple[int, ...]
    """Sizes of the axes that it makes."""


class Layers:
    """The interceptor that notes the layers of a model while a task makes its parameters."""

    def __init__(self):
        self.noted: dict[tuple[str, tuple[int, ...]], Layer] = {}
        """By path in the model and shape of the kernel."""

    def __call__(self, call: Any, args: tuple[Any, ...], kwargs: dict[str, Any], context: Any) -> Any:
        given, module = call(*args, **kwargs), context.module
        if context.method_name == "__call__" and module.scope is not None and module.has_variable("params", "kernel"):
            shape, path = module.get_variable("params", "kernel").shape, "/".join(module.path)
            features = getattr(module, "features", 1)
            num_outs = len(features) if isinstance(features, (tuple, list)) else 1
            outs = shape[len(shape) - num_outs :]
            self.noted[path, shape] = Layer(
                path=path,
                kind=type(module),
                within=_within(module),
                is_linear=hasattr(module, "use_bias"),
                gives_outs=getattr(given, "shape", ())[-num_outs:] == outs,
                ins=shape[: len(shape) - num_outs],
                outs=outs,
            )
        return given

    def among(self, params: Mapping[str, Any]) -> dict[str, Layer]:
        """The layers by path of their kernels in a task's `params`, which may have the model deeper inside."""
        found = {}
        for path, leaf in tree.flatten(params).items():
            *parts, name = path.split("/")
            if name != "kernel":
                continue
            for i, j in ((i, j) for i in range(len(parts)) for j in range(len(leaf.shape))):
                layer = self.noted.get(("/".join(parts[i:]), leaf.shape[j:]))
                if layer is not None:
                    found[path] = dataclasses.replace(layer, path="/".join(parts), stack=leaf.shape[:j])
                    break
        return found


def _within(module: nn.Module) -> tuple[type, ...]:
    parent = module.parent
    return (type(parent), *_within(parent)) if isinstance(parent, nn.Module) else ()


def choose(chosen: rules.Rules[int], among: Mapping[str, Layer], field: str) -> list[tuple[Layer, int]]:
    """The layers, with their size, to whose kernel's path the rules give one that is not 0."""
    for pattern, size in chosen:
        if size < 0:
            raise InputError(field, f"rule {pattern!r} must not be negative, is {size}")
    sizes = rules.assign(chosen, dict(among), 0, field)
    return [(among[path], size) for path, size in sizes.items() if size]


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
