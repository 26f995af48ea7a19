"""A watchdog: a step that takes far longer than steps take ends the process, with the stacks of all its threads.

A process whose peer hangs would wait for ever. The device's progress is seen without waiting for it: a thread of its
own asks, twice a second, whether the oldest step that was dispatched has finished.
"""

from __future__ import annotations

import collections
import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

import jax

from jaxai.core.errors import RetryError, leave

POLL_SECONDS = 0.5
TIMES_MEDIAN = 20
SLOW_SECONDS = 1800.0
"""For what happens once and may take long: compiling, evaluating, waiting for storage."""
LINGER_SECONDS = 2.0
"""Among several processes each shows its stacks, the stuck one too, before the first takes the others along."""
_WINDOW = 101


class Watchdog:
    """Watches the steps of a run while entered; a step may take `seconds`, or 20 times the median if that is more."""

    def __init__(self, seconds: float | None, behind: Callable[[], str]):
        self._seconds, self._behind = seconds, behind
        self._phase, self._step, self._since = "", 0, 0.0
        self._dispatched: collections.deque[tuple[Any, float]] = collections.deque()
        self._times: collections.deque[float] = collections.deque(maxlen=_WINDOW)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="jaxai watchdog", daemon=True)

    def __enter__(self) -> Watchdog:
        if self._seconds is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def phase(self, name: str) -> None:
        """What the main thread does from now on: `step`, something slow, or nothing that is watched: the empty text."""
        self._phase, self._since = name, time.monotonic()

    def dispatched(self, step: int, result: jax.Array) -> None:
        """Step number `step` is under way and ends when `result` is there."""
        self._step, self._since = step, time.monotonic()
        if self._seconds is not None:
            self._dispatched.append((result, self._since))

    def _watch(self) -> None:
        assert self._seconds is not None
        progressed = time.monotonic()
        while not self._over.wait(POLL_SECONDS):
            now, finished = time.monotonic(), 0
            while self._dispatched and self._dispatched[0][0].is_ready():
                self._dispatched.popleft()
                finished += 1
            if finished:
                self._times.append((now - progressed) / finished)
                progressed = now
            phase, since = self._phase, self._since
            if phase != "step":
                progressed = now  # what is not training does not count as a step's time
            if not phase:
                continue
            if self._dispatched and phase == "step":
                since = max(self._dispatched[0][1], progressed)
            limit = max(self._seconds, TIMES_MEDIAN * statistics.median(self._times) if self._times else 0.0)
            limit = limit if phase == "step" else max(limit, SLOW_SECONDS)
            if now - since > limit:
                self._bark(phase, now - since)

    def _bark(self, phase: str, seconds: float) -> None:
        doing = f"step {self._step:,}" if phase == "step" else f"{phase} at step {self._step:,}"
        behind = self._behind()
        waits = f"; waiting for {behind}" if behind else ""
        error = RetryError("watchdog", f"{doing} has taken {seconds:.0f} s{waits}", "the stacks of all threads follow")
        leave(error, stacks=True, after=LINGER_SECONDS if behind else 0.0)
