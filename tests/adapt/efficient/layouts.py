"""Takes two steps of adaptation on forced devices, and prints what came out as JSON: for `test_adapted.py`."""

from __future__ import annotations

import json
import sys

import jax
import numpy as np

import jaxai
from jaxai import metrics, optim
from jaxai.adapt.efficient import Adapted, Houlsby, Lora, Prefix, Prompt
from jaxai.core import tree
from jaxai.data.source import Arrays
from jaxai.models.gpt2 import GPT2
from jaxai.parallel.placing import MEGATRON
from jaxai.tasks.language_model import LanguageModel
from jaxai.training.setup import set_up

TOKENS = np.random.default_rng(0).integers(0, 11, (24, 6)).astype(np.int32)
PARALLEL = {
    "one": jaxai.PMap(devices=1),
    "pmap": jaxai.PMap(),
    "mesh": jaxai.Mesh(data=1, fsdp=2, rules=(*MEGATRON, ("", None))),
}


def run(parallel: str, accumulate: int) -> dict:
    """Metrics of two steps, the parameters after them, and an evaluation whose last batch is padded."""
    adapters = (
        Lora(rules=(("attention/qkv", 2),)),
        Houlsby(rules=(("dense2", 2),)),
        Prefix(rules=(("attention/", 2),), std=0.5),
        Prompt(rules=(("^block0/", 2),), std=0.5),
    )
    model = GPT2(vocab_size=12, dim=8, depth=2, num_heads=2, max_length=8)
    experiment = jaxai.Experiment(
        task=Adapted(task=LanguageModel(model=model), adapters=adapters, own=("^norm/",)),
        train=jaxai.Pipeline(source=Arrays({"tokens": TOKENS}), batch_size=16),
        evals={"test": jaxai.Pipeline(source=Arrays({"tokens": TOKENS[:21]}), batch_size=16)},
        optimizer=optim.sgd(0.3, momentum=0.0),
        duration=jaxai.Steps(2),
        parallel=PARALLEL[parallel],
        accumulate=accumulate,
        freeze=("^base/",),
    )
    setup = set_up(experiment)
    state = setup.init()
    step = setup.compiled_step()
    measured = {}
    for number in range(2):
        state, packed = step(state, setup.reader.batch(number))
        measured |= {f"{name}_{number}": value for name, value in metrics.compute(packed.unpack()).items()}
    evaluation = setup.evaluator()(state.variables(), setup.evals["test"].evaluation())
    measured |= {name: value for name, value in evaluation.items() if np.ndim(value) == 0}
    params = {name: np.ravel(leaf).tolist() for name, leaf in tree.flatten(jax.device_get(state.params)).items()}
    return {"measured": measured, "params": params}


if __name__ == "__main__":
    for asked in json.loads(sys.argv[1]):
        print(json.dumps(run(*asked)), flush=True)
