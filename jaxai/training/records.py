"""From the metrics of steps to records, without ever making the device wait: they are fetched one interval late."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxai import metrics
from jaxai.core.errors import InputError
from jaxai.log import Display, Writer
from jaxai.training.step import Packed

STARVED = 0.2
"""Share of the time spent waiting for data that is worth a word."""
MEANINGFUL_SECONDS = 0.1
"""Shorter intervals say nothing about shares."""


def scalars(values: Mapping[str, Any]) -> dict[str, float]:
    """The numbers among metric values, the loss first."""
    names = sorted((name for name in values if np.ndim(values[name]) == 0), key=lambda name: name != "loss")
    return {name: float(values[name]) for name in names}


class Sink:
    """All destinations of records as one."""

    def __init__(self, writers: Sequence[Writer], display: Display):
        self.writers, self.display = list(writers), display

    def record(self, record: Mapping[str, Any]) -> None:
        for writer in self.writers:
            writer.write(record)
        self.display.record(record)

    def arrays(self, step: int, split: str, values: Mapping[str, Any], classes: Sequence[str] | None) -> None:
        """Array-valued metrics; those that are square counts are confusion matrices."""
        for writer in self.writers:
            for name, value in values.items():
                if name == "confusion":
                    writer.confusion(step, split, value, classes)

    def images(self, step: int, split: str, named: Mapping[str, np.ndarray]) -> None:
        for writer in self.writers:
            for name, images in named.items():
                writer.images(step, split, name, images)

    def close(self) -> None:
        for writer in self.writers:
            writer.close()


@dataclasses.dataclass
class _Interval:
    """Steps whose metrics make one record."""

    start_step: int
    """Steps taken before the first of them."""
    parts: list[Packed] = dataclasses.field(default_factory=list)
    summed: np.ndarray | None = None
    """Sums of parts already fetched, float64."""
    waited: float = 0.0
    began: float = 0.0
    steps_timed: int = 0
    nonfinite_told: int = 0
    """Steps that were not finite and have been spoken of."""
    looked_until: int = 0
    """Until which step that is known."""
    carried_from: str = ""
    """The checkpoint that held its first sums."""

    @property
    def is_ready(self) -> bool:
        """Whether the device has computed all of its steps."""
        last: Any = self.parts[-1].vector if self.parts else None
        return last is None or last.is_ready()

    def fetch(self) -> np.ndarray | None:
        """The sums, after waiting for the device; raises InputError if a checkpoint's do not go with these."""
        for part in self.parts:
            vector = part.summed()
            if self.summed is not None and self.summed.shape != vector.shape:
                what = f"its interval has {self.summed.size} numbers, a step has {vector.size}"
                raise InputError(self.carried_from, what, "choose another folder with --run")
            self.summed = vector.astype(np.float64) if self.summed is None else self.summed + vector
        self.parts = []
        return self.summed


class TrainingLog:
    """Collects the metrics of training steps and gives them to the sink, one record an interval."""

    def __init__(
        self,
        sink: Sink,
        *,
        batch_size: int,
        seconds_before: float,
        carried: Sequence[float] | None,
        carried_from: str,
        on_nonfinite: Callable[[int, int, int], None],
        on_loss: Callable[[int, int, float], None],
        start_step: int,
        warm_until: int,
        rates: Callable[[float], Mapping[str, float]] = lambda _: {},
    ):
        self._sink, self._batch_size = sink, batch_size
        self._on_nonfinite, self._on_loss, self._rates = on_nonfinite, on_loss, rates
        self._start = time.perf_counter() - seconds_before
        self._structure: Any = None
        self._current = _Interval(start_step, began=time.perf_counter(), looked_until=start_step)
        if carried is not None:
            self._current.summed, self._current.carried_from = np.asarray(carried, np.float64), carried_from
        self._pending: tuple[int, float, _Interval] | None = None
        self._warm_until, self._warned = warm_until, False

    @property
    def interval_start(self) -> int:
        """The step after which the interval under way began."""
        return self._current.start_step

    def seconds(self) -> float:
        """Since the run began, resumed parts included."""
        return time.perf_counter() - self._start

    def add(self, packed: Packed, num_steps: int, waited: float) -> None:
        """The metrics of one dispatch, of `num_steps`, for which the loop waited `waited` seconds for data."""
        interval = self._current
        if self._structure is None:
            # The first call compiled: the clock of throughput starts behind it.
            self._structure = packed.structure
            interval.began = time.perf_counter()
        else:
            interval.steps_timed += num_steps
            interval.waited += waited
        interval.parts.append(packed)

    def pause(self, seconds: float) -> None:
        """Takes time that was not training, such as an evaluation, out of the throughput."""
        self._current.began += seconds

    def cut(self, step: int) -> None:
        """Ends the interval at `step`; fetches and records the one before."""
        self.flush()
        now = time.perf_counter()
        self._pending = (step, now, self._current)
        self._current = _Interval(step, began=now, looked_until=step)

    def flush(self) -> None:
        """Records the interval that has ended and is not recorded yet; waits for the device."""
        if self._pending is None:
            return
        (step, ended, interval), self._pending = self._pending, None
        behind = not interval.is_ready
        sums = interval.fetch()
        if sums is None:
            return
        if behind:  # its last step was sent off long ago, and ended just now
            ended = self._current.began = time.perf_counter()
        values = self._values(sums)
        seconds = max(ended - interval.began, 1e-9)
        record = {"step": step, "split": "train", **values, "seconds": ended - self._start}
        if interval.steps_timed:
            record["examples_per_second"] = interval.steps_timed * self._batch_size / seconds
            record |= self._rates(interval.steps_timed / seconds)
            record["data_wait"] = min(interval.waited / seconds, 1.0)
            if seconds > MEANINGFUL_SECONDS and interval.start_step >= self._warm_until:
                self._warn_starved(step, record["data_wait"])
        if not values["nonfinite_steps"]:
            del record["nonfinite_steps"]
        self._sink.record(record)
        self._tell_nonfinite(interval, step, int(values["nonfinite_steps"]))
        self._on_loss(interval.start_step, step, values["loss"])

    def carry(self, step: int) -> list[float] | None:
        """The sums of the interval under way, for a checkpoint at `step`; waits for the device and checks them."""
        self.flush()
        sums = self._current.fetch()
        if sums is None:
            return None
        if self._structure is not None:
            self._tell_nonfinite(self._current, step, int(self._totals(sums)["nonfinite_steps"].total))
        return sums.tolist()

    def _tell_nonfinite(self, interval: _Interval, step: int, count: int) -> None:
        since, interval.looked_until = interval.looked_until, step
        if count > interval.nonfinite_told:
            interval.nonfinite_told, told = count, interval.nonfinite_told
            self._on_nonfinite(since, step, count - told)

    def _totals(self, sums: np.ndarray) -> dict[str, Any]:
        return Packed(sums, self._structure).unpack()

    def _values(self, sums: np.ndarray) -> dict[str, Any]:
        totals = self._totals(sums)
        return {**scalars(metrics.compute(totals)), "nonfinite_steps": float(totals["nonfinite_steps"].total)}

    def _warn_starved(self, step: int, share: float) -> None:
        if share > STARVED and not self._warned:
            self._warned = True
            self._sink.display.note(
                f"step {step:,}: {share:.0%} of the time is spent waiting for data"
                " (train.cache, train.workers or train.prefetch can help)"
            )
