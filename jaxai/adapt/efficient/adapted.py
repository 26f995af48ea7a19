"""The task around a task whose model is adapted, and where its base comes from."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import Any

import flax.linen as nn
import jax

from jaxai.adapt.efficient.places import Layers, place
from jaxai.core import rng, rules, tree
from jaxai.core.errors import InputError
from jaxai.core.fields import check_fields
from jaxai.tasks.task import Batch, Out, Variables
from jaxai.tasks.wrapper import Wrapper, check_task
from jaxai.training.initial import FromRun


@dataclasses.dataclass(frozen=True, kw_only=True)
class Adapted(Wrapper):
    """Learns what the task inside learns, by adapters of its model, whose code does not change.

    Parameters are `base/...`, the task's; `own/...`, those of them that go with the adapters; and `adapters/...`. With
    `freeze=("^base/",)` the base costs neither gradients nor optimizer memory. Rules of adapters and `own` are over the
    task's own paths, without `base/`. Other collections are where they were.
    """

    task: Any
    """What is learned, such as `Classification`."""
    adapters: tuple[Any, ...] = ()
    """How the model is adapted: `Lora`, `Houlsby`, `Prefix`, `Prompt`; of two at one layer, the first is the inner."""
    own: tuple[str, ...] = ()
    """Regexes of parameters that are trained, saved and exchanged with the adapters, such as `("^head/",)`."""

    def __post_init__(self):
        check_fields(self, "task.")
        check_task(self.task)
        for i, adapter in enumerate(self.adapters):
            if isinstance(adapter, type) or not hasattr(adapter, "interceptor"):
                raise InputError(f"task.adapters.{i}", "is no adapter", "such as Lora(rules=(('attention/', 8),))")
        names = [adapter.name for adapter in self.adapters]
        if len(set(names)) < len(names):
            raise InputError("task.adapters", "two have the same name", "name='...'")

    def init(self, key: jax.Array, batch: Batch) -> Variables:
        layers, adapters = Layers(), {}
        with nn.intercept_methods(layers):
            variables = self.task.init(key, batch)
        params = dict(variables["params"])
        found, names = layers.among(params), {part for path in tree.flatten(params) for part in path.split("/")}
        for i, adapter in enumerate(self.adapters):
            if adapter.name in names:
                raise InputError(f"task.adapters.{i}.name", f"the model has a {adapter.name!r} of its own", "another")
            places = adapter.init(rng.stream(key, adapter.name), found, f"task.adapters.{i}.rules")
            adapters = tree.join(adapters, place(places, adapter.name))
        own = rules.assign(tuple((pattern, True) for pattern in self.own), params, False, "task.own")
        parts = dict(zip(("own", "base"), tree.split(params, own), strict=True), adapters=adapters)
        return {**variables, "params": {name: part for name, part in parts.items() if part}}

    def loss(self, variables: Variables, batch: Batch, key: jax.Array, train: bool) -> Out:
        with self.applied():
            return self.task.loss(self.inner(variables), batch, key, train)

    def inner(self, variables: Variables) -> dict[str, Any]:
        """The variables of the task inside, with the adapters' among them."""
        return {**variables, "params": functools.reduce(tree.join, variables["params"].values(), {})}

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Where a model that is called with `inner(variables)` is adapted: to generate, for example."""
        with contextlib.ExitStack() as stack:
            for adapter in reversed(self.adapters):  # the interceptor entered last is the innermost
                stack.enter_context(nn.intercept_methods(adapter.interceptor()))
            yield

    def __getattr__(self, name: str) -> Any:
        """The inner task's optional method, adapted, or its absence."""
        method = super().__getattr__(name)
        if name in ("images", "check_source"):  # see no variables
            return method

        @functools.wraps(method)
        def adapted(variables: Variables, *args: Any) -> Any:
            with self.applied():
                return method(self.inner(variables), *args)

        return adapted


@dataclasses.dataclass(frozen=True, kw_only=True)
class BaseFrom:
    """What an adapted task's base starts from, as if it were not adapted: `start_from=BaseFrom(start="runs/mlm")`."""

    start: Any
    """A run folder, or a value such as `Pretrained(...)` or `FromRun(...)`, with rules over the task's own paths."""

    def __post_init__(self):
        if not isinstance(self.start, str) and not hasattr(self.start, "load"):
            raise InputError("start_from.start", "is no start", "a run folder, Pretrained(...) or FromRun(...)")

    def load(self, wanted: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
        """Arrays for the paths of `wanted` that are not the adapters', and a line about them."""
        theirs = {}
        for path in wanted:
            collection, _, rest = path.partition("/")
            part, _, inner = rest.partition("/")
            if collection != "params":
                theirs[path] = path
            elif part in ("base", "own"):
                theirs[f"params/{inner}"] = path
        start = FromRun(run=self.start) if isinstance(self.start, str) else self.start
        arrays, line = start.load({path: wanted[mine] for path, mine in theirs.items()})
        return {theirs[path]: array for path, array in arrays.items()}, line
