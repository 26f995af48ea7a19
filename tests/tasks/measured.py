"""What the runners of this folder print of an experiment: on other devices it should be the same."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

import jaxai
from jaxai.core import tree
from jaxai.training.setup import set_up


def measure(experiment: jaxai.Experiment) -> dict[str, Any]:
    """Losses, gradient norms, final parameters and evaluation of all its steps, as JSON has them."""
    setup = set_up(experiment)
    state = setup.init()
    step = setup.compiled_step()
    measured = []
    for number in range(setup.total_steps):
        state, packed = step(state, setup.reader.batch(number))
        measured.append({name: metric.compute() for name, metric in packed.unpack().items()})
    evaluation = setup.evaluator()(state.variables(), setup.evals["test"].evaluation())
    params = {name: np.ravel(leaf).tolist() for name, leaf in tree.flatten(jax.device_get(state.params)).items()}
    return {"steps": measured, "params": params, "evaluation": evaluation}
