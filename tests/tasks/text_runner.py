"""Takes two steps of GPT-2 on forced devices, and prints what came out as JSON: for `test_language_model.py`."""

from __future__ import annotations

import json
import sys

import numpy as np
from measured import measure

import jaxai
from jaxai import optim
from jaxai.data.source import Arrays
from jaxai.models.gpt2 import GPT2
from jaxai.tasks.language_model import LanguageModel

RNG = np.random.default_rng(0)
LENGTHS = RNG.integers(2, 7, 32)
FIELDS = {
    "tokens": RNG.integers(0, 7, (32, 6)),
    "segments": np.arange(6)[None] < LENGTHS[:, None],
    "num_bytes": RNG.integers(1, 5, (32, 6)),
}
FIELDS = {name: values.astype(np.int32) for name, values in FIELDS.items()}


def run(parallel: str) -> dict:
    """Plain gradient descent, so that what the parameters come to tells the gradients."""
    experiment = jaxai.Experiment(
        task=LanguageModel(model=GPT2(vocab_size=7, dim=8, depth=1, num_heads=2, max_length=6)),
        train=jaxai.Pipeline(source=Arrays(FIELDS), batch_size=16),
        # 21 of 32: the last batch is padded, on the last devices alone.
        evals={"test": jaxai.Pipeline(source=Arrays({k: v[:21] for k, v in FIELDS.items()}), batch_size=16)},
        optimizer=optim.sgd(0.5, momentum=0.0),
        duration=jaxai.Steps(2),
        parallel=eval(parallel, {"PMap": jaxai.PMap, "Mesh": jaxai.Mesh}),
    )
    return measure(experiment)


if __name__ == "__main__":
    for asked in sys.argv[1:]:
        print(json.dumps(run(asked)), flush=True)
