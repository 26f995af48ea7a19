"""MiniLM on tweets: full fine-tuning, against adapting it by few parameters. Weights and tweets come on first use.

jaxai train experiments/minilm_sentiment.py
jaxai train experiments/minilm_sentiment.py:lora

The first trains all of it; further variants are `frozen`, `houlsby`, `prompt`, `prefix`, `bitfit` and `gradual`.
With seed 0, of 684 other tweets: all 95.3 % right, LoRA 94.0 % by 0.3 % of the parameters, the head alone 87.0 %; 163
steps, 34 to 125 s of one core of a 2-core Intel Xeon at 2.5 GHz; 22,566,146 parameters. A table is in
`experiments/README.md`.
"""

import dataclasses
from typing import Any

from jaxai import Epochs, Experiment, Pipeline, optim
from jaxai.adapt import Adapted, BaseFrom, Houlsby, Lora, Prefix, Pretrained, Prompt
from jaxai.data.text.texts import Texts
from jaxai.data.text.tokenizers import WordPiece
from jaxai.data.tfds import Tfds
from jaxai.models.bert import minilm
from jaxai.tasks import Classification

MODEL = minilm(num_classes=2, dropout=0.1)
PRETRAINED = Pretrained(model=MODEL, weights="minilm", new=("^head/",), unused=("^pooler",))


def get_config() -> Experiment:
    """Full fine-tuning."""
    return Experiment(
        task=Classification(model=MODEL, inputs="tokens", further=("segments",)),
        train=Pipeline(source=_tweets("train"), batch_size=16, cache=True),
        evals={"test": Pipeline(source=_tweets("test"), batch_size=64, cache=True)},
        optimizer=_adamw(1e-4, multipliers=(("^head/", 10.0), ("", 1.0))),
        duration=Epochs(1),
        start_from=PRETRAINED,
    )


def frozen() -> Experiment:
    """The head alone, on the frozen trunk."""
    return _adapted(learning_rate=1e-2)


def bitfit() -> Experiment:
    """The biases and the head."""
    return _adapted(own=("bias$", "^head/"), learning_rate=2e-3)


def gradual() -> Experiment:
    """From the top down: the head, after a quarter of an epoch the upper blocks, after half an epoch all."""
    multipliers = (
        ("^head/", 10.0),
        ("^block[3-5]/", optim.After(Epochs(0.25), multiplier=1.0)),
        ("", optim.After(Epochs(0.5), multiplier=1.0)),
    )
    return dataclasses.replace(get_config(), optimizer=_adamw(1e-4, multipliers=multipliers))


def lora() -> Experiment:
    """Low-rank changes of all attentions' kernels of queries, keys and values."""
    return _adapted(Lora(rules=(("attention/qkv", 8),), alpha=16, dropout=0.1), learning_rate=2e-3)


def houlsby() -> Experiment:
    """A bottleneck after each part of a block."""
    return _adapted(Houlsby(rules=(("attention/out|mlp/dense2", 16),)), learning_rate=2e-3)


def prompt() -> Experiment:
    """Learned vectors before the embedded tweet."""
    return _adapted(Prompt(rules=(("^block0/", 10),), std=0.1), learning_rate=1e-2)


def prefix() -> Experiment:
    """Learned keys and values in every attention."""
    return _adapted(Prefix(rules=(("attention/", 10),), std=0.1), learning_rate=1e-2)


def _adapted(*adapters: Any, own: tuple[str, ...] = ("^head/",), learning_rate: float) -> Experiment:
    """Adapters and what of the model is the tweets' own, on the frozen base."""
    experiment = get_config()
    return dataclasses.replace(
        experiment,
        task=Adapted(task=experiment.task, adapters=adapters, own=own),
        optimizer=_adamw(learning_rate),
        freeze=("^base/",),
        start_from=BaseFrom(start=PRETRAINED),
    )


def _adamw(learning_rate: float, **fields: Any) -> optim.Optimizer:
    schedule = optim.WarmupCosine(peak=learning_rate, warmup=Epochs(0.1))
    return optim.adamw(schedule, weight_decay=0.01, clip_norm=1.0, **fields)


def _tweets(split: str) -> Texts:
    return Texts(Tfds("tweets", split=split), tokenizer=WordPiece(file="bert_uncased"), length=40, specials=True)
