"""SimCLR on 4,000 images of MNIST without their labels, which are fetched on first use.

jaxai train experiments/mnist_simclr.py && jaxai probe runs/mnist_simclr

2 minutes on one core of a 2-core Intel Xeon at 2.5 GHz. Test accuracy of a linear probe on the encoder, mean (range)
over the seeds 0 to 2: 96.2 % (95.8-96.7); on the same encoder untrained 87.8 % (86.3-89.1), on raw pixels 88.8 %. By
the 20 nearest neighbours: 94.5 % (93.8-95.6), untrained 89.5 % (87.8-90.8), raw pixels 94.9 %.

The same encoder trained as long with all labels, in 50 s: 98.1 % (98.1-98.2).

jaxai train experiments/mnist_simclr.py:supervised
"""

import dataclasses

from jaxai import Epochs, Experiment, Pipeline, optim
from jaxai.data.augment import ColorJitter, Normalize, RandomCrop, RandomResizedCrop
from jaxai.data.tfds import Tfds
from jaxai.models import ConvNet, Projector
from jaxai.tasks import Classification, SimCLR

ENCODER = ConvNet(features=(16, 32, 64), dense=(128,), norm="batch", num_classes=0)
NORMALIZE = Normalize(mean=(0.1307,), std=(0.3081,))


def get_config() -> Experiment:
    """The experiment."""
    return Experiment(
        task=SimCLR(
            encoder=ENCODER,
            projector=Projector(features=(128, 32)),
            augment=(
                RandomResizedCrop(size=28, scale=(0.3, 1.0)),
                ColorJitter(brightness=0.4, contrast=0.4, saturation=0.0),
                NORMALIZE,
            ),
            temperature=0.2,
        ),
        train=Pipeline(source=Tfds(name="mnist_5k", split="train"), batch_size=128, cache=True),
        evals={"test": Pipeline(source=Tfds(name="mnist_5k", split="test"), batch_size=128, cache=True)},
        optimizer=optim.adamw(optim.WarmupCosine(peak=2e-3, warmup=Epochs(2)), weight_decay=1e-4),
        duration=Epochs(30),
        evaluate_every=Epochs(10),
    )


def supervised() -> Experiment:
    """The same encoder trained with all labels, on crops that keep what a digit is."""
    task = Classification(model=ENCODER.clone(num_classes=10), augment=(RandomCrop(padding=2), NORMALIZE))
    return dataclasses.replace(get_config(), task=task)
