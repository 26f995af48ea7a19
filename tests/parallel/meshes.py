"""Trains a small GPT-2 under meshes, and prints what came of it and what they say to each other, as JSON."""

from __future__ import annotations

import json
import math
import sys
from typing import Any

import jax
import numpy as np

import jaxai
from jaxai import forms, models, optim
from jaxai.core import tree
from jaxai.data.source import Arrays
from jaxai.parallel.collectives import collectives
from jaxai.parallel.distributed import join
from jaxai.tasks import LanguageModel
from jaxai.training.setup import set_up

TOKENS = np.random.default_rng(0).integers(1, 64, (64, 32)).astype(np.int32)


def experiment(parallel: Any, **fields: Any) -> jaxai.Experiment:
    """Three steps of a model whose dims divide by 8."""
    model = models.GPT2(vocab_size=64, dim=64, depth=1, num_heads=8, max_length=32)
    base = {
        "task": LanguageModel(model=model),
        "train": jaxai.Pipeline(source=Arrays({"tokens": TOKENS}), batch_size=16),
        "evals": {"test": jaxai.Pipeline(source=Arrays({"tokens": TOKENS[:24]}), batch_size=16)},
        "optimizer": optim.adamw(1e-3, clip_norm=1.0),
        "duration": jaxai.Steps(3),
        "ema": 0.9,
    }
    return jaxai.Experiment(**{**base, "parallel": parallel, **fields})


def run(shape: dict[str, int] | None) -> dict[str, Any]:
    """Losses, evaluation, where the state is, and every exchange of a step."""
    setup = set_up(experiment(jaxai.PMap(devices=1) if shape is None else jaxai.Mesh(**shape)))
    state = setup.init()
    found: list[Any] = []
    step = setup.compiled_step()
    if shape is not None and jax.process_count() == 1:
        alone, layout = setup.train_step(), setup.layout
        held = jax.tree.map(lambda x: x.sharding, state)
        compiled = layout.jit_step(lambda state, shared, batch: alone(state, batch), held)
        with forms.use("fast"):
            compiled = compiled.lower(state, (), setup.example).compile()
        found = [(each.kind, each.num_bytes, each.group, each.source) for each in collectives(compiled.as_text())]
        step = lambda state, batch: compiled(state, (), batch)  # noqa: E731 - the same program, not compiled again
    places = {path: str(getattr(leaf.sharding, "spec", None)) for path, leaf in tree.flatten(state).items()}
    shards = {path: math.prod(leaf.sharding.shard_shape(leaf.shape)) for path, leaf in tree.flatten(state).items()}
    sizes = {path: leaf.size for path, leaf in tree.flatten(state).items()}
    losses = []
    for number in range(3):
        state, packed = step(state, setup.reader.batch(number))
        losses.append(float(packed.unpack()["loss"].compute()))
    values = setup.evaluator()(state.variables(), setup.evals["test"].evaluation())
    return {
        "losses": losses,
        "evaluation": float(values["loss"]),
        "collectives": found,
        "places": places,
        "share": sum(shards.values()) / sum(sizes.values()),
        "kept": all(
            str(getattr(leaf.sharding, "spec", None)) == places[path] for path, leaf in tree.flatten(state).items()
        ),
    }


if __name__ == "__main__":
    if len(sys.argv) > 2:  # one process of two: HOST:PORT and its number
        join(sys.argv[2], 2, int(sys.argv[3]))
    for asked in json.loads(sys.argv[1]):
        print(json.dumps(run(asked)), flush=True)
