"""A trace of a few steps for xprof, taken once the run is under way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import jax

WARM_CALLS = 3
"""Dispatches before the first one that is traced: they compile, and start threads."""


class Profiler:
    """Traces `num_steps` steps into `folder`, and says where; without a number of steps it does nothing."""

    def __init__(self, num_steps: int | None, folder: Path | None, say: Callable[[str], None]):
        self._left, self._folder, self._say = num_steps, folder, say
        self._calls = 0
        self._first: int | None = None

    def before(self, step: int) -> None:
        """Begins where it is time, before the dispatch of the steps after `step`."""
        self._calls += 1
        if self._left is not None and self._first is None and self._calls > WARM_CALLS:
            self._first = step + 1
            jax.profiler.start_trace(str(self._folder))

    def after(self, step: int, num_steps: int, result: jax.Array) -> None:
        """Ends where enough steps are traced; `result` is of the last of `num_steps` up to `step`."""
        if self._first is None or self._left is None:
            return
        self._left -= num_steps
        if self._left <= 0:
            jax.block_until_ready(result)
            self._end(step)

    def close(self, step: int) -> None:
        """Ends a trace that the run's end cuts short; says so where there was none."""
        if self._left is None:
            return
        if self._first is not None:
            self._end(step)
        else:
            self._say(f"no profile: the run ended within {WARM_CALLS} dispatches")

    def _end(self, step: int) -> None:
        self._left = None
        jax.profiler.stop_trace()
        self._say(f"profile of steps {self._first:,} to {step:,}: xprof --logdir {self._folder}")
