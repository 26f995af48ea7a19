"""The CNN that tutorials train on CIFAR-10 (64-128-512-10), here on 1,198 icons of its size, fetched on first use.

jaxai train experiments/cifar10_cnn.py

80 to 100 s on a 2-core Intel Xeon at 2.5 GHz; macro-F1 58.3 % (56.6 to 61.6 % over the seeds 0 to 2) and accuracy
66.9 % (64.4 to 69.6 %) on the test icons, where always naming the largest class comes to 7.3 % and 49.4 %.

The icons stand in for CIFAR-10 because a Debian package has them: nine classes, more than half of the examples in one.
So the loss weighs the classes, and macro-F1, which counts every class alike, says more than accuracy.

On CIFAR-10 (`jaxai prepare cifar10` first; no figure yet), from Python:
`jaxai.train(cifar10_cnn.full(), "runs/cifar10_full")`.
"""

import dataclasses

from jaxai import Epochs, Experiment, Pipeline, optim
from jaxai.data.augment import Cutout, Normalize, RandomCrop, RandomFlip
from jaxai.data.tfds import Tfds
from jaxai.models import ConvNet
from jaxai.tasks import Classification

#: Square root of the inverse frequency in the training data, with mean 1 over the classes.
ICON_WEIGHTS = (0.27, 0.54, 1.24, 0.89, 1.57, 2.14, 0.53, 1.04, 0.78)


def get_config() -> Experiment:
    """The experiment on icons."""
    normalize = Normalize(mean=(0.82, 0.82, 0.81), std=(0.26, 0.24, 0.28))
    return Experiment(
        task=Classification(
            model=ConvNet(features=(64, 128), dense=(512,), num_classes=9, dropout=0.5),
            augment=(RandomCrop(padding=4, mode="reflect"), RandomFlip(), normalize, Cutout(size=8)),
            class_weights=ICON_WEIGHTS,
        ),
        train=Pipeline(source=Tfds(name="oxygen_icons", split="train"), batch_size=64, cache=True),
        evals={"test": Pipeline(source=Tfds(name="oxygen_icons", split="test"), batch_size=128, cache=True)},
        optimizer=optim.adamw(optim.WarmupCosine(peak=1e-3, warmup=Epochs(2)), weight_decay=0.05),
        duration=Epochs(25),
        evaluate_every=Epochs(5),
    )


def full() -> Experiment:
    """The same network on CIFAR-10, 50 epochs with momentum."""
    icons = get_config()
    normalize = Normalize(mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616))
    task = dataclasses.replace(
        icons.task,
        model=icons.task.model.clone(num_classes=10),
        augment=(RandomCrop(padding=4), RandomFlip(), normalize),
        class_weights=None,
    )
    return dataclasses.replace(
        icons,
        task=task,
        train=Pipeline(source=Tfds(name="cifar10", split="train"), batch_size=128, cache=True),
        evals={"test": Pipeline(source=Tfds(name="cifar10", split="test"), batch_size=512, cache=True)},
        optimizer=optim.sgd(optim.WarmupCosine(peak=0.05, warmup=Epochs(1)), weight_decay=5e-4),
        duration=Epochs(50),
    )
