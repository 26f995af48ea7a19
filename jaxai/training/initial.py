"""Starting from another run's parameters."""

from __future__ import annotations

from pathlib import Path

import jax

from jaxai.core import tree
from jaxai.core.errors import InputError
from jaxai.training.checkpoint import CheckpointFolder
from jaxai.training.folder import read_json
from jaxai.training.state import TrainState


def load_params(state: TrainState, run: Path) -> TrainState:
    """`state` with the parameters of `run`'s best, or else newest, checkpoint; every one must be there and fit."""
    loaded = tree.flatten(_params(run))
    wanted = tree.flatten(tree.join(state.params, state.frozen))
    for what, names in (("lacks", wanted.keys() - loaded.keys()), ("also has", loaded.keys() - wanted.keys())):
        if names:
            raise InputError("start_from", f"{run} {what} the parameter {min(names)} ({len(names)} in all)")
    for name, leaf in wanted.items():
        if leaf.shape != loaded[name].shape:
            raise InputError("start_from", f"{name} is {list(loaded[name].shape)} in {run}, {list(leaf.shape)} here")
    # Copies, because the first step consumes its state: parameters and their average must not share buffers.
    put = lambda path, old: jax.device_put(loaded[path].astype(old.dtype), old.sharding, may_alias=False)  # noqa: E731
    params = tree.map_paths(put, state.params)
    ema = None if state.ema is None else tree.map_paths(put, state.params)
    return state.replace(params=params, frozen=tree.map_paths(put, state.frozen), ema=ema)


def _params(run: Path) -> dict:
    if not (run / "checkpoints").is_dir():
        raise InputError("start_from", f"{run} is no run folder with checkpoints")
    checkpoints = CheckpointFolder(run / "checkpoints")
    return checkpoints.restore_params(chosen_step(run, checkpoints.steps()))


def chosen_step(run: Path, steps: list[int]) -> int:
    """The best step of a finished run, else the newest."""
    if not steps:
        raise InputError(str(run), "has no checkpoint yet")
    results = run / "results.json"
    best = read_json(results).get("best_step") if results.exists() else None
    return best if best in steps else steps[-1]
