"""Mergeable metrics: sums on the device, numbers on the host. `metric.py` says what one is."""

from jaxai.metrics.confusion import Confusion
from jaxai.metrics.mean import Mean, accuracy, top_k_accuracy
from jaxai.metrics.metric import Metric, compute, merge

__all__ = ["Confusion", "Mean", "Metric", "accuracy", "compute", "merge", "top_k_accuracy"]
