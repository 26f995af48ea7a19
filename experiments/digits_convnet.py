"""A small convolutional network on the 8 x 8 digits that jaxai carries.

jaxai train experiments/digits_convnet.py

About 12 s on a 2-core Intel Xeon at 2.5 GHz, 30 s with an empty compilation cache on a busy one; 98.9 % test accuracy,
98.6 to 99.7 % over the seeds 0 to 4.
"""

from jaxai import Epochs, Experiment, Pipeline, optim
from jaxai.data.augment import Normalize, RandomCrop
from jaxai.data.tfds import Tfds
from jaxai.models import ConvNet
from jaxai.tasks import Classification


def get_config() -> Experiment:
    """The experiment."""
    return Experiment(
        task=Classification(
            model=ConvNet(features=(48, 96), dense=(128,), pool_last=False, dropout=0.4, num_classes=10),
            augment=(RandomCrop(padding=1), Normalize(mean=(0.29,), std=(0.35,))),
            label_smoothing=0.1,
        ),
        train=Pipeline(source=Tfds(name="digits", split="train"), batch_size=64, cache=True),
        evals={"test": Pipeline(source=Tfds(name="digits", split="test"), batch_size=120, cache=True)},
        optimizer=optim.adamw(optim.WarmupCosine(peak=3e-3, warmup=Epochs(2)), weight_decay=1e-4),
        duration=Epochs(30),
        evaluate_every=Epochs(10),
        ema=0.98,  # evaluations and the saved result use an average over the last 50 or so steps
    )
