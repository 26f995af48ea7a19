"""Checkpoints read: which steps are saved, and the state of one, after its files have been held to its seal.

A step is a folder that Orbax wrote and a seal closed (`saving.py`): `state` (the TrainState), `data` (the position of
the run in its data, and which data) and `meta` (what the loop needs to go on as if it had never stopped).
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from jax.sharding import SingleDeviceSharding

from jaxai.core import tree
from jaxai.core.errors import InputError
from jaxai.experiment.declaration import Best, Checkpoints
from jaxai.training import seal
from jaxai.training.arrays import check_arrays


@dataclasses.dataclass(frozen=True)
class Restored:
    """What a checkpoint held."""

    state: Any
    position: int
    """Examples that the run had consumed."""
    fingerprint: dict[str, Any]
    """Which data they were, and in which order."""
    meta: dict[str, Any]


class CheckpointFolder:
    """The checkpoints of one run; reading changes nothing."""

    def __init__(self, folder: Path, *, verify: bool = True):
        self.folder = folder
        self._verify = verify
        quiet_orbax()
        self._orbax = ocp.Checkpointer(handler())

    def steps(self) -> list[int]:
        """The saved steps, oldest first."""
        return saved_steps(self.folder)

    def check(self, step: int, abstract: Any = None) -> seal.Seal:
        """The seal of `step`; raises InputError, naming the file, unless it is as written and fits `abstract`."""
        path = self.folder / str(step)
        if not path.is_dir():
            raise InputError(str(path), "no such checkpoint", f"saved: {', '.join(map(str, self.steps()))}")
        try:
            sealed = seal.verify(path, contents=self._verify)
        except OSError as error:  # a disk that fails, or a run that is under way and deletes the step
            raise InputError(error.filename or str(path), f"cannot be read: {error.strerror or error}") from error
        for name, (size, _) in sealed.files.items():
            if size > seal.MAX_BYTES and not name.startswith("state/"):
                raise InputError(str(path / name), f"is damaged: it has {size:,} bytes")
        check_arrays(path / "state", abstract)
        return sealed

    def restore(self, step: int, abstract: Any) -> Restored:
        """The checkpoint of `step`, checked before; its state with shapes, dtypes and shardings of `abstract`."""
        json = ocp.args.JsonRestore()
        arguments = ocp.checkpoint_utils.construct_restore_args(abstract)
        items = ocp.args.Composite(state=ocp.args.PyTreeRestore(abstract, restore_args=arguments), data=json, meta=json)
        with self._reading(step) as path:
            found: Any = self._orbax.restore(path, args=items)
            data, meta = found["data"], found["meta"]
            if type(data["position"]) is not int or not 0 <= data["position"] == seal.read(path).position:
                raise ValueError(f"position {data['position']} in data is not the seal's")
            _check_numbers(meta)
            return Restored(found["state"], data["position"], dict(data["fingerprint"]), dict(meta))

    def restore_variables(self, step: int) -> dict[str, Any]:
        """The variables of `step`, with averaged parameters where there are any; on the first device."""
        self.check(step)
        sharding = SingleDeviceSharding(jax.local_devices()[0])
        with self._reading(step) as path:
            described: Any = self._orbax.metadata(path).item_metadata
            saved = described["state"].tree
            abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), saved)
            arguments = ocp.checkpoint_utils.construct_restore_args(abstract)
            items = ocp.args.Composite(state=ocp.args.PyTreeRestore(abstract, restore_args=arguments))
            state = self._orbax.restore(path, args=items)["state"]
            params = tree.join(state["ema"] or state["params"], state["frozen"] or {})
            return {"params": params, **(state["model_state"] or {})}

    @contextlib.contextmanager
    def _reading(self, step: int) -> Iterator[Path]:
        """Whatever Orbax raises about a file that is not what it wrote, as one line naming the checkpoint."""
        path = (self.folder / str(step)).absolute()
        try:
            yield path
        except Exception as error:
            raise InputError(str(path), f"is damaged: {first_line(error)}", "delete it to use an older one") from error


def saved_steps(folder: Path) -> list[int]:
    """The steps in `folder` that have a seal, oldest first."""
    if not folder.is_dir():
        return []
    return sorted(int(path.name) for path in folder.iterdir() if is_step(path.name) and (path / seal.NAME).is_file())


def _check_numbers(meta: Mapping[str, Any]) -> None:
    """Raises an error unless what the loop computes with are numbers."""
    entries = [(entry["step"], *entry["values"].values()) for entry in meta.get("history", [])]
    lists = [meta.get("interval") or [], meta.get("losses") or [], meta.get("times", {}).values(), *entries]
    found = [meta.get("seconds", 0.0), meta.get("rolled_back", 0), *(x for values in lists for x in values)]
    if not all(x is None or type(x) in (int, float) for x in found):
        raise ValueError("meta holds something else where numbers belong")


def is_step(name: str) -> bool:
    """Whether a folder of this name can be a checkpoint."""
    return name.isascii() and name.isdigit() and str(int(name)) == name


def handler() -> ocp.CompositeCheckpointHandler:
    """How the parts of a checkpoint are written and read."""
    return ocp.CompositeCheckpointHandler(
        # Weights do not compress, and OCDBT writes them twice: either takes longer than writing them once.
        state=ocp.PyTreeCheckpointHandler(use_compression=False, use_ocdbt=False),
        data=ocp.JsonCheckpointHandler(),
        meta=ocp.JsonCheckpointHandler(),
    )


def retain(
    steps: Sequence[int],
    scores: Mapping[int, float | None],
    policy: Checkpoints,
    best: Best | None,
    every: int | None = None,
) -> set[int]:
    """Which of `steps` to keep: the newest, the best with a finite score, and the first of each `every` steps."""
    keep = set(sorted(steps)[-policy.keep_last :])
    if best is not None:
        sign = -1 if best.mode == "max" else 1
        scored = [(sign * score, step) for step in steps if (score := scores.get(step)) is not None]
        # Ties go to the earlier step, which is where the early-stopping rule saw the improvement.
        keep |= {step for _, step in sorted(s for s in scored if math.isfinite(s[0]))[: policy.keep_best]}
    # The first of an interval, not its multiple: checkpoints need not fall on one.
    milestones = {step // every: step for step in sorted(steps, reverse=True) if step >= every} if every else {}
    return keep | set(milestones.values())


def quiet_orbax() -> None:
    """What Orbax has to say reaches the user as an error of ours."""
    for name in ("orbax", "absl", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def first_line(error: BaseException) -> str:
    """What went wrong at the bottom, without the libraries' dumps of their own settings."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).split("[tensorstore_spec", 1)[0].strip().splitlines() or [type(error).__name__]
    return lines[0][:200].strip()
