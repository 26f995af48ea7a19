"""When a loss is a spike: against the median and the spread of the intervals before it."""

from __future__ import annotations

import collections
import math
import statistics
from collections.abc import Iterable

from jaxai.experiment.declaration import RollBack

#: The median of absolute deviations times this is the standard deviation of a normal distribution.
_MAD_TO_SIGMA = 1.4826
#: Losses that barely vary make any change look like a spike: a spread of less than this share of the median is not one.
_LEAST_SPREAD = 0.05


class Spikes:
    """The losses of the last intervals, and whether the next one is out of line."""

    def __init__(self, policy: RollBack, losses: Iterable[float] = (), num_rolled_back: int = 0):
        self.policy, self.num_rolled_back = policy, num_rolled_back
        self.losses: collections.deque[float] = collections.deque(losses, maxlen=policy.window)

    def seen(self, loss: float) -> bool:
        """Whether `loss` is a spike; if not, it becomes one of those that later ones are compared with."""
        if not math.isfinite(loss):
            return True
        if len(self.losses) >= max(self.policy.window // 4, 2):
            median = statistics.median(self.losses)
            spread = _MAD_TO_SIGMA * statistics.median(abs(x - median) for x in self.losses)
            limit = median + self.policy.deviations * max(spread, _LEAST_SPREAD * abs(median))
            # Twice as far out as any before it: losses with a long tail have far ones now and then.
            if loss > max(limit, 2 * max(self.losses) - median):
                return True
        self.losses.append(loss)
        return False
