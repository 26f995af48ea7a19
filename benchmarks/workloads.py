"""The experiments that benchmarks run, on images of noise: the arithmetic is that of real images."""

from __future__ import annotations

import numpy as np

from jaxai import Experiment, Pipeline, Steps, models, optim
from jaxai.data.augment import Normalize, RandomCrop, RandomFlip
from jaxai.data.source import Arrays
from jaxai.tasks import Classification

BATCH_SIZE = 64
ENDLESS = Steps(1_000_000_000)


def noise(num_examples: int, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Random uint8 images [example, height, width, channel] and labels of 10 classes [example]."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (num_examples, *shape), dtype=np.uint8)
    return {"image": images, "label": random.integers(0, 10, num_examples, dtype=np.int32)}


def perceptron() -> Experiment:
    """64 inputs, 32 hidden units, 10 classes, as many examples as the digits have."""
    return _endless(Classification(model=models.MLP(features=(32,), num_classes=10)), noise(1437, (8, 8, 1)))


def convnet(num_examples: int = 50_000, *, tiny: bool = False) -> Experiment:
    """The CIFAR-10 network of 4,275,594 parameters with crop, flip and normalize inside the step."""
    model = models.ConvNet(features=(8,), dense=()) if tiny else models.ConvNet(features=(64, 128), dense=(512,))
    augment = (RandomCrop(padding=4), RandomFlip(), Normalize())
    return _endless(Classification(model=model, augment=augment), noise(num_examples, (32, 32, 3)))


def _endless(task: Classification, data: dict[str, np.ndarray]) -> Experiment:
    return Experiment(
        task=task,
        train=Pipeline(source=Arrays(data), batch_size=BATCH_SIZE),
        optimizer=optim.sgd(0.01),
        duration=ENDLESS,
        evaluate_every=None,
    )
