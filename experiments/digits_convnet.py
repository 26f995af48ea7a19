"""A small convolutional network on the 8 x 8 digits that jaxai carries."""

from jaxai import Best, Epochs, Experiment, Pipeline, Steps, optim
from jaxai.data.augment import Normalize, RandomCrop
from jaxai.data.tfds import Tfds
from jaxai.models import ConvNet
from jaxai.tasks import Classification


def get_config() -> Experiment:
    """The experiment."""
    return Experiment(
        task=Classification(
            model=ConvNet(features=(32, 64), dense=(128,), num_classes=10, padding="SAME"),
            augment=(RandomCrop(padding=1), Normalize(mean=(0.3,), std=(0.35,))),
        ),
        train=Pipeline(source=Tfds(name="digits", split="train"), batch_size=64, cache=True),
        evals={"test": Pipeline(source=Tfds(name="digits", split="test"), batch_size=64, cache=True)},
        optimizer=optim.adamw(optim.WarmupCosine(peak=2e-3, warmup=Steps(50)), weight_decay=1e-4),
        duration=Epochs(40),
        evaluate_every=Epochs(4),
        best=Best(metric="test/accuracy"),
    )
