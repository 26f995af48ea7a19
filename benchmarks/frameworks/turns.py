"""What the sides share: what is trained on what, and epochs that wait for their turn. Needs numpy alone."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from importlib import metadata
from typing import Any

import numpy as np

LEARNING_RATE = 1e-3
"""Of Adam, with everybody's defaults otherwise."""
SHAPES = {"convnet": (28, 28, 1), "perceptron": (8, 8, 1)}
"""Of an example, by model."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Work:
    """A training, as every side declares it in its own way."""

    model: str
    """`convnet`: MNIST's of 93,322 parameters; `perceptron`: 64 inputs, 32 hidden units, 10 classes."""
    batch_size: int
    """Examples in a batch."""
    train_steps: int
    """Batches in an epoch."""
    eval_steps: int
    """Batches of the validation after each epoch."""
    steps_per_call: int = 1
    """Steps a dispatch, for those who can."""

    @property
    def num_examples(self) -> int:
        """Trained on in an epoch."""
        return self.train_steps * self.batch_size

    def data(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Images of noise uint8 [example, height, width, 1] and labels int32 [example] of 10 classes."""
        random = np.random.default_rng(split == "train")
        steps = self.train_steps if split == "train" else self.eval_steps
        images = random.integers(0, 256, (steps * self.batch_size, *SHAPES[self.model]), dtype=np.uint8)
        return images, random.integers(0, 10, len(images), dtype=np.int32)


@dataclasses.dataclass
class Turns:
    """Epochs that wait for the parent: it says how many, and is answered their seconds by clock and processor."""

    answers: Any
    """The pipe to the parent; standard output is the framework's."""
    num_parameters: int = 0
    packages: tuple[str, ...] = ()
    """Whose versions the first answer tells."""
    _left: int = 1
    _began: tuple[float, float] | None = None

    def epoch_ended(self) -> None:
        """To be called once an epoch and its validation are computed; returns when the next may begin."""
        self._left -= 1
        if self._left:
            return
        if self._began is None:
            versions = {name: metadata.version(name) for name in self.packages}
            self._answer({"parameters": self.num_parameters, "versions": versions})
        else:
            began, used = self._began
            self._answer([time.perf_counter() - began, time.process_time() - used])
        line = sys.stdin.readline()
        if not line:
            sys.exit()
        self._left, self._began = int(line), (time.perf_counter(), time.process_time())

    def _answer(self, value: Any) -> None:
        self.answers.write(json.dumps(value) + "\n")
        self.answers.flush()


def arguments() -> tuple[list[str], Work, Turns, str]:
    """The command line: words for this side alone, then the work, the pipe for answers and a folder for logs."""
    _, *words, work, pipe, folder = sys.argv
    return words, Work(**json.loads(work)), Turns(os.fdopen(int(pipe), "w")), folder
