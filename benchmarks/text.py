"""Does tokenizing keep ahead of training, and what do longer texts cost?

Method, on one core, contenders in turns. Tokenizing: scenes of Shakespeare by bytes, by GPT-2's byte-pair encoding and
by BERT's WordPiece (the last two by the library `tokenizers`, one text at a time as the sources of `jaxai.data.text`
do), against the training step of BERT-mini that `finetune.py` measures, batches of 16 rows of 128 tokens. The figure is
how many batches are tokenized in the time of a step; sources do it once, when a run opens them, and not every epoch.
Length: a training step of a GPT-2 of 4 blocks and 256 features on one row of bytes, of 128 to 2,048 of them. The
exponent is the slope of the logarithm of time, or of the memory that XLA sets aside for the step, over that of length.

Target: at least 20 batches a step.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import tempfile
import time
from collections.abc import Callable
from typing import Any

import finetune
from harness import Figure, Options, Target, alternate, parse, ratios, report

BATCH_SIZE = 16
LENGTHS = (128, 256, 512, 1024, 2048)
AHEAD = Target(sign=">=", bound=20)


def main() -> None:
    options = parse(__doc__, rounds=7)
    figures = tokenizing(options) + lengths(options)
    report("text", options, figures, {"batch_size": BATCH_SIZE, "length": finetune.LENGTH, "dtype": "float32"})


def tokenizing(options: Options) -> list[Figure]:
    """Batches tokenized in the time of a step."""
    from jaxai.data.text import BPE, Bytes, WordPiece
    from jaxai.data.text.rows import read_texts
    from jaxai.data.tfds import Tfds

    texts = read_texts(Tfds("shakespeare_excerpt", split="train"), "text")
    kinds = {"bytes": Bytes(), "GPT-2's BPE": BPE(file="gpt2"), "BERT's WordPiece": WordPiece(file="bert_uncased")}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        loop = stack.enter_context(contextlib.closing(finetune.ours(options, 0.1, BATCH_SIZE, folder)))
        contenders: dict[str, Callable[[], float]] = {"steps": lambda: finetune.rate(loop)}
        contenders |= {
            name: batches(kind.open(), texts[:4] if options.smoke else texts) for name, kind in kinds.items()
        }
        rates = alternate(contenders, rounds=options.rounds)
    figures = [Figure(name="BERT-mini, training", unit="steps/s", values=rates["steps"])]
    for name in kinds:
        figures.append(Figure(name=f"{name}, tokenized", unit="batches/s", values=rates[name]))
        ahead = ratios(rates, name, "steps")
        figures.append(Figure(name=f"{name}, batches a step", unit="x", values=ahead, target=AHEAD))
    return figures


def batches(tokenizer: Any, texts: list[str]) -> Callable[[], float]:
    """Batches a second of a tokenizer."""

    def rate() -> float:
        began = time.perf_counter()
        num_tokens = sum(len(tokenizer.encode(text)) for text in texts)
        return num_tokens / (BATCH_SIZE * finetune.LENGTH) / (time.perf_counter() - began)

    return rate


def lengths(options: Options) -> list[Figure]:
    """What a step takes, and how that grows."""
    steps = {length: step(length) for length in (LENGTHS[:3] if options.smoke else LENGTHS)}
    seconds = alternate({str(length): run for length, (run, _) in steps.items()}, rounds=options.rounds)
    figures = []
    for length, (_, memory) in steps.items():
        times = [value * 1e3 for value in seconds[str(length)]]
        figures.append(Figure(name=f"{length:,} bytes, a step", unit="ms", values=times))
        figures.append(Figure(name=f"{length:,} bytes, memory", unit="MB", values=[memory / 1e6]))
    for short, long in itertools.pairwise(steps):
        of = f"{short:,} to {long:,} bytes, exponent of "
        slopes = [math.log2(b / a) for a, b in zip(seconds[str(short)], seconds[str(long)], strict=True)]
        figures.append(Figure(name=of + "time", unit="", values=slopes))
        figures.append(Figure(name=of + "memory", unit="", values=[math.log2(steps[long][1] / steps[short][1])]))
    return figures


def step(length: int) -> tuple[Callable[[], float], int]:
    """Seconds of a gradient of a row of `length` bytes, and the bytes of memory that it needs."""
    import jax
    import jax.numpy as jnp

    from jaxai.models import GPT2
    from jaxai.tasks import LanguageModel

    model = GPT2(vocab_size=262, dim=256, depth=4, num_heads=4, max_length=max(LENGTHS))
    task, key = LanguageModel(model=model), jax.random.key(0)
    batch = {"tokens": jax.random.randint(key, (1, length + 1), 0, 256), "index": jnp.arange(1)}
    variables = task.init(key, {name: jax.device_get(value) for name, value in batch.items()})
    gradient = jax.jit(jax.grad(lambda variables, key: task.loss(variables, batch, key, True).total))
    compiled = gradient.lower(variables, key).compile()

    def seconds() -> float:
        began = time.perf_counter()
        jax.block_until_ready(compiled(variables, key))
        return time.perf_counter() - began

    used: Any = compiled.memory_analysis()
    return seconds, used.temp_size_in_bytes


if __name__ == "__main__":
    main()
