"""Evaluation: every example exactly once, sums on the device, one division at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxai import forms, metrics
from jaxai.core import rng, tree
from jaxai.parallel import Layout
from jaxai.parallel.tree_sum import num_virtual_shards, tree_sum
from jaxai.training.traces import tracing

Values = dict[str, float | np.ndarray]


class Evaluator:
    """The compiled evaluation of a task; its batch sizes are compiled once each."""

    def __init__(
        self,
        task: Any,
        layout: Layout,
        *,
        seed: int,
        precision: str,
        reproducible: bool = False,
        choice: forms.Forms = "fast",
    ):
        self._measure = make_eval_step(task, seed, precision, layout.for_use)
        self._pictures = None
        if hasattr(task, "pictures"):
            key = rng.step_key(seed, "pictures", 0)  # the same at each evaluation, so that progress shows
            pictures = jax.jit(lambda variables, batch: task.pictures(variables, batch, key))
            self._pictures = forms.using(choice, pictures)
        self._axis, self._reproducible, self._num_devices = layout.axis, reproducible, layout.num_shards
        self._compiled = forms.using(choice, layout.compile_evaluation(self._step))

    def pictures(self, variables: Mapping[str, Any], batch: Any) -> dict[str, np.ndarray]:
        """What the task makes of a batch for people to look at; none where it has no `pictures`."""
        if self._pictures is None:
            return {}
        with tracing("task.pictures"):
            return jax.device_get(self._pictures(variables, batch))

    def names(self, variables: Mapping[str, Any], batch: Any) -> list[str]:
        """The names of the metrics, without computing any."""
        return list(metrics.compute(self._zeros(variables, batch)))

    def __call__(self, variables: Mapping[str, Any], batches: Iterable[Any]) -> Values:
        """All metrics over `batches`, which carry a `mask`; waits for the device at the end only."""
        sums = None
        for batch in batches:
            if sums is None:
                sums = self._zeros(variables, batch)
            sums = self._compiled(variables, batch, sums)
        return metrics.compute(jax.device_get(sums)) if sums is not None else {}

    def _zeros(self, variables: Mapping[str, Any], batch: Any) -> Any:
        return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), jax.eval_shape(self._measure, variables, batch))

    def _step(self, variables: Mapping[str, Any], batch: Any, sums: Any) -> Any:
        if self._reproducible:
            size = next(iter(batch.values())).shape[0] * (self._num_devices if self._axis else 1)
            shards = num_virtual_shards(size, self._num_devices, "evals")
            measured = tree_sum(
                lambda part: self._measure(variables, part), batch, shards, self._axis, self._num_devices
            )
        else:
            measured = self._measure(variables, batch)
            measured = jax.lax.psum(measured, self._axis) if self._axis else measured
        return metrics.merge(sums, measured)


def make_eval_step(
    task: Any, seed: int, precision: str, for_use: Callable[[Any], Any] | None = None
) -> Callable[[Mapping[str, Any], Any], dict[str, Any]]:
    """The function `(variables, batch) -> metric states` with the loss among them, summed over the batch."""

    def step(variables: Mapping[str, Any], batch: Any) -> dict[str, Any]:
        params = tree.cast(variables["params"], jnp.dtype(precision))
        params = params if for_use is None else for_use(params)
        with tracing("task.loss"):
            out = task.loss({**variables, "params": params}, batch, rng.step_key(seed, "evaluate", 0), train=False)
        return {"loss": metrics.Mean(out.total, out.weight), **out.metrics}

    return step
