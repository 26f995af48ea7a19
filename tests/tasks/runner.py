"""Takes a few steps of SimCLR on forced devices, and prints what came out as JSON: for `test_simclr.py`."""

from __future__ import annotations

import json
import sys

import numpy as np
from measured import measure

import jaxai
from jaxai import optim
from jaxai.data.augment import Normalize, RandomFlip
from jaxai.data.source import Arrays
from jaxai.models import MLP, Projector
from jaxai.tasks import SimCLR

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
    return measure(experiment(parallel))


if __name__ == "__main__":
    for asked in sys.argv[1:]:
        print(json.dumps(run(asked)), flush=True)
