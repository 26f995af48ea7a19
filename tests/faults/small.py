"""A run that trains in a second, for tests that break it, its folder or the machine under it."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

import jaxai
from jaxai import optim
from jaxai.core import tree
from jaxai.data.source import Arrays
from jaxai.models import MLP
from jaxai.tasks import Classification

STEPS = (3, 6, 9)
"""At which the run is saved."""


def make_experiment(**fields: Any) -> jaxai.Experiment:
    """Nine steps, saved at every third and all kept."""
    rng = np.random.default_rng(0)
    source = Arrays({"image": rng.integers(0, 255, (50, 4, 4, 1), np.uint8), "label": rng.integers(0, 3, 50)})
    base = jaxai.Experiment(
        task=Classification(model=MLP(features=(8,), num_classes=3)),
        train=jaxai.Pipeline(source=source, batch_size=12),
        evals={"test": jaxai.Pipeline(source=source, batch_size=12)},
        optimizer=optim.adam(1e-2),
        duration=jaxai.Steps(9),
        evaluate_every=jaxai.Steps(3),
        log_every=jaxai.Steps(2),
        checkpoint=jaxai.Checkpoints(every=jaxai.Steps(3), keep_last=9),
        ema=0.9,
        parallel=jaxai.PMap(devices=1),
    )
    return dataclasses.replace(base, **fields)


def train(folder: Path, **fields: Any) -> dict[int, dict[str, bytes]]:
    """Trains in `folder`; gives the state that the run had at the steps it saved."""
    states = {}
    for info in jaxai.steps(make_experiment(**fields), folder):
        if info.step in STEPS:
            states[info.step] = bits(info.state)
    return states


def bits(state: Any) -> dict[str, bytes]:
    """Every leaf's shape, type and bytes, by path."""
    arrays = {name: np.asarray(jax.device_get(leaf)) for name, leaf in tree.flatten(state).items()}
    return {name: f"{a.shape}{a.dtype}".encode() + a.tobytes() for name, a in arrays.items()}


def contents(folder: Path) -> dict[str, str]:
    """What everything below `folder` is, by path: the digest of a file, the target of a link."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            found[str(path.relative_to(folder))] = f"link {path.readlink()}"
        elif path.is_file():
            found[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def run(folder: str, gate: str | None, options: dict[str, Any]) -> int:
    """A job for `processes.Starter`: `jaxai train` of this experiment, with these fields of `Checkpoints`.

    With a `gate`, a named pipe, it first waits until somebody has written to it.
    """
    from jaxai import __main__

    if gate is not None:
        with Path(gate).open() as file:
            file.read()
    if "stuck" in options:
        _get_stuck(options.pop("stuck"))
    file = Path(f"{folder}_experiment.py")
    file.write_text(f"from tests.faults.small import saving\n\n\ndef get_config():\n    return saving(**{options!r})\n")
    sys.argv = ["jaxai", "train", str(file), "--run", folder, "--display", "plain"]
    return __main__.main()


def saving(*, steps: int = 9, **options: Any) -> jaxai.Experiment:
    """The experiment with other fields of `Checkpoints`."""
    checkpoint = jaxai.Checkpoints(every=jaxai.Steps(3), **{"keep_last": 9, **options})
    return make_experiment(duration=jaxai.Steps(steps), checkpoint=checkpoint)


def _get_stuck(where: str) -> None:
    """From the second checkpoint on, writing the seal, or a file of Orbax, or Orbax's copying takes an hour."""
    from orbax.checkpoint import AsyncCheckpointer, JsonCheckpointHandler

    from jaxai.training import seal

    begun: list[Any] = []
    write, save, copy = seal.write, JsonCheckpointHandler._save_fn, AsyncCheckpointer.save

    def wait(first: int, what: Any) -> None:
        begun.append(what)
        if len(begun) > first:
            os.write(2, b"begins to wait\n")
            time.sleep(3600)

    def stuck_write(folder: Path, **facts: Any) -> None:
        wait(1, folder)
        write(folder, **facts)

    async def stuck_save(*arguments: Any) -> None:
        wait(2, arguments)
        await save(*arguments)

    def stuck_copy(*arguments: Any, **options: Any) -> None:
        wait(1, arguments)
        copy(*arguments, **options)

    if where == "seal":
        seal.write = stuck_write
    elif where == "main thread":
        AsyncCheckpointer.save = stuck_copy
    else:
        JsonCheckpointHandler._save_fn = stuck_save


def until(condition: Callable[[], Any], case: Callable[[], str] = str, seconds: float = 60) -> Any:
    """What `condition` gives once it is true; fails after `seconds`, saying what `case` gives."""
    over = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < over, f"waited {seconds:g} s in vain: {case()}"
        time.sleep(0.005)
    return value
