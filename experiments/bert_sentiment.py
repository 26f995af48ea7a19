"""Whether tweets and sentences of film reviews are positive, by the encoder that `bert_pretrain` trained.

jaxai train experiments/bert_pretrain.py && jaxai train experiments/bert_sentiment.py

The same without pre-training:

jaxai train experiments/bert_sentiment.py:scratch

On bytes, without the extra `text`, from `bert_pretrain.py:on_bytes`: `bert_sentiment.py:on_bytes`.

With seeds 0 to 2, of 684 other tweets 84.3 % right (83.9 to 84.8), from scratch 84.2 % (83.0 to 85.4); of 2,022 other
sentences of reviews 76.3 % (76.1 to 76.6), from scratch 76.4 % (75.7 to 77.2). So ten minutes of old plays and verses
neither help nor harm here. 666 steps, about 50 s of one core of a 2-core Intel Xeon at 2.5 GHz; 909,314 parameters. On
bytes, seed 0: 72.7 and 60.5 %, in 170 s; 430,850 parameters.
"""

import dataclasses
from typing import Any

from jaxai import Epochs, Experiment, Pipeline, optim
from jaxai.adapt import FromRun
from jaxai.data.joined import Joined
from jaxai.data.text import Bytes, Texts, Trained
from jaxai.data.tfds import Tfds
from jaxai.models.bert import Bert
from jaxai.tasks import Classification

#: The same as in `bert_pretrain`.
TOKENIZER = Trained(
    sources=tuple(Tfds(name) for name in ("shakespeare", "kjv", "tweets", "film_snippets")), vocab_size=4000
)


def get_config() -> Experiment:
    """From the pre-trained encoder."""
    return pretrained(scratch(), "runs/bert_pretrain")


def on_bytes() -> Experiment:
    """The same on bytes."""
    return pretrained(scratch(Bytes(), vocab_size=262, length=128, max_length=128), "runs/bert_pretrain_on_bytes")


def scratch(tokenizer: Any = TOKENIZER, vocab_size: int = 4000, length: int = 48, max_length: int = 64) -> Experiment:
    """The same network and steps, from initial values."""

    def texts(name: str, split: str) -> Texts:
        return Texts(Tfds(name, split=split), tokenizer=tokenizer, length=length, specials=True)

    model = Bert(
        vocab_size=vocab_size,
        dim=128,
        depth=2,
        num_heads=2,
        max_length=max_length,
        rotary=1e4,
        pool="mean",
        num_classes=2,
        dropout=0.1,
    )
    return Experiment(
        task=Classification(model=model, inputs="tokens", further=("segments",)),
        train=Pipeline(source=Joined((texts("tweets", "train"), texts("film_snippets", "train"))), batch_size=32),
        evals={
            "test": Pipeline(source=texts("tweets", "test"), batch_size=64),
            "films": Pipeline(source=texts("film_snippets", "test"), batch_size=64),
        },
        # Numbers of a trained table are large beside the steps of Adam that a new one needs.
        optimizer=optim.Grouped(groups=(("^tokens/", optimizer(3e-3)), ("", optimizer(5e-4)))),
        duration=Epochs(2),
        evaluate_every=Epochs(2),
    )


def optimizer(peak: float) -> optim.Optimizer:
    """AdamW up to a rate of `peak`."""
    return optim.adamw(optim.WarmupCosine(peak=peak, warmup=Epochs(0.1)), weight_decay=0.01, clip_norm=1.0)


def pretrained(experiment: Experiment, run: str) -> Experiment:
    """The same from what `bert_pretrain` left in `run`."""
    start = FromRun(run=run, rename=(("^encoder/", ""),), unused=("^head/", "^next/"), new=("^head/",))
    return dataclasses.replace(experiment, start_from=start)
