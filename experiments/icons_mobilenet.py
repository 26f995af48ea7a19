"""MobileNetV2, pretrained on ImageNet, fine-tuned on 951 icons; against the same network from scratch.

jaxai train experiments/icons_mobilenet.py

About 120 s of processor time on one core of a 2-core Intel Xeon at 2.5 GHz. Macro-F1 on the test icons 65.9 %
(64.4-67.9 over the seeds 0 to 2), accuracy 73.7 % (72.5-75.3); from scratch 25.0 % (23.2-27.5) and 60.1 % (58.7-61.9);
the linear head 55.3 % (53.2-56.6).

The weights come from a package on first use. The trunk is unfrozen from the top down (Howard & Ruder 2018): first the
head alone, then the last blocks, then all, each part more slowly the further it is from the head. `scratch()` has the
same steps with one rate for all; `probe()` trains a linear head on the frozen trunk, which costs neither gradients nor
optimizer memory for the trunk (`jaxai describe` shows both: 9 MiB for a step instead of 489).

jaxai train experiments/icons_mobilenet.py:scratch
"""

import dataclasses

from jaxai import Epochs, Experiment, Pipeline, optim
from jaxai.adapt import Pretrained
from jaxai.data.augment import Normalize, RandomFlip, RandomResizedCrop
from jaxai.data.tfds import Tfds
from jaxai.models import MobileNetV2, Probe
from jaxai.tasks import Classification

MODEL = MobileNetV2(num_classes=9)


def get_config() -> Experiment:
    """Pretrained, unfrozen gradually."""
    multipliers = (
        ("^head/", 1.0),
        (r"^(block1[1-7]|last)/", optim.After(Epochs(1), multiplier=0.3)),
        ("", optim.After(Epochs(2), multiplier=0.1)),
    )
    return dataclasses.replace(
        scratch(),
        optimizer=optim.adamw(optim.WarmupCosine(peak=3e-3), weight_decay=0.01, multipliers=multipliers),
        start_from=Pretrained(model=MODEL, weights="mobilenet_v2", new=("^head/",)),
    )


def scratch() -> Experiment:
    """The same network and steps, from initial values."""
    augment = (
        RandomResizedCrop(size=64, scale=(0.5, 1.0)),
        RandomFlip(),
        Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    )
    return Experiment(
        task=Classification(model=MODEL, augment=augment),
        train=Pipeline(source=Tfds(name="oxygen_icons", split="train"), batch_size=32, cache=True),
        evals={"test": Pipeline(source=Tfds(name="oxygen_icons", split="test"), batch_size=128, cache=True)},
        optimizer=optim.adamw(optim.WarmupCosine(peak=3e-3, warmup=Epochs(1)), weight_decay=0.01),
        duration=Epochs(8),
        evaluate_every=Epochs(4),
    )


def probe() -> Experiment:
    """A linear head on the frozen pretrained trunk."""
    experiment = get_config()
    encoder = MODEL.clone(num_classes=0)
    return dataclasses.replace(
        experiment,
        task=dataclasses.replace(experiment.task, model=Probe(encoder=encoder, num_classes=9)),
        optimizer=optim.adamw(optim.WarmupCosine(peak=3e-3)),
        start_from=Pretrained(model=encoder, weights="mobilenet_v2", under="encoder", unused=("^classifier",)),
        freeze=("^encoder/",),
    )
