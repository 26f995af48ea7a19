"""Takes two steps of TRADES on forced devices, and prints what came out as JSON: for `test_adversarial.py`."""

from __future__ import annotations

import json
import sys

import jax
import numpy as np

import jaxai
from jaxai import metrics, optim
from jaxai.core import tree
from jaxai.data.augment import RandomFlip
from jaxai.data.source import Arrays
from jaxai.models import SoftmaxRegression
from jaxai.tasks import Classification, Trades
from jaxai.tasks.attacks import PGD
from jaxai.training.setup import set_up

RNG = np.random.default_rng(0)
FIELDS = {"image": RNG.integers(0, 256, (24, 4, 4, 1)).astype(np.uint8), "label": RNG.integers(0, 3, 24)}
PARALLEL = {"one": jaxai.PMap(devices=1), "pmap": jaxai.PMap(), "mesh": jaxai.Mesh()}


def run(parallel: str, accumulate: int) -> dict:
    """Metrics of two steps, the parameters after them, and an evaluation whose last batch is padded."""
    experiment = jaxai.Experiment(
        task=Trades(
            task=Classification(model=SoftmaxRegression(num_classes=3)),
            augment=(RandomFlip(),),
            attack=PGD(epsilon=0.1, steps=1),
            eval_attack=PGD(epsilon=0.1, steps=1),
        ),
        train=jaxai.Pipeline(source=Arrays(FIELDS), batch_size=16),
        evals={"test": jaxai.Pipeline(source=Arrays({k: v[:21] for k, v in FIELDS.items()}), batch_size=16)},
        optimizer=optim.sgd(0.1, momentum=0.0),
        duration=jaxai.Steps(2),
        parallel=PARALLEL[parallel],
        accumulate=accumulate,
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
