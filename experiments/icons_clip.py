"""Icons and their names in one space: MobileNetV2 and MiniLM, pretrained, meet on 951 pairs; fetched on first use.

jaxai train experiments/icons_clip.py
jaxai train experiments/icons_clip.py:scratch

Needs the extra `text`. MiniLM stays as it is: what is learned are the projections and, more slowly, MobileNetV2.
`scratch()` has a small Vision Transformer and one that reads the bytes of a name, both from initial values.

Of the names of 247 other icons the right one is found for 25.4 % (23.9-27.1), MRR 0.358 (0.351-0.372), mean (range) of
seeds 0-2; 149 steps, about 190 s of one core of a 2-core Intel Xeon at 2.5 GHz; 25,215,233 parameters. From scratch,
seed 0, 2.0 % and MRR 0.051: 951 pairs are too few.
"""

import dataclasses
from typing import Any

from jaxai import Epochs, Experiment, Pipeline, optim
from jaxai.adapt import Pretrained
from jaxai.data.augment import Normalize, RandomCrop, RandomFlip, RandomResizedCrop
from jaxai.data.text import Bytes, Texts, WordPiece
from jaxai.data.tfds import Tfds
from jaxai.models import MobileNetV2, ViT
from jaxai.models.bert import minilm
from jaxai.models.clip import DualEncoder, TextEncoder
from jaxai.tasks.contrastive import Contrastive

LENGTH = 32
IMAGES, NAMES = MobileNetV2(num_classes=0), minilm()


@dataclasses.dataclass(frozen=True)
class Both:
    """Two starting points, each of a part of the model."""

    first: Pretrained
    second: Pretrained

    def load(self, wanted: Any) -> tuple[dict[str, Any], str]:
        """The arrays of both by path, and a line about them."""
        (some, line), (others, another) = (each.load(wanted) for each in (self.first, self.second))
        return {**some, **others}, f"{line}; {another}"


def icons(split: str, tokenizer: Any, specials: bool) -> Texts:
    """Icons with the tokens of their names."""
    return Texts(Tfds("oxygen_icons", split=split), tokenizer=tokenizer, length=LENGTH, field="name", specials=specials)


def get_config() -> Experiment:
    """Pretrained encoders."""
    tokenizer = WordPiece(file="bert_uncased")
    return Experiment(
        task=Contrastive(
            model=DualEncoder(query=IMAGES, candidate=NAMES, dim=256),
            augment=(
                RandomResizedCrop(size=64, scale=(0.5, 1.0)),
                RandomFlip(),
                Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
            ),
        ),
        train=Pipeline(source=icons("train", tokenizer, True), batch_size=64),
        evals={"test": Pipeline(source=icons("test", tokenizer, True), batch_size=247)},
        optimizer=optim.adamw(
            optim.WarmupCosine(peak=1e-3, warmup=Epochs(1)), weight_decay=0.05, multipliers=(("^query/", 0.2),)
        ),
        duration=Epochs(10),
        evaluate_every=Epochs(5),
        start_from=Both(
            Pretrained(model=IMAGES, weights="mobilenet_v2", under="query", unused=("^classifier",)),
            Pretrained(model=NAMES, weights="minilm", under="candidate", unused=("^pooler",)),
        ),
        freeze=("^candidate/",),
    )


def scratch() -> Experiment:
    """Small encoders, from initial values."""
    text = TextEncoder(vocab_size=262, dim=96, depth=2, num_heads=4, max_length=LENGTH, pad=256, dropout=0.1)
    image = ViT(patch=4, dim=96, depth=3, num_heads=4, num_classes=0, dropout=0.1)
    return Experiment(
        task=Contrastive(
            model=DualEncoder(query=image, candidate=text, dim=64), augment=(RandomCrop(padding=4), Normalize())
        ),
        train=Pipeline(source=icons("train", Bytes(), False), batch_size=128),
        evals={"test": Pipeline(source=icons("test", Bytes(), False), batch_size=247)},
        optimizer=optim.adamw(optim.WarmupCosine(peak=1e-3, warmup=Epochs(4)), weight_decay=0.05, clip_norm=1.0),
        duration=Epochs(40),
        evaluate_every=Epochs(20),
    )
