"""The training step, compiled ahead of time as training compiles it: what it needs, does, and says between devices."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax

from jaxai import compat
from jaxai.data.pipeline import Batch, Reader
from jaxai.parallel import Layout
from jaxai.parallel.collectives import Collective, by_kind, collectives
from jaxai.parallel.placing import shard_bytes
from jaxai.training.setup import Setup


@dataclasses.dataclass(frozen=True)
class Compiled:
    """What the compiler says of the training step, for one device."""

    bytes_memory: int
    """All that lives while it runs: what goes in, what comes out elsewhere, and what is temporary."""
    bytes_state: int
    """The state, which is updated in place."""
    bytes_temporary: int
    """Activations, gradients, copies."""
    flops: float
    """Floating-point operations of a step."""
    seconds: float
    """What compiling took, tracing left out."""
    from_cache: bool
    """Whether the program was found in the compilation cache."""
    exchanges: dict[str, tuple[int, int]]
    """(number, bytes) of the exchanges between devices, by kind; what stands in a loop counts once."""
    num_steps: int
    """How many steps the exchanges are those of: more than one where a dispatch has several, one behind the other."""


def compile_step(setup: Setup) -> Compiled:
    """Compiles the program that training will run, without an array of the state's size."""
    compat.enable_compilation_cache()
    lowered, num_steps = _lower(setup)
    hits = _cache_hits()
    began, found = time.perf_counter(), len(hits)
    program = lowered.compile()
    seconds = time.perf_counter() - began
    memory: Any = program.memory_analysis()
    inside = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    cost = program.cost_analysis() or {}
    state = setup.layout.abstract(setup.abstract_state)
    return Compiled(
        bytes_memory=inside + memory.temp_size_in_bytes,
        bytes_state=sum(shard_bytes(leaf) for leaf in jax.tree.leaves(state)),
        bytes_temporary=memory.temp_size_in_bytes,
        flops=float(cost.get("flops", float("nan"))) / num_steps,
        seconds=seconds,
        from_cache=len(hits) > found,
        exchanges=by_kind(exchanges(program)),
        num_steps=num_steps,
    )


def exchanges(program: Any) -> list[Collective]:
    """What devices tell each other in a compiled program."""
    return collectives(program.as_text() or "")


def _lower(setup: Setup) -> tuple[Any, int]:
    """The program of a dispatch, and how many steps stand in it one behind the other."""
    example: Any = _Examples(setup.reader, setup.example)
    layout: Any = _Lowering(setup.layout)
    calls = dataclasses.replace(setup, layout=layout, reader=example).calls()
    lowered: Any = calls(setup.abstract_state, calls.take(setup.experiment.steps_per_call))
    return lowered, calls.num_unrolled


class _Lowering:
    """A layout whose compiled steps, called with shapes, give their program."""

    def __init__(self, layout: Layout):
        self._layout = layout

    def __getattr__(self, name: str) -> Any:
        return getattr(self._layout, name)

    def share(self, data: Any) -> Any:
        canonical = jax.dtypes.canonicalize_dtype
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, canonical(x.dtype)), data)

    def compile_step(self, step: Callable[..., Any], dim: int = 0) -> Callable[..., Any]:
        return lambda state, shared, batch: self._layout.lower_step(step, state, shared, batch, dim)


class _Examples:
    """A reader whose batches are all the same one, so that nothing is read ahead."""

    def __init__(self, reader: Reader, example: Batch):
        self._reader, self._example = reader, example

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    def batches(self, position: int) -> Iterator[Batch]:
        del position
        return itertools.repeat(self._example)


@functools.cache
def _cache_hits() -> list[str]:
    """Grows with every program that JAX finds in its compilation cache."""
    hits: list[str] = []
    jax.monitoring.register_event_listener(
        lambda event, **_: hits.append(event) if event.endswith("/cache_hits") else None
    )
    return hits
