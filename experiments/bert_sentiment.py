"""Whether tweets and sentences of film reviews are positive, by the encoder that `bert_pretrain` trained.

jaxai train experiments/bert_pretrain.py && jaxai train experiments/bert_sentiment.py

The same without pre-training:

jaxai train experiments/bert_sentiment.py:scratch

No figure yet.
"""

import dataclasses

from jaxai import Epochs, Experiment, Pipeline, optim
from jaxai.adapt import FromRun
from jaxai.data.joined import Joined
from jaxai.data.text import Texts
from jaxai.data.text.trained import Trained
from jaxai.data.tfds import Tfds
from jaxai.models.bert import Bert
from jaxai.tasks import Classification

#: The same as in `bert_pretrain`.
TOKENIZER = Trained(
    sources=tuple(Tfds(name) for name in ("shakespeare", "kjv", "tweets", "film_snippets")), vocab_size=8000
)
MODEL = Bert(vocab_size=8000, dim=128, depth=2, num_heads=2, max_length=64, num_classes=2, dropout=0.1)


def get_config() -> Experiment:
    """From the pre-trained encoder and its pooler."""
    start = FromRun(
        run="runs/bert_pretrain",
        rename=(("^encoder/", ""), ("^next/pooler/", "pooler/")),
        unused=("^head/", "^next/"),
        new=("^head/",),
    )
    return dataclasses.replace(scratch(), start_from=start)


def scratch() -> Experiment:
    """The same network and steps, from initial values."""
    return Experiment(
        task=Classification(model=MODEL, inputs="tokens", further=("segments",)),
        train=Pipeline(source=Joined((texts("tweets", "train"), texts("film_snippets", "train"))), batch_size=32),
        evals={
            "test": Pipeline(source=texts("tweets", "test"), batch_size=64),
            "films": Pipeline(source=texts("film_snippets", "test"), batch_size=64),
        },
        optimizer=optim.adamw(optim.WarmupCosine(peak=5e-4, warmup=Epochs(0.1)), weight_decay=0.01, clip_norm=1.0),
        duration=Epochs(3),
        evaluate_every=Epochs(3),
    )


def texts(name: str, split: str) -> Texts:
    """Texts with their label."""
    return Texts(Tfds(name, split=split), tokenizer=TOKENIZER, length=48, specials=True)
