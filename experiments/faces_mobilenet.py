"""MobileNetV2, pretrained on ImageNet, told 160 faces and other pictures apart; against the same from scratch.

jaxai train experiments/faces_mobilenet.py

About 60 s of processor time on one core of a 2-core Intel Xeon at 2.5 GHz; 97.5 % test accuracy, 95.0 to 100.0 % over
the seeds 0 to 2. From scratch it stays at chance, 50.0 % with each of these seeds: 60 steps are too few.

The pictures are 100 faces of "Labeled Faces in the Wild" and 100 patches without one, 25 x 25 pixels and grey, here
shown at 64 x 64 with three equal channels. `scratch()` has the same steps without the weights:

jaxai train experiments/faces_mobilenet.py:scratch
"""

import dataclasses

from jaxai import Epochs, Experiment, Pipeline, optim
from jaxai.adapt import Pretrained
from jaxai.data.augment import Grey, Normalize, RandomFlip, RandomResizedCrop
from jaxai.data.tfds import Tfds
from jaxai.models import MobileNetV2
from jaxai.tasks import Classification

MODEL = MobileNetV2(num_classes=2)


def get_config() -> Experiment:
    """Pretrained; the trunk learns at a tenth of the head's rate."""
    return dataclasses.replace(
        scratch(),
        optimizer=optim.adamw(
            optim.WarmupCosine(peak=3e-3), weight_decay=0.01, multipliers=(("^head/", 1.0), ("", 0.1))
        ),
        start_from=Pretrained(model=MODEL, weights="mobilenet_v2", new=("^head/",)),
    )


def scratch() -> Experiment:
    """The same network and steps, from initial values."""
    augment = (
        RandomResizedCrop(size=64, scale=(0.6, 1.0)),
        RandomFlip(),
        Grey(),
        Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    )
    return Experiment(
        task=Classification(model=MODEL, augment=augment),
        train=Pipeline(source=Tfds(name="lfw_faces", split="train"), batch_size=32, cache=True),
        evals={"test": Pipeline(source=Tfds(name="lfw_faces", split="test"), batch_size=40, cache=True)},
        optimizer=optim.adamw(optim.WarmupCosine(peak=3e-3, warmup=Epochs(2)), weight_decay=0.01),
        duration=Epochs(12),
        evaluate_every=Epochs(4),
    )
