"""AlexNet (Krizhevsky et al. 2012) by its own recipe; as it stands, at small scale on patches of 12 photographs.

jaxai train experiments/imagenet_alexnet.py

75 s of processor time on one core of a 2-core Intel Xeon at 2.5 GHz. It tells from which of the photographs 56.9 % of
the test patches are (52.5-61.7 over the seeds 0 to 2).

On ImageNet, 90 epochs in batches of 128, the rate divided by ten three times, once it is prepared (on a machine
with TensorFlow: `tfds build imagenet2012 --file_format=array_record`); no figure yet:

jaxai train experiments/imagenet_alexnet.py:full
"""

from jaxai import Epochs, Experiment, Pipeline, optim
from jaxai.data.augment import ColorJitter, Normalize, RandomFlip
from jaxai.data.crops import CenterCropped, RandomCropped
from jaxai.data.tfds import Tfds
from jaxai.models import AlexNet
from jaxai.tasks import Classification

NORMALIZE = Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def get_config() -> Experiment:
    """Twelve photographs, 96 pixels."""
    return Experiment(
        task=Classification(model=AlexNet(num_classes=12), augment=(RandomFlip(), NORMALIZE)),
        train=Pipeline(source=RandomCropped(Tfds(name="photo_patches", decode=False), size=96), batch_size=32),
        evals={
            "test": Pipeline(
                source=CenterCropped(Tfds(name="photo_patches", split="test", decode=False), size=96, resize=96),
                batch_size=32,
            )
        },
        optimizer=optim.adamw(optim.WarmupCosine(peak=2e-4, warmup=Epochs(1)), weight_decay=0.01),
        duration=Epochs(5),
        evaluate_every=Epochs(5),
    )


def full() -> Experiment:
    """ImageNet: random crops and JPEG on the host, in worker processes; the rest in the step."""
    validation = Tfds(name="imagenet2012", split="validation", decode=False)
    falls = (Epochs(30), Epochs(60), Epochs(80))
    return Experiment(
        task=Classification(model=AlexNet(), augment=(RandomFlip(), ColorJitter(), NORMALIZE), top_k=(5,)),
        train=Pipeline(
            source=RandomCropped(Tfds(name="imagenet2012", decode=False), on_damaged="skip"), batch_size=128, workers=8
        ),
        evals={"test": Pipeline(source=CenterCropped(validation), batch_size=512, workers=8)},
        optimizer=optim.sgd(optim.WarmupSteps(peak=0.01, boundaries=falls), weight_decay=5e-4),
        duration=Epochs(90),
    )
