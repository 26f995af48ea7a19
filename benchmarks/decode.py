"""How fast are tokens written, beside `transformers` with the same weights?

Method: a GPT-2 of 6 blocks, 384 features, 6 heads and 50,257 tokens (30,339,456 parameters, float32) goes on with
prompts of 17 random tokens by 128, greedily, one prompt or eight at a time, on one core, in turns: `Generator.generate`
with what it prepares once prepared; `generate` of `transformers`, with its cache of keys and values, in inference mode;
and ours as it is where no eight-bit products are to be had, from all logits. The tokens have to be the same in every
round. Weights are random, larger than training begins with, so that texts are no repetition of one token. Beside the
time by the clock stands the processor's, which leaves out what others do on the core.

What bounds it: with one prompt, memory. A token's blocks read 42 MB of float32 and the output table 77 MB. A core of
the machine of `results/decode.json` reads 13 GB/s of what is too large for its cache, 25 of what is not, measured by
the maximum of 61 MB or more, and of 42: some 9 of the 12.4 ms that a token takes `transformers`. So the likeliest token
is searched for in a copy of the table in eight bits (`generation/table.py`), 19 MB, and 256 rows of the table are read
in full. A token takes 4.2 ms, about what 61 MB do. With eight prompts, the blocks' products of eight rows are slow:
24 GFLOP/s, where XLA's of 2,048 rows reach 155 to 175.

Targets: at least 3 times the tokens of `transformers` with one prompt, and 2.3 times with eight.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness import Figure, Options, Target, alternate, parse, ratios, report

TARGETS = {1: 3.0, 8: 2.3}
"""By prompts at a time."""
PROMPT = 17


class Timer:
    """Tokens a second of a way to write; `processor` are those of a second of processor time, [call]."""

    def __init__(self, write: Callable[[], Any], num_tokens: int):
        self._write, self._num_tokens = write, num_tokens
        self.processor: list[float] = []
        self.texts: list[Any] = []
        """What was written, [call]."""

    def __call__(self) -> float:
        began, used = time.perf_counter(), time.process_time()
        self.texts.append(self._write())
        took = time.perf_counter() - began
        self.processor.append(self._num_tokens / (time.process_time() - used))
        return self._num_tokens / took


def main() -> None:
    options = parse(__doc__, rounds=7)
    figures: list[Figure] = []
    for batch, target in TARGETS.items():
        figures += compare(options, batch, Target(sign=">=", bound=target))
    report("decode", options, figures, {"prompt": PROMPT, "new_tokens": number(options), "dtype": "float32"})


def compare(options: Options, batch: int, target: Target) -> list[Figure]:
    """Figures of so many prompts at a time."""
    import numpy as np

    timers = {name: Timer(write, batch * number(options)) for name, write in writers(options, batch).items()}
    rates = alternate(timers, rounds=options.rounds)
    texts = [text for timer in timers.values() for text in timer.texts]
    if not all(np.array_equal(text, texts[0]) for text in texts):
        raise SystemExit(f"batch {batch}: tokens differ")
    rates |= {f"{name}, processor time": timer.processor[-options.rounds :] for name, timer in timers.items()}
    of = f"batch {batch}, "
    figures = [Figure(name=of + name, unit="tokens/s", values=rates[name]) for name in timers]
    if "transformers" in timers:
        for after in ("", ", processor time"):
            ratio = ratios(rates, "jaxai" + after, "transformers" + after)
            goal = target if not after else None
            figures.append(Figure(name=f"{of}jaxai to transformers{after}", unit="x", values=ratio, target=goal))
    return figures


def number(options: Options) -> int:
    """New tokens of each text."""
    return 8 if options.smoke else 128


def writers(options: Options, batch: int) -> dict[str, Callable[[], Any]]:
    """Ways to write the same tokens [batch, number], by name."""
    import jax
    import numpy as np

    from jaxai.generation.generator import Generator
    from jaxai.generation.sampling import Sampling
    from jaxai.models.gpt2 import GPT2

    sys.path.append(str(Path(__file__).parents[1]))
    small: Any = importlib.import_module("tests.generation.small")
    model = GPT2(dim=384, depth=6, num_heads=6)
    if options.smoke:
        model = GPT2(vocab_size=500, dim=32, depth=2, num_heads=2)
    prompts = list(np.random.default_rng(0).integers(0, model.vocab_size, (batch, PROMPT), dtype=np.int32))
    variables = small.larger(jax.jit(model.init)(jax.random.key(0), np.stack(prompts)))
    sampling = Sampling(temperature=0, max_new_tokens=number(options))
    generator = Generator.of(model, variables)
    ways: dict[str, Callable[[], Any]] = {"jaxai": lambda: np.stack(generator.generate(prompts, sampling))}
    if generator.table is not None:
        plain = dataclasses.replace(generator, table=None)
        ways["jaxai, all logits"] = lambda: np.stack(plain.generate(prompts, sampling))
    if all(importlib.util.find_spec(name) for name in ("torch", "transformers")):
        ways["transformers"] = theirs(small.their_model(model, variables), prompts, number(options))
    return ways


def theirs(model: Any, prompts: Any, number: int) -> Callable[[], Any]:
    """Greedy decoding by `transformers`."""
    import numpy as np

    torch: Any = importlib.import_module("torch")  # not installed where types are checked
    torch.set_num_threads(1)
    tokens = torch.tensor(np.stack(prompts)).long()
    settings = {"max_new_tokens": number, "do_sample": False, "pad_token_id": 0}

    def write() -> Any:
        with torch.inference_mode():
            return model.generate(tokens, attention_mask=torch.ones_like(tokens), **settings).numpy()[:, PROMPT:]

    return write


if __name__ == "__main__":
    main()
