"""Softmax regression on the 8 x 8 digits: the linear baseline, and the shortest experiment there is.

jaxai train experiments/digits_softmax.py

About 4 s on a 2-core Intel Xeon at 2.5 GHz; 96.6 % test accuracy, 96.4 to 96.7 % over the seeds 0 to 2.
"""

from jaxai import Epochs, Experiment, Pipeline, optim
from jaxai.data.tfds import Tfds
from jaxai.models import SoftmaxRegression
from jaxai.tasks import Classification


def get_config() -> Experiment:
    """The experiment."""
    return Experiment(
        task=Classification(model=SoftmaxRegression(num_classes=10)),
        train=Pipeline(source=Tfds(name="digits", split="train"), batch_size=64, cache=True),
        evals={"test": Pipeline(source=Tfds(name="digits", split="test"), batch_size=360, cache=True)},
        optimizer=optim.adam(optim.WarmupCosine(peak=0.02)),
        duration=Epochs(20),
        evaluate_every=Epochs(5),
    )
