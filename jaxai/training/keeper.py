"""What keeps a run: its checkpoints taken and found again, and every failure of storage known at the next step."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jaxai.core import tree
from jaxai.core.errors import InputError
from jaxai.experiment.json import short
from jaxai.parallel import distributed
from jaxai.training import history as past
from jaxai.training.checkpoint import CheckpointFolder, Restored, retain
from jaxai.training.folder import decisive
from jaxai.training.lock import Lock
from jaxai.training.saving import Job, Saver, check_space
from jaxai.training.setup import Setup
from jaxai.training.state import TrainState

_log = logging.getLogger("jaxai")


class Keeper:
    """The checkpoints of a run under way, in `folder`, whose lock its caller holds."""

    def __init__(self, folder: Path, setup: Setup, lock: Lock | None, note: Callable[[str], None]):
        experiment = setup.experiment
        self._setup, self._policy, self._lock, self._note = setup, experiment.checkpoint, lock, note
        self._abstract = setup.layout.abstract(setup.abstract_state)
        self._digest = digest(setup.config)
        self._fingerprint = setup.fingerprint()
        every = self._policy.keep_every
        self._keep_every = setup.to_steps(every) if every is not None else None
        self._folder = CheckpointFolder(folder, verify=self._policy.verify)
        if distributed.is_primary():
            check_space(folder, tree.num_bytes(self._abstract))
        self._saver = Saver(folder, self._policy)

    def steps(self) -> list[int]:
        """The saved steps, oldest first."""
        return self._folder.steps()

    def newest(self, before: int | None = None) -> Restored | None:
        """The newest good checkpoint, of at most step `before`; None where there is none yet.

        Damaged ones are named and set aside. Raises InputError if all are damaged, or are of other data.
        """
        step = distributed.from_primary(functools.partial(self._choose, before))
        return self.restore(step) if step is not None else None

    def restore(self, step: int) -> Restored:
        """The checkpoint of `step`, which `newest` or `verified` has found good."""
        restored = self._folder.restore(step, self._abstract)
        return dataclasses.replace(restored, state=self._setup.layout.place(restored.state))

    def verified(self, step: int) -> Restored:
        """The checkpoint of `step`, held to its seal; raises InputError if it is damaged."""
        distributed.from_primary(lambda: self._folder.check(step, self._abstract))
        return self.restore(step)

    def check_data(self, fingerprint: dict[str, Any], resume_anyway: bool) -> None:
        """Raises InputError, naming the field, unless a position in the data still means the same examples."""
        for field, now in self._fingerprint.items():
            before = fingerprint.get(field)
            # The position counts examples, so another batch size goes on with the next one.
            if before != now and not (resume_anyway and field == "train.batch_size"):
                what = f"the checkpoint was trained with {short(before)}, this is {short(now)}"
                raise InputError(field, what, "resume with the same data, or choose another folder with --run")

    def save(
        self,
        step: int,
        state: TrainState,
        position: int,
        history: Sequence[past.Entry],
        meta: Any,
        before: int | None = None,
    ) -> None:
        """Starts saving `state`, whose parameters are finite; keeps the newest of at most step `before` besides."""
        best = self._setup.experiment.best
        scores = past.scores(history, best)

        def keep(steps: list[int]) -> set[int]:
            earlier = [s for s in steps if before is not None and s <= before]
            return retain(steps, scores, self._policy, best, self._keep_every) | set(earlier[-1:])

        job = Job(step, position, self._fingerprint, meta, self._digest, keep)
        self._saver.save(job, self._setup.layout.saveable(state))
        self.check()

    def check(self) -> None:
        """Says what was saved; raises StorageError, or warns, about what failed. For every step: waits for nothing."""
        saved, failures = self._saver.news()
        for step in saved:
            self._note(f"step {step:,}: saved")
        if failures and self._policy.on_failure == "stop":
            raise failures[0]
        for failure in failures:
            _log.warning("jaxai: warning: %s; training goes on, what was saved before is untouched", failure)
            self._note(f"not saved: {failure}")
        if self._lock is not None:
            self._lock.check()

    def wait(self) -> None:
        """Until the save under way has ended."""
        self._saver.wait()

    def forget_after(self, step: int) -> None:
        """Sets aside the checkpoints after `step`, which led to where the run went back from."""
        if distributed.is_primary():
            for later in self.steps():
                if later > step:
                    self._saver.set_aside(later)

    def close(self) -> None:
        """Ends the save under way; raises StorageError if the last one failed, whatever the policy."""
        self._saver.wait()
        saved, failures = self._saver.news()
        for step in saved:
            self._note(f"step {step:,}: saved")
        if failures:
            raise failures[-1]

    def _choose(self, before: int | None) -> int | None:
        """The newest good step; sets the damaged ones after it aside."""
        passed: dict[int, InputError] = {}
        for step in reversed(self.steps()):
            if before is not None and step > before:
                continue
            try:
                if self._folder.check(step, self._abstract).experiment != self._digest:
                    raise InputError(str(self._folder.folder / str(step)), "is a checkpoint of another experiment")
            except InputError as error:
                passed[step] = error
                continue
            for bad, error in passed.items():
                _log.warning("jaxai: warning: step %d is passed over for step %d: %s", bad, step, error)
                self._saver.set_aside(bad)
            return step
        if passed:
            newest = next(iter(passed.values()))
            fix = newest.fix or "no other checkpoint is good; choose another folder with --run"
            raise InputError(newest.field, newest.what, fix)
        return None


def finite(state: TrainState) -> bool:
    """Whether all parameters, their averages and the model's state are finite; waits for the device."""
    return bool(_finite((state.params, state.frozen, state.ema, state.model_state)))


@jax.jit
def _finite(values: Any) -> jax.Array:
    floating = [x for x in jax.tree.leaves(values) if jnp.issubdtype(x.dtype, jnp.inexact)]
    return jnp.all(jnp.array([jnp.all(jnp.isfinite(x)) for x in floating]))


def digest(config: Any) -> str:
    """sha256 of the fields of an encoded experiment that decide what a step computes."""
    return hashlib.sha256(json.dumps(decisive(config), sort_keys=True).encode()).hexdigest()
