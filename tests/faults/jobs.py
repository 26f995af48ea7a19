"""What the processes of fault tests run: the command line, on experiments small enough to be killed again and again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import jax
import numpy as np

import jaxai
from jaxai import optim
from jaxai.core import tree
from jaxai.data.augment import Normalize, RandomCrop
from jaxai.data.pipeline import Batch, Reader
from jaxai.data.source import read
from jaxai.data.tfds import Tfds
from jaxai.experiment import load
from jaxai.models import MLP
from jaxai.tasks import Classification
from jaxai.training.loop import Loop, Step
from jaxai.training.signals import Signals


@dataclasses.dataclass(frozen=True)
class Stopping:
    """Digits that, in the process that `file` names once it is there, never come."""

    file: str

    def open(self) -> StoppingSource:
        return StoppingSource(Tfds("digits", split="train[:192]").open(), Path(self.file))


@dataclasses.dataclass(frozen=True)
class StoppingSource:
    """`Stopping`, opened."""

    source: Any
    file: Path

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return self.source[index]

    def batch(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """The examples [batch] of `indices`: in memory by the look of it, so read by the main thread."""
        while self.file.exists() and int(self.file.read_text()) == jax.process_index():
            time.sleep(0.1)
        return read(self.source, indices, "stopping")


def tiny(parallel: str = "PMap()", stopping: str | None = None, peak: float = 1e-2, **fields: Any) -> jaxai.Experiment:
    """Dropout, augmentation, weight decay, an average, evaluations, and a checkpoint every three steps."""
    source = Stopping(stopping) if stopping is not None else Tfds("digits", split="train[:192]")
    base = jaxai.Experiment(
        task=Classification(
            model=MLP(features=(16,), num_classes=10, dropout=0.5),
            augment=(RandomCrop(padding=1), Normalize(mean=(0.3,), std=(0.35,))),
        ),
        train=jaxai.Pipeline(source=source, batch_size=48, cache=stopping is None),
        evals={"test": jaxai.Pipeline(source=Tfds("digits", split="test[:48]"), batch_size=48, cache=True)},
        optimizer=optim.adamw(optim.WarmupCosine(peak=peak, warmup=jaxai.Steps(2)), clip_norm=1.0),
        duration=jaxai.Steps(fields.pop("steps", 30)),
        evaluate_every=jaxai.Steps(10),
        log_every=jaxai.Steps(2),
        checkpoint=jaxai.Checkpoints(every=jaxai.Steps(fields.pop("save_every", 3)), keep_last=3),
        ema=0.9,
        parallel=eval(parallel, {"PMap": jaxai.PMap, "Mesh": jaxai.Mesh}),
    )
    return dataclasses.replace(base, **fields)


def write(folder: Path, **fields: Any) -> Path:
    """The file of an experiment that is `tiny(**fields)`."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "tiny.py"
    file.write_text(f"from tests.faults.jobs import tiny\n\n\ndef get_config():\n    return tiny(**{fields!r})\n")
    return file


def small(file: str, parallel: str, **fields: Any) -> jaxai.Experiment:
    """An experiment file with narrow layers, few examples, and 16 steps; all else as it is."""
    experiment = load(file)
    task, narrow = experiment.task, {"features": (4, 4), "dense": (8,)}
    if hasattr(task, "hidden"):
        task = dataclasses.replace(task, hidden=8)
    elif hasattr(task.model, "dense"):
        task = dataclasses.replace(task, model=task.model.clone(**narrow))

    def shrink(pipeline: jaxai.Pipeline, split: str) -> jaxai.Pipeline:
        source = dataclasses.replace(pipeline.source, split=split)
        return dataclasses.replace(pipeline, source=source, batch_size=16)

    splits = {"test": "test[:40]", "validation": "train[96:136]"}
    changes = {
        "task": task,
        "train": shrink(experiment.train, "train[:96]"),
        "evals": {name: shrink(pipeline, splits[name]) for name, pipeline in experiment.evals.items()},
        "duration": jaxai.Steps(16),
        "evaluate_every": jaxai.Steps(4),
        "log_every": jaxai.Steps(2),
        "checkpoint": jaxai.Checkpoints(every=jaxai.Steps(3)),
        "parallel": eval(parallel, {"PMap": jaxai.PMap, "Mesh": jaxai.Mesh}),
    }
    return dataclasses.replace(experiment, **changes | fields)


def train_small(file: str, parallel: str, runs: list[tuple[str, int]]) -> None:
    """Trains `small` in each folder, from where that has it, to the end or to a step at which it is left."""
    for folder, until in runs:
        for info in jaxai.steps(small(file, parallel), folder):
            if info.step == until:
                break


def digest_small(file: str, parallels: list[str]) -> None:
    """Says the digest of the last state of `small`, made reproducible, for every way to be parallel."""
    for parallel in parallels:
        for info in jaxai.steps(small(file, parallel, reproducible=True, roll_back=None)):
            if info.step == info.total_steps:
                leaves = tree.flatten(jax.device_get(info.state)).items()
                parts = [(name, np.asarray(leaf).tobytes()) for name, leaf in sorted(leaves)]
                _say(parallel=parallel, digest=hashlib.sha256(repr(parts).encode()).hexdigest(), leaves=len(parts))


def command_line(arguments: list[str], tell: bool = False) -> int:
    """`jaxai` with these arguments; it may tell, an object a line, its steps, batches and signals."""
    from jaxai import __main__

    if tell:
        _tell()
    sys.argv = ["jaxai", *arguments]
    return __main__.main()


def _tell() -> None:
    steps, batches, receive = Loop.steps, Reader.batches, Signals._receive

    def told_steps(self: Loop) -> Iterator[Step]:
        for info in steps(self):
            _say(step=info.step)
            yield info

    def told_batches(self: Reader, position: int = 0) -> Iterator[Batch]:
        for number, batch in enumerate(batches(self, position)):
            _say(position=position + number * self.pipeline.batch_size, indices=batch["index"].tolist())
            yield batch

    def told_receive(self: Signals, number: int, frame: FrameType | None) -> None:
        _say(signal=number)
        receive(self, number, frame)

    Loop.steps, Reader.batches, Signals._receive = told_steps, told_batches, told_receive


def _say(**values: Any) -> None:
    os.write(1, json.dumps({**values, "time": time.monotonic()}).encode() + b"\n")
