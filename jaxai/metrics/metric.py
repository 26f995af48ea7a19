"""What a metric is: sums on the device, one division on the host.

A metric's state is a pytree whose leaves are all sums, so merging it over steps, micro-batches and devices
is element-wise addition: `merge` on one device, `jax.lax.psum` over an axis of them. Only `compute`, on the
host, divides.

Counts are kept in int32, exact to 2^31 - 1; a float32 count goes wrong at 2^24, 16.8 million tokens.
Totals of real numbers, such as losses, are float32.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Protocol, TypeVar

import jax
import numpy as np

from jaxai.core.errors import InputError

State = TypeVar("State")


class Metric(Protocol):
    """A pytree of sums that can say what they amount to."""

    def compute(self) -> float | dict[str, float | np.ndarray]:
        """The value on the host: one number, or several by name. Waits for the device."""
        ...


def merge(a: State, b: State) -> State:
    """The sums of two states, or of two trees of states, of the same structure."""
    return jax.tree.map(operator.add, a, b)


def compute(metrics: Mapping[str, Metric]) -> dict[str, float | np.ndarray]:
    """All values in one flat dictionary: a single number under its metric's name, several under their own."""
    values: dict[str, float | np.ndarray] = {}
    for name, metric in metrics.items():
        value = metric.compute()
        for key, item in value.items() if isinstance(value, dict) else [(name, value)]:
            if key in values:
                raise InputError(f"metrics.{name}", f"computes {key!r}, which another metric computes too")
            values[key] = item
    return values
