"""ResNet-50 by the recipe of Goyal et al. (2017); as it stands, at small scale on patches of 12 photographs.

jaxai train experiments/imagenet_resnet50.py

300 s of processor time on one core of a 2-core Intel Xeon at 2.5 GHz. It tells from which of the photographs 67.5 %
of the test patches are (64.2-70.8 over the seeds 0 to 2).

The same network and code on ImageNet, 90 epochs in batches of 1,024, once the dataset is prepared (on a machine with
TensorFlow: `tfds build imagenet2012 --file_format=array_record`); no figure yet:

jaxai train experiments/imagenet_resnet50.py:full

`folder()` reads class folders of JPEG files under `imagenet/train` and `imagenet/val` instead; `large_batch()` has
batches of 8,192 and LARS (You et al. 2017).
"""

import dataclasses
from typing import Any

from jaxai import Epochs, Experiment, Pipeline, optim
from jaxai.data.augment import ColorJitter, Normalize, RandomFlip
from jaxai.data.crops import CenterCropped, RandomCropped
from jaxai.data.folder import ImageFolder
from jaxai.data.tfds import Tfds
from jaxai.models.resnet import resnet
from jaxai.tasks import Classification

NORMALIZE = Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def get_config() -> Experiment:
    """Twelve photographs, 64 pixels, three epochs."""
    return Experiment(
        task=Classification(
            model=resnet(50, 12, zero_init=True), augment=(RandomFlip(), NORMALIZE), label_smoothing=0.1
        ),
        train=Pipeline(source=RandomCropped(Tfds(name="photo_patches", decode=False), size=64), batch_size=32),
        evals={
            "test": Pipeline(
                source=CenterCropped(Tfds(name="photo_patches", split="test", decode=False), size=64, resize=64),
                batch_size=32,
            )
        },
        optimizer=optim.sgd(optim.WarmupCosine(peak=0.0125, warmup=Epochs(1)), nesterov=True, weight_decay=5e-5),
        duration=Epochs(3),
    )


def full(
    train: Any = Tfds(name="imagenet2012", decode=False),
    validation: Any = Tfds(name="imagenet2012", split="validation", decode=False),
) -> Experiment:
    """ImageNet: random crops and JPEG on the host, in worker processes; the rest in the step."""
    return Experiment(
        task=Classification(
            model=resnet(50, zero_init=True),
            augment=(RandomFlip(), ColorJitter(), NORMALIZE),
            label_smoothing=0.1,
            top_k=(5,),
        ),
        train=Pipeline(source=RandomCropped(train, on_damaged="skip"), batch_size=1024, workers=16),
        evals={"test": Pipeline(source=CenterCropped(validation), batch_size=1024, workers=16)},
        optimizer=optim.sgd(optim.WarmupCosine(peak=0.4, warmup=Epochs(5)), nesterov=True, weight_decay=5e-5),
        duration=Epochs(90),
        precision="bfloat16",
    )


def folder() -> Experiment:
    """The same from folders of JPEG files."""
    images = {part: ImageFolder("imagenet", split=part, decode=False) for part in ("train", "val")}
    return full(images["train"], images["val"])


def large_batch() -> Experiment:
    """Batches of 8,192 by LARS."""
    experiment = full()
    return dataclasses.replace(
        experiment,
        train=dataclasses.replace(experiment.train, batch_size=8192),
        optimizer=optim.lars(optim.WarmupCosine(peak=9.0, warmup=Epochs(5)), weight_decay=1e-4),
    )
