"""Finished and unfinished runs, read back: their evaluation, and the facts that a report shows."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxai import compat
from jaxai.core.errors import InputError
from jaxai.experiment import load
from jaxai.experiment.declaration import Experiment
from jaxai.log.jsonl import read_jsonl
from jaxai.log.report import Mistake, RunReport
from jaxai.training.checkpoint import CheckpointFolder
from jaxai.training.evaluate import Values
from jaxai.training.folder import read_json
from jaxai.training.initial import chosen_step
from jaxai.training.setup import Setup, check_evaluation, set_up

NUM_MISTAKES = 24


@dataclasses.dataclass(frozen=True)
class SavedRun:
    """A checkpoint of a run with the experiment that made it."""

    setup: Setup
    step: int
    variables: Any

    def evaluate(self) -> dict[str, Values]:
        """All metrics of all evaluations."""
        evaluator = self.setup.evaluator()
        values = {name: evaluator(self.variables, reader.evaluation()) for name, reader in self.setup.evals.items()}
        for name in values:
            check_evaluation(self.setup, name, values[name])
        return values

    def pictures(self, name: str) -> dict[str, np.ndarray]:
        """What the task makes of the first batch of one evaluation, to look at."""
        return self.setup.evaluator().pictures(self.variables, next(self.setup.evals[name].evaluation()))

    def mistakes(self, name: str) -> list[Mistake]:
        """The most confident wrong predictions of one evaluation; none where the task predicts no classes."""
        task, reader = self.setup.experiment.task, self.setup.evals[name]
        inputs, label = getattr(task, "inputs", None), getattr(task, "label", None)
        if inputs is None or label is None or not hasattr(task, "predict"):
            return []
        predict = jax.jit(task.predict)
        found: list[Mistake] = []
        for batch in reader.evaluation():
            probabilities = np.asarray(predict(self.variables, batch[inputs]))
            guesses = probabilities.argmax(axis=-1)
            for row in np.flatnonzero((guesses != batch[label]) & (batch["mask"] > 0)):
                true, guess = int(batch[label][row]), int(guesses[row])
                found.append(
                    Mistake(
                        image=_picture(batch[inputs][row]),
                        label=_class_name(reader.classes, true),
                        prediction=_class_name(reader.classes, guess),
                        confidence=float(probabilities[row, guess]),
                        index=int(batch["index"][row]),
                    )
                )
        return sorted(found, key=lambda mistake: -mistake.confidence)[:NUM_MISTAKES]


def open_run(folder: Path, experiment: Experiment, step: int | None = None) -> SavedRun:
    """The checkpoint of `step`, or the run's best, or its newest, on the devices of this machine."""
    compat.enable_compilation_cache()
    if not (folder / "checkpoints").is_dir():
        raise InputError(str(folder), "has no checkpoint yet")
    setup = set_up(experiment)
    checkpoints = CheckpointFolder(folder / "checkpoints", verify=experiment.checkpoint.verify)
    steps = checkpoints.steps()
    if step is not None and step not in steps:
        raise InputError("--step", f"{step} is not kept in {folder}", f"kept: {', '.join(map(str, steps))}")
    step = chosen_step(folder, steps) if step is None else step
    abstract = setup.layout.abstract(setup.abstract_state)
    checkpoints.check(step, abstract)
    restored = checkpoints.restore(step, abstract)
    return SavedRun(setup, step, setup.layout.place(restored.state).variables())


def gather(folder: Path, allow: Sequence[str] = ()) -> RunReport:
    """What the report shows of a run: its files, and a fresh look at what its best checkpoint gets wrong."""
    experiment = load(folder / "config.json", allow)
    run = open_run(folder, experiment)
    confusions = {
        name: (np.asarray(values["confusion"]), run.setup.evals[name].classes)
        for name, values in run.evaluate().items()
        if "confusion" in values
    }
    sources = sorted(folder.glob("*.py"))
    results = read_json(folder / "results.json") if (folder / "results.json").exists() else {}
    return RunReport(
        name=folder.name,
        folder=str(folder),
        config=read_json(folder / "config.json"),
        environment=read_json(folder / "environment.json"),
        results={**results.pop("metrics", {}), **results},
        records=read_jsonl(folder / "metrics.jsonl"),
        confusions=confusions,
        mistakes={name: run.mistakes(name) for name in run.setup.evals},
        pictures={name: run.pictures(name) for name in run.setup.evals},
        experiment_source=sources[0].read_text() if sources else None,
    )


def _picture(example: np.ndarray) -> np.ndarray | None:
    is_picture = example.dtype == np.uint8 and example.ndim == 3 and example.shape[-1] in (1, 3)
    return example if is_picture else None


def _class_name(classes: Sequence[str] | None, number: int) -> str:
    return classes[number] if classes is not None and number < len(classes) else str(number)
