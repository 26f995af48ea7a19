"""What every destination of metrics looks like: a file, TensorBoard, Weights & Biases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np


class Writer(Protocol):
    """A destination of records; everything that arrives is a host value.

    A record is a flat mapping: `step`, `split` ("train" or an evaluation's name), `seconds` since the run began,
    `examples_per_second`, of text `tokens_per_second`, on devices of a known peak `mfu` (model FLOPs utilization), and
    one number for each metric.
    """

    def write(self, record: Mapping[str, Any]) -> None:
        """Stores one record."""
        ...

    def confusion(self, step: int, split: str, matrix: np.ndarray, classes: Sequence[str] | None) -> None:
        """Stores counts [true, predicted]."""
        ...

    def images(self, step: int, split: str, name: str, images: np.ndarray) -> None:
        """Stores uint8 images [num, height, width, channel], or [row, column, height, width, channel] for a grid."""
        ...

    def close(self) -> None:
        """Writes what is pending and lets go of files; may be called twice."""
        ...


#: What a record says about itself; every other field is a metric.
RECORD_FIELDS = ("step", "split", "seconds")


def metric_names(record: Mapping[str, Any]) -> list[str]:
    """The fields of a record that are metrics, in its order."""
    return [name for name in record if name not in RECORD_FIELDS]


def headline_names(record: Mapping[str, Any]) -> list[str]:
    """Those that are worth a line on a screen: of several averages of one metric, macro F1 only."""
    return [name for name in metric_names(record) if name == "f1_macro" or not name.endswith(("_macro", "_micro"))]
