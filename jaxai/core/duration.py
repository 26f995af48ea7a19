"""Durations that say their unit: `Steps(500)`, `Epochs(12)`, `Examples(1_000_000)`, `Minutes(10)`."""

from __future__ import annotations

import dataclasses
import math
import re

from jaxai.core.errors import InputError


@dataclasses.dataclass(frozen=True)
class Duration:
    """An amount of training in one unit; never a bare number."""

    count: float

    unit = ""

    def __post_init__(self):
        if not (isinstance(self.count, (int, float)) and math.isfinite(self.count) and self.count > 0):
            raise InputError(type(self).__name__, f"must be a number above 0, not {self.count!r}")

    def __str__(self) -> str:
        return f"{int(self.count) if self.count % 1 == 0 else float(self.count)!r}{self.unit}"

    def steps(self, batch_size: int, num_examples: int) -> int:
        """The number of steps this comes to, rounded up, for `num_examples` of training data."""
        del batch_size, num_examples
        raise InputError(str(self), "does not come to a number of steps", "use steps, epochs or examples")


class Steps(Duration):
    """Optimizer steps."""

    unit = "steps"

    def steps(self, batch_size: int, num_examples: int) -> int:
        del batch_size, num_examples
        return math.ceil(self.count)


class Epochs(Duration):
    """Passes over the training data; fractions are allowed."""

    unit = "epochs"

    def steps(self, batch_size: int, num_examples: int) -> int:
        return math.ceil(self.count * num_examples / batch_size)


class Examples(Duration):
    """Training examples seen."""

    unit = "examples"

    def steps(self, batch_size: int, num_examples: int) -> int:
        del num_examples
        return math.ceil(self.count / batch_size)


class Minutes(Duration):
    """Wall-clock time; only for when to save."""

    unit = "minutes"


UNITS = {cls.unit: cls for cls in (Steps, Epochs, Examples, Minutes)}


def parse(text: str) -> Duration:
    """`500steps`, `12epochs`, `1e6examples` or `10minutes` (a space and the singular are allowed)."""
    match = re.fullmatch(r"\s*([\d_.]+(?:e[+-]?\d+)?)\s*([a-z]+?)s?\s*", text.lower())
    unit = f"{match[2]}s" if match else ""
    try:
        count = float(match[1]) if match else math.nan
    except ValueError:
        count = math.nan
    if unit not in UNITS or math.isnan(count):
        raise InputError(repr(text), "is not a duration", "such as 500steps, 12epochs, 1e6examples, 10minutes")
    return UNITS[unit](int(count) if count == int(count) else count)
