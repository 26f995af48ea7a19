"""`train` and `steps`: an experiment, a folder, and everything a person sees while it runs."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxai import compat
from jaxai.core.errors import InputError
from jaxai.experiment.declaration import Experiment
from jaxai.experiment.json import encode
from jaxai.log import JsonlWriter, Writer, make_display
from jaxai.parallel import distributed
from jaxai.parallel.distributed import is_primary
from jaxai.training import folder as run_folder
from jaxai.training import history as past
from jaxai.training.lock import Lock
from jaxai.training.loop import Loop, Step

_log = logging.getLogger("jaxai")


@dataclasses.dataclass(frozen=True)
class Result:
    """What a run came to."""

    status: str
    """`finished`, `stopped early` or `interrupted`."""
    step: int
    """Steps taken."""
    variables: Any
    """The best weights where `Experiment.best` says so, else the last: `task.predict(result.variables, inputs)`."""
    metrics: Mapping[str, float]
    """The evaluation of those weights, such as `{"test/accuracy": 0.98}`."""
    best_step: int | None
    """The step that those weights come from, where there is a best."""
    history: Sequence[past.Entry]
    """All evaluations, oldest first."""
    seconds: float
    """Time spent, resumed parts included."""
    folder: Path | None
    """Where the run lies."""
    times: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """Seconds of these spent compiling, waiting for data, taking steps, evaluating and saving."""
    num_recompiled: int = 0
    """How often the step was compiled anew since the run was last started."""
    signal: int | None = None
    """The signal that interrupted the run, if one did."""


def steps(
    experiment: Experiment,
    folder: str | Path | None = None,
    *,
    display: str = "none",
    resume_anyway: bool = False,
) -> Iterator[Step]:
    """Trains step by step: `for info in jaxai.steps(experiment)`; with a folder, saved and resumed as `train` does."""
    with _loop(experiment, folder, display=display, resume_anyway=resume_anyway) as loop:
        yield from loop.steps()


def train(
    experiment: Experiment,
    folder: str | Path | None = None,
    *,
    display: str = "auto",
    writers: Sequence[Writer] = (),
    source: Path | None = None,
    resume_anyway: bool = False,
    wandb: str | None = None,
    watchdog: float | None = None,
    profile: int | None = None,
) -> Result:
    """Trains an experiment to its end, or from where `folder` has it to its end.

    `folder` takes checkpoints, metrics and results; without one nothing is written. `display` is auto, rich, plain,
    notebook or none; `wandb` a Weights & Biases project; `source` the experiment's file, kept with the run. `watchdog`
    ends the process with exit code 75 when a step takes longer than so many seconds and than 20 times the median.
    `profile` traces so many steps into `folder`, for xprof.
    Raises InputError, StorageError, DivergedError or RetryError.
    """
    options = {"writers": writers, "source": source, "resume_anyway": resume_anyway, "wandb": wandb}
    if profile is not None and (profile < 1 or folder is None):
        what = f"must be at least 1, is {profile}" if profile < 1 else "needs a run folder"
        raise InputError("profile", what)
    with _loop(experiment, folder, display=display, watchdog=watchdog, profile=profile, **options) as loop:
        for _ in loop.steps():
            pass
        result = _result(loop, Path(folder) if folder is not None else None)
        if result.folder is not None and result.status != "interrupted" and is_primary():
            run_folder.write_json(result.folder / "results.json", _summary(result))
        return result


@contextlib.contextmanager
def _loop(
    experiment: Experiment,
    folder: str | Path | None,
    *,
    display: str,
    writers: Sequence[Writer] = (),
    source: Path | None = None,
    resume_anyway: bool = False,
    wandb: str | None = None,
    watchdog: float | None = None,
    profile: int | None = None,
) -> Iterator[Loop]:
    """The loop of a run, entered, with the run's folder locked; of several processes the first alone writes."""
    if not isinstance(experiment, Experiment):
        raise InputError("experiment", f"must be an Experiment, is {type(experiment).__name__}")
    if experiment.reproducible:
        compat.be_deterministic()  # before anyone asks which process this is, which opens the devices
    shown = make_display(display if is_primary() else "none")
    if folder is None:
        with Loop(experiment, None, display=shown, writers=list(writers), title="training", watchdog=watchdog) as loop:
            yield loop
        return
    folder = Path(folder)
    distributed.from_primary(lambda: run_folder.check(folder, experiment, resume_anyway))
    options = {"display": shown, "title": folder.name, "resume_anyway": resume_anyway, "watchdog": watchdog}
    options["profile"] = profile
    if not is_primary():
        with Loop(experiment, folder, writers=[], **options) as loop:
            yield loop
        return
    with Lock(folder) as lock:
        loop = Loop(experiment, folder, writers=[], lock=lock, **options)
        # Only now: an experiment that cannot be set up must not take the folder.
        run_folder.claim(folder, experiment, source)
        loop.add_writers([*writers, *_writers(experiment, folder, loop.start_step, wandb)])
        with loop:
            yield loop


def _writers(experiment: Experiment, folder: Path, from_step: int, wandb: str | None) -> list[Writer]:
    from jaxai.log.tensorboard import TensorBoardWriter

    made: list[Writer] = [
        JsonlWriter(folder / "metrics.jsonl", from_step),
        TensorBoardWriter(folder / "tensorboard", from_step),
    ]
    if wandb is not None:
        from jaxai.log.wandb_writer import WandbWriter

        made.append(WandbWriter(folder, wandb, folder.name, encode(experiment)))
    return made


def _result(loop: Loop, folder: Path | None) -> Result:
    # An interrupted run is to leave at once, not to look for its best weights.
    best_step = past.best(loop.history, loop.experiment.best) if loop.status != "interrupted" else None
    try:
        variables, metrics = loop.final_variables(best_step), past.latest(loop.history)
    except InputError as error:
        _log.warning("jaxai: warning: the result is the last state, not the best: %s", error)
        best_step, variables, metrics = None, loop.state.variables(), past.latest(loop.history)
    if best_step is not None:
        metrics = next(entry.values for entry in loop.history if entry.step == best_step)
    seconds = loop.log.seconds()
    return Result(
        status=loop.status,
        step=loop.step,
        variables=variables,
        metrics=metrics,
        best_step=best_step,
        history=loop.history,
        seconds=seconds,
        folder=folder,
        times=loop.times.split(seconds),
        num_recompiled=loop.num_recompiled,
        signal=loop.signal,
    )


def _summary(result: Result) -> dict[str, Any]:
    return {
        "status": result.status,
        "step": result.step,
        "best_step": result.best_step,
        "metrics": dict(result.metrics),
        "seconds": result.seconds,
        "times": dict(result.times),
        "num_recompiled": result.num_recompiled,
    }
