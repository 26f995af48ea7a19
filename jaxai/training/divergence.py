"""What is done about losses, gradients and parameters that are not finite, and about spikes of the loss."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

from jaxai.core.errors import DivergedError
from jaxai.training.checkpoint import Restored
from jaxai.training.keeper import Keeper
from jaxai.training.setup import Setup, check_batch
from jaxai.training.spikes import Spikes


class Divergence:
    """Judges a run as its intervals are told, and finds what it can go back to."""

    def __init__(self, setup: Setup, keeper: Keeper | None, note: Callable[[str], None]):
        self._setup, self._keeper, self._note = setup, keeper, note
        self._policy = setup.experiment.roll_back
        self.bad_since: int | None = None
        """The last step before which the run has to go back to, if it has to."""

    def start(self, step: int, position: int, meta: Mapping[str, Any]) -> None:
        """Goes on from `step`, with the examples from `position` on, and with what `meta` of a checkpoint knows."""
        self._skipped = position - step * self._setup.experiment.train.batch_size
        if self._policy is not None:
            self._spikes = Spikes(self._policy, meta.get("losses", ()), meta.get("rolled_back", 0))

    def meta(self) -> dict[str, Any]:
        """What a checkpoint has to know to be gone back to."""
        if self._policy is None:
            return {}
        return {"losses": list(self._spikes.losses), "rolled_back": self._spikes.num_rolled_back}

    def nonfinite(self, first: int, step: int, count: int) -> None:
        """Finds out why, among batches `first` to `step`: data that cannot be learned from, else divergence."""
        experiment = self._setup.experiment
        for number in range(first, step):
            batch = self._setup.reader.at(self._skipped + number * experiment.train.batch_size)
            check_batch(self._setup, batch, "train")
        if experiment.on_nonfinite == "skip":
            self._note(f"step {step:,}: {count} steps skipped, loss or gradient not finite")
        else:
            self.found(first, step, "loss or gradient")

    def loss(self, first: int, step: int, loss: float) -> None:
        """Judges the mean loss of the steps after `first` up to `step`."""
        if self._setup.experiment.on_nonfinite == "skip" and not math.isfinite(loss):
            return  # all its steps were left out
        if self._policy is not None and self._spikes.seen(loss) and self.bad_since is None:
            self.bad_since = first
            self._note(f"step {step:,}: the loss spiked to {loss:.4g}")

    def found(self, first: int, step: int, what: str) -> None:
        """Marks the steps after `first` as bad where the run can go back; else raises DivergedError."""
        if self._policy is not None:
            self.bad_since = first if self.bad_since is None else self.bad_since
            return
        saved = []
        if self._keeper is not None:
            self._keeper.wait()
            saved = self._keeper.steps()
        kept = f"; the last good checkpoint is step {saved[-1]:,}" if saved else ""
        what = f"{what} became nan or infinite by step {step:,}{kept}"
        raise DivergedError("training", what, "lower the learning rate, or set clip_norm, on_nonfinite or roll_back")

    def last_good(self) -> Restored:
        """The last checkpoint from before `bad_since`; raises DivergedError if there is none, or it came too often."""
        keeper = self._keeper
        assert keeper is not None
        assert self._policy is not None
        keeper.wait()
        keeper.check()
        good = keeper.newest(before=self.bad_since)
        count = self._spikes.num_rolled_back + 1
        if good is None or count > self._policy.at_most:
            why = "no checkpoint to go back to" if good is None else f"it came {count} times"
            what = f"the loss spiked or was not finite after step {self.bad_since:,}, and {why}"
            raise DivergedError("training", what, "lower the learning rate, or save more often")
        self.bad_since = None
        return dataclasses.replace(good, meta={**good.meta, "rolled_back": count})
