"""Describes and compiles a small GPT-2 for 8 devices, and prints what it finds, as JSON; `real` ones, or pretended."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import Any

import jax

from jaxai import compat

if __name__ == "__main__" and sys.argv[1] == "pretended":
    compat.pretend_devices(8)

import jaxai
from jaxai import forms
from jaxai.parallel.collectives import by_kind, collectives
from jaxai.training.compiled import compile_step
from jaxai.training.describe import describe
from jaxai.training.setup import set_up
from tests.parallel.meshes import experiment


def found(parallel: Any) -> dict[str, Any]:
    """All that is said of it."""
    setup = set_up(experiment(parallel))
    compiled = compile_step(setup)
    return {**dataclasses.asdict(describe(setup)), "compiled": dataclasses.asdict(compiled)}


def measured(parallel: Any) -> dict[str, Any]:
    """What a state has that is there, and a step compiled for it."""
    setup = set_up(experiment(parallel))
    state, step = setup.init(), setup.train_step()
    with forms.use(setup.experiment.forms):
        held = jax.tree.map(lambda x: x.sharding, state)
        compiled = setup.layout.jit_step(lambda state, shared, batch: step(state, batch), held)
        program = compiled.lower(state, (), setup.example).compile()
    leaves = jax.tree.leaves(state)
    return {
        "exchanges": by_kind(collectives(program.as_text())),
        "bytes_state_device": sum(leaf.addressable_shards[0].data.nbytes for leaf in leaves),
        "bytes_state": sum(leaf.nbytes for leaf in leaves),
    }


if __name__ == "__main__":
    for fields in json.loads(sys.argv[2]):
        parallel = jaxai.PMap() if fields is None else jaxai.Mesh(**fields)
        print(json.dumps((found if sys.argv[1] == "pretended" else measured)(parallel)), flush=True)
