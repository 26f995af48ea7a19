"""The evaluations of a run so far, and what follows from them: the best step, and whether patience is over."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from jaxai.experiment.declaration import Best, Experiment


@dataclasses.dataclass(frozen=True)
class Entry:
    """All evaluations of the state after `step` steps."""

    step: int
    values: Mapping[str, float]
    """Such as `{"test/accuracy": 0.98}`."""


def latest(history: Sequence[Entry]) -> Mapping[str, float]:
    """The values of the last evaluation."""
    return history[-1].values if history else {}


def scores(history: Sequence[Entry], best: Best | None) -> dict[int, float]:
    """The value of the metric that counts, by step."""
    return {} if best is None else {e.step: e.values[best.metric] for e in history if best.metric in e.values}


def best(history: Sequence[Entry], by: Best | None) -> int | None:
    """The step of the best evaluation, the earliest of equals; None where there is none."""
    step, value = None, None
    for candidate, score in scores(history, by).items():
        if by is not None and by.improves(score, value):
            step, value = candidate, score
    return step


def patience_over(history: Sequence[Entry], experiment: Experiment) -> bool:
    """Whether the last `patience` evaluations brought no improvement of more than `min_delta`."""
    by, stopping = experiment.best, experiment.early_stopping
    if by is None or stopping is None:
        return False
    value, waited = None, 0
    for score in scores(history, by).values():
        if by.improves(score, value, stopping.min_delta):
            value, waited = score, 0
        else:
            waited += 1
    return waited >= stopping.patience


def to_json(history: Sequence[Entry]) -> list[dict[str, Any]]:
    """As strict JSON: what is not finite becomes null."""
    return [
        {"step": e.step, "values": {k: v if math.isfinite(v) else None for k, v in e.values.items()}} for e in history
    ]


def from_json(data: Sequence[Mapping[str, Any]]) -> list[Entry]:
    """Undoes `to_json`."""
    return [Entry(int(e["step"]), {k: math.nan if v is None else v for k, v in e["values"].items()}) for e in data]
