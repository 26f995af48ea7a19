"""Where the time of a run goes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping

from jaxai.log import format

PARTS = ("compile", "data", "evaluation", "checkpoint")
"""What is timed by itself; the rest are steps."""


class Times:
    """Seconds by part, resumed parts of the run included. What is timed within a part counts as that part alone."""

    def __init__(self, before: Mapping[str, float] | None = None):
        self._spent = {part: float((before or {}).get(part, 0.0)) for part in PARTS}

    def add(self, part: str, seconds: float) -> None:
        self._spent[part] += seconds

    @contextlib.contextmanager
    def of(self, part: str) -> Iterator[None]:
        """Adds what happens meanwhile, less what others have added."""
        began, others = time.perf_counter(), sum(self._spent.values())
        try:
            yield
        finally:
            self.add(part, time.perf_counter() - began - (sum(self._spent.values()) - others))

    def split(self, total: float) -> dict[str, float]:
        """Seconds of each part of `total`; what is left are the steps."""
        return {**self._spent, "steps": max(total - sum(self._spent.values()), 0.0)}


def described(split: Mapping[str, float]) -> str:
    """`compile 3.1 s, data 0.2 s, steps 20.1 s`: the parts that took any time, in the order of `PARTS`."""
    return ", ".join(f"{part} {format.duration(seconds)}" for part, seconds in split.items() if seconds >= 0.05)
