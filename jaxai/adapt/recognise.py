"""How well samples of a class are recognised by a classifier that has seen real images only."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxai.core.errors import InputError
from jaxai.experiment import load
from jaxai.tasks.task import Variables
from jaxai.training.saved import open_run


@dataclasses.dataclass(frozen=True)
class Recognised:
    """What a classifier says of samples."""

    share: float
    """Of the samples, those whose class it names."""
    by_class: dict[int, float]
    """The same of the samples of each class."""
    predicted: dict[int, int]
    """How many samples it took for each class; what it never names is missing."""
    spread: float
    """Standard deviation of a pixel within a class, 0..1, averaged: near 0 where the samples of a class are all one.
    Compare with that of real images: `recognised(classifier, variables, real, labels).spread`."""


def recognised(classifier: Any, variables: Variables, images: Any, labels: Any) -> Recognised:
    """What `classifier`, a task whose `predict` gives class probabilities, says of `images` made of classes `labels`.

    `images` [num, height, width, channel] are uint8, or floats in 0..1 that are rounded to it: as data would be.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    if not len(images) or labels.shape != images.shape[:1]:
        raise InputError("labels", f"shape {labels.shape} for images {images.shape}", "one label an image, and images")
    if images.dtype != np.uint8:
        images = np.round(np.clip(images, 0, 1) * 255).astype(np.uint8)
    guesses = np.asarray(jax.jit(classifier.predict)(variables, images)).argmax(axis=-1)
    right = guesses == labels
    by_class = {int(c): float(right[labels == c].mean()) for c in np.unique(labels)}
    predicted = {int(c): int(num) for c, num in zip(*np.unique(guesses, return_counts=True), strict=True)}
    spread = float(np.mean([np.std(images[labels == c] / 255, axis=0).mean() for c in by_class]))
    return Recognised(float(right.mean()), by_class, predicted, spread)


def samples_recognised(generator: str | Path, classifier: str | Path, each: int = 100, seed: int = 0) -> Recognised:
    """`recognised` of `each` samples a class from the run `generator`, by the run `classifier`.

    The first must have a conditional task with `sample(variables, key, labels)`, such as GAN or Diffusion.
    """
    makes, names = (_open(run) for run in (generator, classifier))
    task = makes.setup.experiment.task
    labels = np.repeat(np.arange(task.num_classes), each)
    images = jax.jit(task.sample)(makes.variables, jax.random.key(seed), labels)
    return recognised(names.setup.experiment.task, names.variables, images, labels)


def _open(run: str | Path) -> Any:
    return open_run(Path(run), load(Path(run) / "config.json"))
