"""Takes a few steps of SimCLR on forced devices, and prints what came out as JSON: for `test_simclr.py`."""

from __future__ import annotations

import json
import sys

import jax
import numpy as np

import jaxai
from jaxai import optim
from jaxai.core import tree
from jaxai.data.augment import Normalize, RandomFlip
from jaxai.data.source import Arrays
from jaxai.models import MLP, Projector
from jaxai.tasks import SimCLR
from jaxai.training.setup import set_up

IMAGES = np.random.default_rng(0).integers(0, 255, (24, 6, 6, 1)).astype(np.uint8)


def experiment(parallel: str) -> jaxai.Experiment:
    """Plain gradient descent, so that what the parameters come to tells the gradients."""
    source = Arrays({"image": IMAGES})
    return jaxai.Experiment(
        task=SimCLR(
            encoder=MLP(features=(12,), num_classes=0),
            projector=Projector(features=(8, 4), norm="none"),
            augment=(RandomFlip(), Normalize()),
            temperature=0.2,
        ),
        train=jaxai.Pipeline(source=source, batch_size=16),
        # 22 of 24: the last batch is padded, on the last devices alone.
        evals={"test": jaxai.Pipeline(source=Arrays({"image": IMAGES[:22]}), batch_size=16)},
        optimizer=optim.sgd(0.5, momentum=0.0),
        duration=jaxai.Steps(3),
        parallel=eval(parallel, {"PMap": jaxai.PMap, "Mesh": jaxai.Mesh}),
    )


def run(parallel: str) -> dict:
    """Losses, gradient norms, final parameters and evaluation of three steps."""
    setup = set_up(experiment(parallel))
    state = setup.layout.init(setup.create, setup.example)
    step = setup.layout.compile_step(setup.train_step())
    measured = []
    for number in range(3):
        state, packed = step(state, setup.reader.batch(number))
        measured.append({name: metric.compute() for name, metric in packed.unpack().items()})
    evaluation = setup.evaluator()(state.variables(), setup.evals["test"].evaluation())
    params = {name: np.ravel(leaf).tolist() for name, leaf in tree.flatten(jax.device_get(state.params)).items()}
    return {"steps": measured, "params": params, "evaluation": evaluation}


if __name__ == "__main__":
    for asked in sys.argv[1:]:
        print(json.dumps(run(asked)), flush=True)
