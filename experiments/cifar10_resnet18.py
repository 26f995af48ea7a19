"""ResNet-18 with a stem for small images; as it stands, for three epochs on icons.

jaxai train experiments/cifar10_resnet18.py

180 s of processor time on one core of a 2-core Intel Xeon at 2.5 GHz. Accuracy on the test icons, half of which are of
one kind, 60.7 % (59.5-62.3 over the seeds 0 to 2); macro-F1 32.5 % (27.6-36.1).

On CIFAR-10, 60 epochs, once it is prepared (`jaxai prepare cifar10`); no figure yet:

jaxai train experiments/cifar10_resnet18.py:full
"""

import dataclasses

from jaxai import Epochs, Experiment, Pipeline, optim
from jaxai.data.augment import Cutout, Normalize, RandomCrop, RandomFlip
from jaxai.data.tfds import Tfds
from jaxai.models.resnet import resnet
from jaxai.tasks import Classification


def get_config() -> Experiment:
    """951 icons, three epochs."""
    normalize = Normalize(mean=(0.82, 0.82, 0.81), std=(0.26, 0.24, 0.28))
    return Experiment(
        task=Classification(
            model=resnet(18, 9, stem="small"), augment=(RandomCrop(padding=4), RandomFlip(), normalize)
        ),
        train=Pipeline(source=Tfds(name="oxygen_icons", split="train"), batch_size=32, cache=True),
        evals={"test": Pipeline(source=Tfds(name="oxygen_icons", split="test"), batch_size=128, cache=True)},
        optimizer=optim.adamw(optim.WarmupCosine(peak=1e-3, warmup=Epochs(1)), weight_decay=0.05),
        duration=Epochs(3),
    )


def full() -> Experiment:
    """CIFAR-10, 60 epochs with momentum."""
    icons = get_config()
    normalize = Normalize(mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616))
    augment = (RandomCrop(padding=4), RandomFlip(), normalize, Cutout(size=8))
    return dataclasses.replace(
        icons,
        task=Classification(model=resnet(18, 10, stem="small"), augment=augment, label_smoothing=0.1),
        train=Pipeline(source=Tfds(name="cifar10", split="train"), batch_size=128, resident=True, cache=True),
        evals={"test": Pipeline(source=Tfds(name="cifar10", split="test"), batch_size=500, cache=True)},
        optimizer=optim.sgd(optim.WarmupCosine(peak=0.1, warmup=Epochs(2)), nesterov=True, weight_decay=5e-4),
        duration=Epochs(60),
        evaluate_every=Epochs(1),
    )
