"""BYOL on 4,000 images of MNIST without their labels, which are fetched on first use.

jaxai train experiments/mnist_byol.py && jaxai probe runs/mnist_byol

140 s of processor time on one core of a 2-core Intel Xeon at 2.5 GHz; seed 0 only. A linear probe of the encoder tells
94.2 % of the test digits, of the untrained encoder 89.1 %, of the pixels 88.8 %.
"""

from jaxai import Epochs, Experiment, Pipeline, optim
from jaxai.data.augment import ColorJitter, Normalize, RandomResizedCrop
from jaxai.data.tfds import Tfds
from jaxai.models import ConvNet, Projector
from jaxai.tasks import BYOL


def get_config() -> Experiment:
    """The experiment."""
    return Experiment(
        task=BYOL(
            encoder=ConvNet(features=(16, 32, 64), dense=(128,), norm="batch", num_classes=0),
            projector=Projector(features=(256, 64)),
            predictor=Projector(features=(256, 64)),
            augment=(
                RandomResizedCrop(size=28, scale=(0.3, 1.0)),
                ColorJitter(brightness=0.4, contrast=0.4, saturation=0.0),
                Normalize(mean=(0.1307,), std=(0.3081,)),
            ),
            decay=0.99,
        ),
        train=Pipeline(source=Tfds(name="mnist_5k", split="train"), batch_size=128, cache=True),
        evals={"test": Pipeline(source=Tfds(name="mnist_5k", split="test"), batch_size=128, cache=True)},
        optimizer=optim.adamw(optim.WarmupCosine(peak=2e-3, warmup=Epochs(2)), weight_decay=1e-4),
        duration=Epochs(30),
        evaluate_every=Epochs(10),
    )
