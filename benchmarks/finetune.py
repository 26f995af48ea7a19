"""How fast is fine-tuning an encoder, beside the `Trainer` of `transformers`?

Method: BERT-mini (4 blocks of 256 features, 30,522 tokens, 2 classes; 11,171,074 parameters, float32) on rows of 128
random tokens, AdamW at a constant rate, gradients clipped at a norm of 1, on one core, in turns: `jaxai.steps` and
`Trainer`, both with their data loading, shuffling and metrics, without display and checkpoints. A round is 2 steps of
each, after 1 that is not counted. With dropout of 0.1 (embeddings, attention, what each part adds, before the head) and
without, at batch 16 and 32. `Trainer` also needs the package `accelerate`; where it is missing, that side is left out.

What bounds it: matrix products, about half of a step. On the processor of `results/finetune.json`, PyTorch's reach 160
to 182 GFLOP/s of one core, XLA's 155 to 175, but for one of the kernels' gradients (72 to 99); and the attention of a
block with its gradients takes 15 ms to PyTorch's 11 at batch 16.

Targets: at least 1.3 times the steps of `Trainer` with dropout, and 1.5 times without.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

from harness import Figure, Options, Target, alternate, parse, ratios, report

TARGETS = {0.1: 1.3, 0.0: 1.5}
"""By dropout."""
BATCH_SIZES = (16, 32)
LENGTH = 128
WARM_UP, STEPS = 1, 2
"""Steps of a round that are not counted, and that are."""
RATE, DECAY = 1e-4, 0.01


def main() -> None:
    options = parse(__doc__, rounds=7)
    with_theirs = all(importlib.util.find_spec(name) for name in ("torch", "transformers", "accelerate"))
    figures: list[Figure] = []
    for dropout, bound in TARGETS.items():
        for batch_size in BATCH_SIZES[:1] if options.smoke else BATCH_SIZES:
            rates = measure(options, dropout, batch_size, with_theirs)
            of = f"dropout {dropout:g}, batch {batch_size}, "
            figures += [Figure(name=of + name, unit="steps/s", values=values) for name, values in rates.items()]
            if with_theirs:
                ratio = ratios(rates, "jaxai", "Trainer")
                target = Target(sign=">=", bound=bound)
                figures.append(Figure(name=f"{of}jaxai to Trainer", unit="x", values=ratio, target=target))
    report("finetune", options, figures, {"length": LENGTH, "steps": STEPS, "data": "random tokens in memory"})


def measure(options: Options, dropout: float, batch_size: int, with_theirs: bool) -> dict[str, list[float]]:
    """Steps a second, [round] by contender."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        loop = stack.enter_context(contextlib.closing(ours(options, dropout, batch_size, folder)))
        contenders = {"jaxai": lambda: rate(loop)}
        if with_theirs:
            contenders["Trainer"] = theirs(options, dropout, batch_size, folder)
        return alternate(contenders, rounds=options.rounds)


def data(options: Options, batch_size: int) -> dict[str, Any]:
    """As many random texts as both take in a few rounds, [example, length], none of them with padding."""
    import numpy as np

    random, vocab = np.random.default_rng(0), 500 if options.smoke else 30_522
    tokens = random.integers(1, vocab, (64 * batch_size, LENGTH), dtype=np.int32)
    return {"tokens": tokens, "label": random.integers(0, 2, len(tokens), dtype=np.int32)}


def ours(options: Options, dropout: float, batch_size: int, folder: str) -> Generator[Any]:
    """The loop of jaxai, as a user iterates it; gives the states."""
    import jaxai
    from jaxai import Experiment, Pipeline, Steps, optim
    from jaxai.data.source import Arrays
    from jaxai.models.bert import Bert, bert
    from jaxai.tasks import Classification

    model = bert("mini", num_classes=2, dropout=dropout)
    if options.smoke:
        model = Bert(vocab_size=500, dim=32, depth=2, num_heads=2, num_classes=2, dropout=dropout)
    experiment = Experiment(
        task=Classification(model=model, inputs="tokens"),
        train=Pipeline(source=Arrays(data(options, batch_size)), batch_size=batch_size),
        optimizer=optim.adamw(RATE, weight_decay=DECAY, clip_norm=1.0),
        duration=Steps(1_000_000_000),
        evaluate_every=None,
    )
    for info in jaxai.steps(experiment, folder, display="none"):
        yield info.state


def rate(loop: Iterator[Any]) -> float:
    """Steps a second of jaxai."""
    import jax

    for _ in range(WARM_UP):
        jax.block_until_ready(next(loop))
    began = time.perf_counter()
    for _ in range(STEPS - 1):
        next(loop)
    jax.block_until_ready(next(loop))
    return STEPS / (time.perf_counter() - began)


def theirs(options: Options, dropout: float, batch_size: int, folder: str) -> Callable[[], float]:
    """Steps a second of `Trainer`, as a user calls it."""
    torch: Any = importlib.import_module("torch")  # not installed where types are checked
    sys.path.append(str(Path(__file__).parents[1]))
    transformers: Any = importlib.import_module("tests.oracle").transformers
    torch.set_num_threads(1)
    sizes = {"vocab_size": 30_522, "hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4}
    if options.smoke:
        sizes = {"vocab_size": 500, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    rates = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    config = transformers.BertConfig(**sizes, **rates, intermediate_size=4 * sizes["hidden_size"], num_labels=2)
    texts = data(options, batch_size)
    rows = [
        {
            "input_ids": torch.from_numpy(tokens).long(),
            "attention_mask": torch.ones(LENGTH).long(),
            "labels": int(label),
        }
        for tokens, label in zip(texts["tokens"], texts["label"], strict=True)
    ]

    class Clock(transformers.TrainerCallback):
        """When each step ended."""

        def on_train_begin(self, *_: Any, **__: Any) -> None:
            self.ended: list[float] = []

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.ended.append(time.perf_counter())

    clock = Clock()
    arguments = transformers.TrainingArguments(
        output_dir=folder,
        per_device_train_batch_size=batch_size,
        max_steps=WARM_UP + STEPS,
        learning_rate=RATE,
        weight_decay=DECAY,
        lr_scheduler_type="constant",
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
    )
    model = transformers.BertForSequenceClassification(config)
    trainer = transformers.Trainer(model=model, args=arguments, train_dataset=rows, callbacks=[clock])
    trainer.remove_callback(transformers.PrinterCallback)

    def measured() -> float:
        trainer.train()
        return STEPS / (clock.ended[-1] - clock.ended[WARM_UP - 1])

    return measured


if __name__ == "__main__":
    main()
