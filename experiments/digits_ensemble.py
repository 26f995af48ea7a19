"""Five small CNNs on the 8 x 8 digits that learn in one step and answer together (Lakshminarayanan et al. 2017).

jaxai train experiments/digits_ensemble.py

About 8 s on one core of a 2-core Intel Xeon at 2.5 GHz; 99.0 % test accuracy, 98.6 to 99.2 % over the seeds 0 to 2,
where a member has 98.3 % (98.1 to 98.4 %) on average; negative log-likelihood 0.045 against 0.057. The mean of five
answers is less sure than each: the calibration error rises, from 1.6 % to 2.0 %.

On that core a step of all five takes 5.5 ms, five steps of one 4.5 ms: there one step is a convenience, not a gain.
"""

from jaxai import Epochs, Experiment, Pipeline, optim
from jaxai.data.augment import Normalize
from jaxai.data.tfds import Tfds
from jaxai.models import ConvNet
from jaxai.tasks import Classification, Ensemble


def get_config() -> Experiment:
    """The experiment."""
    return Experiment(
        task=Ensemble(
            task=Classification(
                model=ConvNet(features=(16, 32), dense=(64,), num_classes=10),
                augment=(Normalize(mean=(0.29,), std=(0.35,)),),
            ),
            size=5,
        ),
        train=Pipeline(source=Tfds(name="digits", split="train"), batch_size=64, cache=True),
        evals={"test": Pipeline(source=Tfds(name="digits", split="test"), batch_size=120, cache=True)},
        optimizer=optim.adamw(optim.WarmupCosine(peak=3e-3, warmup=Epochs(1)), weight_decay=0.01),
        duration=Epochs(20),
        evaluate_every=Epochs(10),
    )
