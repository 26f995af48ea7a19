"""The evaluations of a run: each by its name over its data, and recorded."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import jax

from jaxai.data.pipeline import Reader
from jaxai.training.records import Sink, scalars
from jaxai.training.setup import Setup, check_evaluation


class Evaluations:
    """All evaluations of an experiment, compiled once."""

    def __init__(self, setup: Setup, sink: Sink):
        self._setup, self._sink, self._evaluate = setup, sink, setup.evaluator()

    def __call__(self, variables: Mapping[str, Any], step: int, seconds: Callable[[], float]) -> dict[str, float]:
        """Scalar metrics of all, `{"test/accuracy": 0.98, ...}`; `seconds` tells how long the run has lasted."""
        return {
            f"{name}/{metric}": value
            for name, reader in self._setup.evals.items()
            for metric, value in self._one(name, reader, variables, step, seconds).items()
        }

    def _one(
        self, name: str, reader: Reader, variables: Mapping[str, Any], step: int, seconds: Callable[[], float]
    ) -> dict[str, float]:
        self._sink.display.status(f"evaluating {name}")
        began = time.perf_counter()
        values = self._evaluate(variables, reader.evaluation())
        check_evaluation(self._setup, name, values)
        taken = time.perf_counter() - began
        numbers = scalars(values)
        record = {"step": step, "split": name, **numbers, "seconds": seconds()}
        self._sink.record({**record, "examples_per_second": reader.num_examples / taken})
        self._sink.arrays(step, name, values, reader.classes)
        if self._sink.writers and jax.process_count() == 1:
            batch = next(reader.evaluation())
            self._sink.images(step, name, self._evaluate.pictures(variables, batch))
        return numbers
