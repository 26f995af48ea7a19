"""Checkpoints written: Orbax in the background, then the seal, then what is no longer kept goes.

The loop waits only for the copy off the devices. A step counts as saved once its seal is on disk; a save that fails or
takes too long is known at the loop's next step.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from jaxai.core.errors import InputError, StorageError, leave
from jaxai.experiment.declaration import Checkpoints
from jaxai.training import seal
from jaxai.training.checkpoint import first_line, handler, is_step, quiet_orbax, saved_steps

DAMAGED = "damaged-"
_TEMPORARY = ".orbax-checkpoint-tmp"
_log = logging.getLogger("jaxai")


@dataclasses.dataclass(frozen=True)
class Job:
    """One checkpoint to be written."""

    step: int
    position: int
    fingerprint: Mapping[str, Any]
    meta: Mapping[str, Any]
    experiment: str
    """The digest that goes into the seal."""
    keep: Callable[[list[int]], set[int]]
    """Which of the saved steps to keep once this one is among them."""


class Saver:
    """Writes the checkpoints of one run, one at a time; its owner holds the run's lock."""

    def __init__(self, folder: Path, policy: Checkpoints):
        self.folder, self._policy = folder, policy
        self._primary = jax.process_index() == 0
        self._thread: threading.Thread | None = None
        self._deadline, self._overdue = 0.0, False
        self._failures: collections.deque[StorageError] = collections.deque()
        self._saved: collections.deque[int] = collections.deque()
        quiet_orbax()
        options = ocp.AsyncOptions(
            timeout_secs=int(policy.deadline),
            # Made in the background, folders that cannot be made turn into a hang instead of an error.
            create_directories_asynchronously=False,
        )
        self._orbax = ocp.AsyncCheckpointer(handler(), async_options=options)
        with self._storing("the folder"):
            folder.mkdir(exist_ok=True)
            for above in (folder.absolute().parent, folder.absolute().parent.parent):
                seal.sync_folder(above)
            self._identity = folder.stat()
        if self._primary:
            self._clear()

    def save(self, job: Job, state: Any) -> None:
        """Starts saving, once the save before has ended; returns when the state is copied off the devices."""
        self.wait()
        if self._thread is not None:
            self._overdue = False  # to be said again: this step is not saved either
            return
        items = ocp.args.Composite(
            state=ocp.args.PyTreeSave(state),
            data=ocp.args.JsonSave({"position": job.position, "fingerprint": dict(job.fingerprint)}),
            meta=ocp.args.JsonSave(dict(job.meta)),
        )
        self._deadline = time.monotonic() + self._policy.deadline
        try:
            with self._storing(f"step {job.step:,}"), self._answering(job.step):
                self._check_folder()
                self._orbax.save((self.folder / str(job.step)).absolute(), args=items)
        except StorageError as error:
            self._failures.append(error)
            return
        self._thread = threading.Thread(target=self._finish, args=(job,), name="jaxai save", daemon=True)
        self._thread.start()

    def news(self) -> tuple[list[int], list[StorageError]]:
        """The steps saved, and the failures met, since this was last asked; waits for nothing."""
        if self._thread is None and not self._saved and not self._failures:
            return [], []
        saved = [self._saved.popleft() for _ in range(len(self._saved))]
        failures = [self._failures.popleft() for _ in range(len(self._failures))]
        if self._thread is not None and not self._thread.is_alive():
            self._thread = None
        elif self._thread is not None and not self._overdue and time.monotonic() > self._deadline:
            self._overdue = True
            what = f"the checkpoint under way is not saved after {self._policy.deadline:g} s"
            failures.append(StorageError(str(self.folder), what))
        return saved, failures

    def wait(self) -> None:
        """Until the save under way has ended, or its deadline is over; `news` tells how."""
        if self._thread is not None:
            self._thread.join(max(0.0, self._deadline - time.monotonic()))
            if not self._thread.is_alive():
                self._thread = None

    def set_aside(self, step: int) -> None:
        """Renames a damaged step, so that it neither counts as saved nor stands in the way of being saved again."""
        target = self.folder / f"{DAMAGED}{step}"
        with self._storing(f"step {step:,}"):
            _remove(target)
            (self.folder / str(step)).rename(target)

    def _finish(self, job: Job) -> None:
        path = self.folder / str(job.step)
        try:
            with self._storing(f"step {job.step:,}"):
                self._orbax.wait_until_finished()
                if self._primary:
                    self._check_folder()
                    seal.write(path, step=job.step, position=job.position, experiment=job.experiment, finite=True)
                    self._saved.append(job.step)
                    self._retain(job)
        except StorageError as error:
            self._failures.append(error)
            with contextlib.suppress(OSError):
                self._remove_torn()
                if not (path / seal.NAME).exists():
                    _remove(path)

    def _check_folder(self) -> None:
        """Orbax makes a folder that has vanished anew, and half a checkpoint in it, without a word."""
        if not self.folder.is_dir() or not os.path.samestat(self.folder.stat(), self._identity):
            raise FileNotFoundError("the folder has vanished")

    def _retain(self, job: Job) -> None:
        """Deletes what `job` says is not kept, after the step that replaces it is found whole."""
        steps = saved_steps(self.folder)
        seal.verify(self.folder / str(job.step), contents=False)
        for step in set(steps) - job.keep(steps):
            # Without its seal first: half a folder must not count as a checkpoint.
            (self.folder / str(step) / seal.NAME).unlink()
            seal.sync_folder(self.folder / str(step))
            shutil.rmtree(self.folder / str(step))
        for path in self.folder.glob(f"{DAMAGED}*"):
            name = path.name.removeprefix(DAMAGED)
            if is_step(name) and int(name) <= job.step:
                _remove(path)

    def _clear(self) -> None:
        """Removes what a killed run was about to write or delete; raises InputError where that explains too little."""
        sealed = saved_steps(self.folder)
        unsealed = [int(path.name) for path in self.folder.iterdir() if is_step(path.name)]
        unsealed = sorted(set(unsealed) - set(sealed))
        if not sealed and len(unsealed) > 1:
            # A run that was killed leaves at most one: these were sealed once, or written by something else.
            what = f"the steps {', '.join(map(str, unsealed))} have no seal, and none is good"
            raise InputError(str(self.folder), what, "choose another folder with --run")
        with self._storing("the folder"):
            self._remove_torn()
            for step in unsealed:
                if sealed and step < sealed[-1]:
                    _remove(self.folder / str(step))
                else:
                    path = self.folder / str(step) / seal.NAME
                    _log.warning("jaxai: warning: %s is missing: the step was not saved to its end", path)
                    self.set_aside(step)

    def _remove_torn(self) -> None:
        for path in self.folder.glob(f"*{_TEMPORARY}*"):
            _remove(path)

    @contextlib.contextmanager
    def _answering(self, step: int) -> Iterator[None]:
        """Ends the process at the deadline if storage holds the main thread, which then can do nothing about it."""
        what = f"step {step:,} is not saved after {self._policy.deadline:g} s: the storage does not answer"
        timer = threading.Timer(self._policy.deadline, leave, (StorageError(str(self.folder), what),))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    @contextlib.contextmanager
    def _storing(self, what: str) -> Iterator[None]:
        """Whatever goes wrong while writing, as a StorageError naming the folder."""
        try:
            yield
        except Exception as error:
            raise StorageError(str(self.folder), f"{what} cannot be saved: {first_line(error)}") from error


def _remove(path: Path) -> None:
    """Removes a folder, or what stands in the place of one."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def check_space(folder: Path, num_bytes: int) -> None:
    """Raises StorageError unless there is room for two checkpoints of `num_bytes`: one is written while one is kept."""
    needed = num_bytes * (2 if not saved_steps(folder) else 1)
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        what = f"has {free / 2**20:,.0f} MiB free, its checkpoints need {needed / 2**20:,.0f} MiB"
        raise StorageError(str(folder), what, "free some, or choose another folder with --run")
