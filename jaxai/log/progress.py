"""Where a run stands: what the live displays draw, several times a second, from another thread than the loop's."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from jaxai.log import format
from jaxai.log.writer import headline_names

COMPILING, FINISHED = "compiling", "finished"

ASIDE = {"mfu": "MFU", "data_wait": "data wait", "learning_rate": "lr", "gradient_norm": "grad norm"}
"""Metrics of training alone, by short name: shown in the footer, not in the table."""


class Progress:
    """The state behind a live display. The loop only assigns; reading threads never see a half-made value."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self.begin("", 0, 0)

    def begin(self, title: str, start_step: int, total_steps: int) -> None:
        """Starts over for a run of `total_steps` that is already at `start_step`."""
        self.title, self.step, self.total = title, start_step, total_steps
        self.state, self.compile_seconds = "", 0.0
        self.latest: dict[str, Mapping[str, Any]] = {}
        self._start_step, self._since = start_step, self._clock()
        self._anchor: tuple[float, int] | None = None

    def status(self, text: str) -> None:
        """Changes what the run is doing; the time spent in `compiling` adds up to the compile time."""
        now = self._clock()
        if self.state == COMPILING:
            self.compile_seconds += now - self._since
        self.state, self._since = text, now

    def record(self, record: Mapping[str, Any]) -> None:
        """Makes `record` the latest of its split."""
        self.latest = {**self.latest, str(record["split"]): dict(record)}

    @property
    def fraction(self) -> float:
        """Share of the steps done, 0 to 1."""
        return min(self.step / self.total, 1.0) if self.total else 0.0

    def seconds_left(self) -> float | None:
        """Estimate from the steps since the first one seen, so that compiling the first does not count."""
        now, step = self._clock(), self.step
        if step == self._start_step or self.state == FINISHED:
            return None
        if self._anchor is None:
            self._anchor = (now, step)
        since, anchor_step = self._anchor
        if step == anchor_step:
            return None
        return (now - since) / (step - anchor_step) * max(self.total - step, 0)

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Headings and one row a split: its name, its step, its metrics; training first."""
        splits = sorted(self.latest, key=lambda split: split != "train")
        names = list(dict.fromkeys(name for split in splits for name in headline_names(self.latest[split])))
        names = [name for name in names if name not in ASIDE]
        rows = []
        for split in splits:
            record = self.latest[split]
            cells = [format.value(name, record[name]) if name in record else "" for name in names]
            rows.append([split, f"{record['step']:,}", *cells])
        return ["", "step", *map(format.label, names)], rows

    def doing(self) -> str:
        """What the run is doing, and for how long where that is compiling."""
        if self.state == COMPILING:
            return f"{self.state} {format.clock(self._clock() - self._since)}"
        return self.state

    def footer(self) -> list[str]:
        """Compile time and what training says about itself."""
        train = self.latest.get("train", {})
        parts = [f"compiled in {format.duration(self.compile_seconds)}"] if self.compile_seconds else []
        return parts + [f"{short} {format.value(name, train[name])}" for name, short in ASIDE.items() if name in train]
