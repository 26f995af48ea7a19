"""Takes a few steps of tasks that compare pairs on forced devices, and prints JSON: for `test_contrastive.py`."""

from __future__ import annotations

import json
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from measured import measure

import jaxai
from jaxai import optim
from jaxai.data.source import Arrays
from jaxai.models.clip import DualEncoder
from jaxai.models.two_tower import TwoTower
from jaxai.tasks.contrastive import Contrastive
from jaxai.tasks.ranking import Ranking

RNG = np.random.default_rng(0)


class Bag(nn.Module):
    """The mean of the vectors of a text's tokens, which compiles quickly."""

    @nn.compact
    def __call__(self, inputs: jax.Array, train: bool = False) -> jax.Array:
        return jnp.mean(nn.Embed(12, 8)(inputs), axis=1)


PAIRS = {name: RNG.integers(1, 12, (24, 5)) for name in ("tokens", "target_tokens")}
#: Few users and items, so that one comes several times into a batch.
TAKEN = {
    "user": RNG.integers(0, 6, 24),
    "item": RNG.integers(0, 9, 24),
    "history": RNG.integers(-1, 9, (24, 3)),
    "seen": np.full((24, 2), -1),
}
TAKEN["seen"][:, 0] = (TAKEN["item"] + 1) % 9
CATALOGUE = Arrays({"tokens": RNG.integers(0, 12, (9, 5)), "count": np.arange(9)})
DUAL = DualEncoder(query=Bag(), dim=4)
TOWERS = TwoTower(num_users=6, num_items=9, text=Bag(), dim=4, hidden=8)
KINDS = {
    "contrastive": (Contrastive(model=DUAL, query="tokens", candidate="target_tokens"), PAIRS),
    "ranking": (Ranking(model=TOWERS, catalogue=CATALOGUE), TAKEN),
}


def experiment(kind: str, parallel: str) -> jaxai.Experiment:
    """Plain gradient descent, so that what the parameters come to tells the gradients."""
    task, fields = KINDS[kind]
    return jaxai.Experiment(
        task=task,
        train=jaxai.Pipeline(source=Arrays(fields), batch_size=16),
        # 22 of 24: the last batch is padded, on the last devices alone.
        evals={"test": jaxai.Pipeline(source=Arrays({k: v[:22] for k, v in fields.items()}), batch_size=16)},
        optimizer=optim.sgd(0.3, momentum=0.0),
        duration=jaxai.Steps(2),
        parallel=eval(parallel, {"PMap": jaxai.PMap, "Mesh": jaxai.Mesh}),
    )


def run(kind: str, parallel: str) -> dict:
    """Losses, gradient norms, final parameters and evaluation of two steps."""
    return {"kind": kind, **measure(experiment(kind, parallel))}


if __name__ == "__main__":
    for kind in KINDS:
        for asked in sys.argv[1:]:
            print(json.dumps(run(kind, asked)), flush=True)
