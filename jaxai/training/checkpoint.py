"""Checkpoints by Orbax: asynchronous, atomic, one composite item a step; which are kept is decided by a pure function.

A step holds `state` (the TrainState), `data` (the position of the run in its data) and `meta` (what the loop needs to
go on as if it had never stopped). Orbax is told to keep everything: its own retention deletes the newest step when it
is not the best, and the best one when a metric is nan.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from jax.sharding import SingleDeviceSharding

from jaxai.core import tree
from jaxai.core.errors import InputError, StorageError
from jaxai.experiment.declaration import Best, Checkpoints


@dataclasses.dataclass(frozen=True)
class Restored:
    """What a checkpoint held."""

    state: Any
    position: int
    """Examples that the run had consumed."""
    meta: dict[str, Any]


class Checkpointer:
    """The checkpoints of one run folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        for name in ("orbax", "absl"):
            logging.getLogger(name).setLevel(logging.ERROR)
        options = ocp.CheckpointManagerOptions(
            max_to_keep=None,
            cleanup_tmp_directories=True,
            # Made in the background, folders that cannot be made turn into a hang instead of an error.
            async_options=ocp.AsyncOptions(create_directories_asynchronously=False),
        )
        try:
            handlers = {
                # Weights do not compress, and OCDBT writes them twice: either takes longer than writing them once.
                "state": ocp.PyTreeCheckpointHandler(use_compression=False, use_ocdbt=False),
                "data": ocp.JsonCheckpointHandler(),
                "meta": ocp.JsonCheckpointHandler(),
            }
            self._manager = ocp.CheckpointManager(folder.resolve(), options=options, item_handlers=handlers)
        except OSError as error:
            raise StorageError(str(folder), f"cannot be written: {error.strerror or error}") from error

    def steps(self) -> list[int]:
        """The steps on disk, oldest first."""
        return sorted(self._manager.all_steps())

    def save(self, step: int, state: Any, position: int, meta: Mapping[str, Any]) -> None:
        """Starts saving; returns as soon as the state is copied off the devices."""
        items = ocp.args.Composite(
            state=ocp.args.PyTreeSave(state),
            data=ocp.args.JsonSave({"position": position}),
            meta=ocp.args.JsonSave(dict(meta)),
        )
        self.wait()
        try:
            self._manager.save(step, args=items)
        except OSError as error:
            raise StorageError(str(self.folder), f"step {step} cannot be saved: {error}") from error

    def wait(self) -> None:
        """Until the last save is on disk; raises StorageError if it did not get there."""
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            raise StorageError(str(self.folder), f"the last checkpoint could not be saved: {error}") from error

    def restore(self, step: int, abstract: Any) -> Restored:
        """The checkpoint of `step`, its state with the shapes, dtypes and shardings of `abstract`."""
        with self._reading(step):
            # Small and read first: a truncated checkpoint is known before any array is opened.
            json = ocp.args.JsonRestore()
            texts = self._manager.restore(step, args=ocp.args.Composite(data=json, meta=json))
            position, meta = int(texts["data"]["position"]), dict(texts["meta"])
            saved = self._manager.item_metadata(step)["state"].tree
        _check_shapes(self.folder / str(step), saved, abstract)
        return Restored(self._restore_state(step, abstract), position, meta)

    def restore_params(self, step: int) -> Any:
        """The parameters of `step`, averaged ones where there are any, whatever else was saved; on the first device."""
        sharding = SingleDeviceSharding(jax.devices()[0])
        with self._reading(step):
            saved = self._manager.item_metadata(step)["state"].tree
            abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), saved)
        state = self._restore_state(step, abstract)
        return tree.join(state["ema"] or state["params"], state["frozen"] or {})

    def _restore_state(self, step: int, abstract: Any) -> Any:
        arguments = ocp.checkpoint_utils.construct_restore_args(abstract)
        restore = ocp.args.PyTreeRestore(abstract, restore_args=arguments)
        with self._reading(step):
            return self._manager.restore(step, args=ocp.args.Composite(state=restore))["state"]

    @contextlib.contextmanager
    def _reading(self, step: int) -> Iterator[None]:
        """Whatever Orbax raises about a file that is not what it wrote, as one line naming the checkpoint."""
        try:
            yield
        except Exception as error:
            what = f"is damaged: {_first_line(error)}"
            raise InputError(str(self.folder / str(step)), what, "delete it to use an older one") from error

    def delete_all_but(self, keep: set[int]) -> None:
        """Deletes the other steps on disk."""
        for step in self.steps():
            if step not in keep:
                self._manager.delete(step)

    def close(self) -> None:
        self._manager.close()


def retain(steps: Sequence[int], scores: Mapping[int, float], policy: Checkpoints, best: Best | None) -> set[int]:
    """Which of `steps` to keep: the newest, and the best of those that have a score. Always some of `steps`."""
    keep = set(sorted(steps)[-policy.keep_last :])
    if best is not None:
        scored = [step for step in sorted(steps) if step in scores and scores[step] == scores[step]]
        # Ties go to the earlier step, which is where the early-stopping rule saw the improvement.
        scored.sort(key=lambda step: scores[step], reverse=best.mode == "max")
        keep |= set(scored[: policy.keep_best])
    return keep


def _check_shapes(path: Path, saved: Mapping[str, Any], abstract: Any) -> None:
    theirs = {name: (tuple(x.shape), str(x.dtype)) for name, x in tree.flatten(saved).items()}
    ours = {name: (tuple(x.shape), str(x.dtype)) for name, x in tree.flatten(abstract).items()}
    for name in {**ours, **theirs}:
        if ours.get(name) != theirs.get(name):
            mine, other = (f"{t[name][1]}{list(t[name][0])}" if name in t else "absent" for t in (ours, theirs))
            raise InputError(str(path), f"{name} is {other} in the checkpoint, {mine} in the experiment")


def _first_line(error: BaseException) -> str:
    """What went wrong at the bottom, without the libraries' dumps of their own settings."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).split("[tensorstore_spec", 1)[0].strip().splitlines() or [type(error).__name__]
    return lines[0][:200].strip()
