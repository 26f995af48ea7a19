"""Mergeable metrics: sums on the device, numbers on the host. `metric.py` says what one is."""

from jaxai.metrics.calibration import Calibration
from jaxai.metrics.confusion import Confusion
from jaxai.metrics.mean import Mean, accuracy, top_k_accuracy
from jaxai.metrics.metric import Metric, compute, merge
from jaxai.metrics.overlap import Overlap
from jaxai.metrics.spread import Spread

__all__ = [
    "Calibration",
    "Confusion",
    "Mean",
    "Metric",
    "Overlap",
    "Spread",
    "accuracy",
    "compute",
    "merge",
    "top_k_accuracy",
]
