"""ViT-S/16 by the plain recipe of Beyer et al. (2022); as it stands, at small scale on patches of 12 photographs.

jaxai train experiments/imagenet_vit_s16.py

105 s of processor time on one core of a 2-core Intel Xeon at 2.5 GHz. It tells from which of the photographs 65.3 %
of the test patches are (58.3-69.2 over the seeds 0 to 2).

On ImageNet, 90 epochs in batches of 1,024, once the dataset is prepared (on a machine with TensorFlow:
`tfds build imagenet2012 --file_format=array_record`); no figure yet:

jaxai train experiments/imagenet_vit_s16.py:full

From the paper's recipe it differs in its positions, which are learned.
"""

from jaxai import Epochs, Experiment, Pipeline, Steps, optim
from jaxai.data.augment import Mixup, Normalize, RandAugment, RandomFlip
from jaxai.data.crops import CenterCropped, RandomCropped
from jaxai.data.tfds import Tfds
from jaxai.models.vit import vit
from jaxai.tasks import Classification


def get_config() -> Experiment:
    """Twelve photographs, 64 pixels: sixteen patches an image."""
    return Experiment(
        task=Classification(
            model=vit("small", num_classes=12, pool="mean"),
            augment=(RandomFlip(), RandAugment(num_ops=2, magnitude=5), Normalize()),
        ),
        train=Pipeline(source=RandomCropped(Tfds(name="photo_patches", decode=False), size=64), batch_size=32),
        evals={
            "test": Pipeline(
                source=CenterCropped(Tfds(name="photo_patches", split="test", decode=False), size=64, resize=64),
                batch_size=32,
            )
        },
        optimizer=optim.adamw(
            optim.WarmupCosine(peak=3e-4, warmup=Epochs(1)), b2=0.95, weight_decay=0.1, clip_norm=1.0
        ),
        duration=Epochs(6),
        evaluate_every=Epochs(3),
    )


def full() -> Experiment:
    """ImageNet: random crops and JPEG on the host, in worker processes; the rest in the step."""
    validation = Tfds(name="imagenet2012", split="validation", decode=False)
    return Experiment(
        task=Classification(
            model=vit("small", pool="mean"),
            augment=(RandomFlip(), RandAugment(num_ops=2, magnitude=10), Normalize(), Mixup(alpha=0.2)),
            top_k=(5,),
        ),
        train=Pipeline(
            source=RandomCropped(Tfds(name="imagenet2012", decode=False), scale=(0.05, 1.0), on_damaged="skip"),
            batch_size=1024,
            workers=16,
        ),
        evals={"test": Pipeline(source=CenterCropped(validation), batch_size=1024, workers=16)},
        optimizer=optim.adamw(optim.WarmupCosine(peak=1e-3, warmup=Steps(10_000)), weight_decay=0.1, clip_norm=1.0),
        duration=Epochs(90),
        precision="bfloat16",
    )
