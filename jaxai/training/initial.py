"""Values that training starts from instead of the task's own: another run's, or whatever a `Start` gives."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxai.core import tree
from jaxai.core.errors import InputError
from jaxai.core.fields import check_fields
from jaxai.experiment.declaration import Start
from jaxai.training.checkpoint import CheckpointFolder
from jaxai.training.folder import read_json
from jaxai.training.state import TrainState


@dataclasses.dataclass(frozen=True, kw_only=True)
class FromRun:
    """The variables of another run's best, or else newest, checkpoint: `start_from=FromRun(run="runs/simclr", ...)`."""

    run: str
    """The run's folder."""
    rename: tuple[tuple[str, str], ...] = ()
    r"""Ordered (regex, replacement) on the run's paths, as by `re.sub`, such as `(("^encoder/", ""),)`; the first that
    is found in a path changes it."""
    new: tuple[str, ...] = ()
    """Regexes of paths here that start anew, such as `("^head/",)`."""
    unused: tuple[str, ...] = ()
    """Regexes of paths in the run, once renamed, that are left out, such as `("^projector/",)`."""

    def __post_init__(self):
        check_fields(self, "start_from.")

    def load(self, wanted: Mapping[str, Any]) -> tuple[dict[str, np.ndarray], str]:
        """Arrays for the paths of `wanted`, and a line about them; collections of the run alone are passed over."""
        folder = Path(self.run)
        if not (folder / "checkpoints").is_dir():
            raise InputError("start_from", f"{folder} is no run folder with checkpoints")
        checkpoints = CheckpointFolder(folder / "checkpoints")
        step = chosen_step(folder, checkpoints.steps())
        found = {self._renamed(path): leaf for path, leaf in tree.flatten(checkpoints.restore_variables(step)).items()}
        collections = {path.partition("/")[0] for path in wanted}
        there = {path for path in found if path.partition("/")[0] in collections}
        anew = {path for path in wanted if _found(self.new, path)}
        left_out = {path for path in there if _found(self.unused, path)}
        for what, paths in (("lacks", wanted.keys() - anew - there), ("also has", there - left_out - wanted.keys())):
            if paths:
                name = min(paths).partition("/")[2]
                raise InputError("start_from", f"{folder} {what} the parameter {name} ({len(paths)} in all)")
        for path in sorted(wanted.keys() - anew):
            if wanted[path].shape != found[path].shape:
                shapes = f"{list(found[path].shape)} in {folder}, {list(wanted[path].shape)} here"
                raise InputError("start_from", f"{path.partition('/')[2]} is {shapes}")
        line = f"{folder}, step {step:,}: loaded {len(wanted) - len(anew):,}, new {len(anew):,}"
        return {path: np.asarray(found[path]) for path in wanted.keys() - anew}, line

    def _renamed(self, path: str) -> str:
        collection, _, inner = path.partition("/")
        for pattern, replacement in self.rename:
            if re.search(pattern, inner):
                return f"{collection}/{re.sub(pattern, replacement, inner)}"
        return path


def load_start(abstract: TrainState, start: str | Start) -> tuple[Mapping[str, Any], str]:
    """The arrays that `start`, or the run of that name, gives for a state like `abstract`; and a line about them."""
    variables = {"params": tree.join(abstract.params, abstract.frozen), **abstract.model_state}
    wanted = {path: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for path, leaf in tree.flatten(variables).items()}
    return (FromRun(run=start) if isinstance(start, str) else start).load(wanted)


def initialize(state: TrainState, arrays: Mapping[str, Any]) -> TrainState:
    """`state` with `arrays` by path in place of its own variables."""

    def put(path: str, old: jax.Array) -> jax.Array:
        if path not in arrays:
            return old
        # Copies, because the first step consumes its state: parameters and their average must not share buffers.
        return jax.device_put(arrays[path].astype(old.dtype), old.sharding, may_alias=False)

    params = tree.map_paths(lambda path, old: put(f"params/{path}", old), state.params)
    return state.replace(
        params=params,
        frozen=tree.map_paths(lambda path, old: put(f"params/{path}", old), state.frozen),
        model_state=tree.map_paths(put, state.model_state),
        ema=None if state.ema is None else jax.tree.map(jnp.copy, params),
    )


def _found(patterns: tuple[str, ...], path: str) -> bool:
    inner = path.partition("/")[2]
    return any(re.search(pattern, inner) for pattern in patterns)


def chosen_step(run: Path, steps: list[int]) -> int:
    """The best step of a finished run, else the newest."""
    if not steps:
        raise InputError(str(run), "has no checkpoint yet")
    results = run / "results.json"
    best = read_json(results).get("best_step") if results.exists() else None
    return best if best in steps else steps[-1]
