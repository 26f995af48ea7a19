"""Evaluation: every example exactly once, sums on the device, one division at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxai import metrics
from jaxai.core import rng, tree
from jaxai.parallel import Layout
from jaxai.tasks.task import Task

Values = dict[str, float | np.ndarray]


class Evaluator:
    """The compiled evaluation of a task; its batch sizes are compiled once each."""

    def __init__(self, task: Task, layout: Layout, *, seed: int, precision: str):
        self._step = make_eval_step(task, seed, precision, layout.axis)
        self._measure = make_eval_step(task, seed, precision, None)
        self._compiled = layout.compile_evaluation(lambda v, batch, sums: metrics.merge(sums, self._step(v, batch)))

    def names(self, variables: Mapping[str, Any], batch: Any) -> list[str]:
        """The names of the metrics, without computing any."""
        shapes = jax.eval_shape(self._measure, variables, batch)
        return list(metrics.compute(jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)))

    def __call__(self, variables: Mapping[str, Any], batches: Iterable[Any]) -> Values:
        """All metrics over `batches`, which carry a `mask`; waits for the device at the end only."""
        sums = None
        for batch in batches:
            if sums is None:
                shapes = jax.eval_shape(self._measure, variables, batch)
                sums = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
            sums = self._compiled(variables, batch, sums)
        return metrics.compute(jax.device_get(sums)) if sums is not None else {}


def make_eval_step(
    task: Task, seed: int, precision: str, axis: str | None
) -> Callable[[Mapping[str, Any], Any], dict[str, Any]]:
    """The function `(variables, batch) -> metric states` with the loss among them, summed over `axis`."""

    def step(variables: Mapping[str, Any], batch: Any) -> dict[str, Any]:
        params = tree.cast(variables["params"], jnp.dtype(precision))
        out = task.loss({**variables, "params": params}, batch, rng.step_key(seed, "evaluate", 0), train=False)
        sums = {"loss": metrics.Mean(out.total, out.weight), **out.metrics}
        return jax.lax.psum(sums, axis) if axis else sums

    return step
