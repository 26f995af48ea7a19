"""The first of the two seams: a task says what is learned, and nothing else in the framework knows.

A task is a frozen dataclass with two pure functions, `init` and `loss`, and `predict` where prediction makes sense.
It never divides by the batch: it returns a weighted *sum* and its weight, and the step divides once, by the weight of
the whole batch over all micro-batches and devices. So masks, padding, accumulation and parallelism agree exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax

Batch = Mapping[str, Any]
Variables = Mapping[str, Any]


class Out(NamedTuple):
    """What a loss returns."""

    total: jax.Array
    """Sum of the weighted losses of the examples, scalar."""
    weight: jax.Array
    """Sum of their weights, scalar."""
    model_state: Mapping[str, Any]
    """The updated collections other than `params`, such as `batch_stats`; empty where there are none."""
    metrics: Mapping[str, Any]
    """Metric states by name; all their leaves are sums."""
    outputs: Any = None
    """Whatever the caller may want to look at, such as logits."""


@runtime_checkable
class Task(Protocol):
    """What is learned.

    A batch maps names to arrays with a leading batch dim. It always has `index` [batch], the example's number in its
    source, from which random keys come; in evaluation it also has `mask` [batch], 0 for examples that only pad.

    Optional methods: `predict(variables, inputs) -> outputs`; `embed(variables, inputs) -> [batch, feature]`, what the
    model has made of raw inputs, for probes; `check(variables, batch) -> None`, which may raise InputError about
    concrete host values (labels out of range): it runs on first batches and when training diverges;
    `check_source(source) -> None`, the same about the declared training data, before it is read from;
    `images(batch) -> {name: uint8 [num, height, width, channel]}`, pictures of a host batch for the logs;
    `pictures(variables, batch, key)`, the same of what the model makes of an evaluation's first batch (samples,
    reconstructions, masks): it is compiled, logged after each evaluation and shown by the report.
    """

    def init(self, key: jax.Array, batch: Batch) -> Variables:
        """The variables of the model: `params` and other collections, for batches like `batch`."""
        ...

    def loss(self, variables: Variables, batch: Batch, key: jax.Array, train: bool) -> Out:
        """The weighted sum of losses over `batch`, with metrics."""
        ...
