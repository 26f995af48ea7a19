"""Icons and their names in one space: 951 pairs, which are fetched on first use, and two small encoders.

jaxai train experiments/icons_clip.py
"""

from jaxai import Epochs, Experiment, Pipeline, optim
from jaxai.data.augment import Normalize, RandomCrop
from jaxai.data.text import Bytes, Texts
from jaxai.data.tfds import Tfds
from jaxai.models import ViT
from jaxai.models.clip import DualEncoder, TextEncoder
from jaxai.tasks.contrastive import Contrastive

LENGTH = 32
MODEL = DualEncoder(
    query=ViT(patch=4, dim=96, depth=3, num_heads=4, num_classes=0, dropout=0.1),
    candidate=TextEncoder(vocab_size=262, dim=96, depth=2, num_heads=4, max_length=LENGTH, pad=256, dropout=0.1),
    dim=64,
)


def icons(split: str) -> Texts:
    """Icons with the bytes of their names."""
    return Texts(Tfds("oxygen_icons", split=split), tokenizer=Bytes(), length=LENGTH, field="name")


def get_config() -> Experiment:
    """The experiment."""
    return Experiment(
        task=Contrastive(model=MODEL, augment=(RandomCrop(padding=4), Normalize())),
        train=Pipeline(source=icons("train"), batch_size=128),
        evals={"test": Pipeline(source=icons("test"), batch_size=247)},
        optimizer=optim.adamw(optim.WarmupCosine(peak=1e-3, warmup=Epochs(4)), weight_decay=0.05, clip_norm=1.0),
        duration=Epochs(40),
        evaluate_every=Epochs(20),
    )
