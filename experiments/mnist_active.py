"""Which 300 of 4,000 images of MNIST to label: active learning, from 50 labels on. They are fetched on first use.

jaxai active experiments/mnist_active.py

Six rounds for each of four strategies, 24 trainings of 400 steps: 3 to 4 minutes on one core of a 2-core Intel Xeon at
2.5 GHz that other work shared (90 s of it computing). Test accuracy, mean (range) over the seeds 0 to 2:

labels  random             core-set           entropy            margin
100     87.0 (85.5-87.9)   88.9 (85.4-92.0)   86.3 (86.2-86.6)   88.8 (87.5-89.8)
300     94.0 (93.8-94.1)   94.4 (92.7-95.4)   95.6 (93.7-96.9)   96.2 (95.3-96.7)

As an experiment like any other, on all 4,000 labels, it comes to 96.3 % (96.0-96.6) in the same 400 steps, about 15 s:

jaxai train experiments/mnist_active.py
"""

from jaxai import Experiment, Pipeline, Steps, optim
from jaxai.data.augment import Normalize, RandomCrop
from jaxai.data.tfds import Tfds
from jaxai.models import ConvNet
from jaxai.tasks import Classification


def get_config() -> Experiment:
    """The experiment; steps rather than epochs, so that all rounds train as long."""
    return Experiment(
        task=Classification(
            model=ConvNet(features=(16, 32), dense=(64,), dropout=0.3, num_classes=10),
            augment=(RandomCrop(padding=2), Normalize(mean=(0.1307,), std=(0.3081,))),
        ),
        train=Pipeline(source=Tfds(name="mnist_5k", split="train"), batch_size=32, cache=True),
        evals={"test": Pipeline(source=Tfds(name="mnist_5k", split="test"), batch_size=200, cache=True)},
        optimizer=optim.adamw(optim.WarmupCosine(peak=3e-3, warmup=Steps(20)), weight_decay=0.01),
        duration=Steps(400),
        evaluate_every=None,
        ema=0.98,  # evaluations and the next choice use an average over the last 50 or so steps
    )
