"""What changes during training, and nothing else: no functions, no optimizer, no random key."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from jaxai.core import rng, rules, tree
from jaxai.core.errors import InputError
from jaxai.training.traces import tracing


class TrainState(struct.PyTreeNode):
    """The state of a run after `step` steps."""

    step: jax.Array
    """int32 scalar: optimizer steps taken."""
    params: Any
    """Trained parameters."""
    frozen: Any
    """Parameters that rules hold fixed: no gradients, no optimizer memory."""
    model_state: Any
    """Other collections of the model, such as BatchNorm statistics."""
    opt_state: Any
    """The state of the Optax transformation."""
    ema: Any
    """Exponential moving average of `params`, or None."""

    def variables(self, averaged: bool = True) -> dict[str, Any]:
        """What a task's `loss` takes; with the averaged parameters where there are any."""
        params = self.ema if averaged and self.ema is not None else self.params
        return {"params": tree.join(params, self.frozen), **self.model_state}


def create(
    task: Any,
    optimizer: optax.GradientTransformation,
    batch: Any,
    *,
    seed: int,
    freeze: tuple[str, ...] = (),
    ema: bool = False,
) -> TrainState:
    """The state before the first step, for batches like `batch` (concrete or abstract)."""
    variables = dict(task.init(rng.step_key(seed, "init", 0), batch))
    if "params" not in variables:
        raise InputError("task.init", "gives no 'params' collection", "return {'params': ...}")
    params = variables.pop("params")
    held = rules.assign(tuple((pattern, True) for pattern in freeze), params, False, "freeze")
    frozen, trained = tree.split(params, held)
    if not jax.tree.leaves(trained):
        raise InputError("freeze", "holds every parameter: nothing is left to train")
    with tracing("optimizer"):
        opt_state = optimizer.init(trained)
    return TrainState(
        step=jnp.int32(0),
        params=trained,
        frozen=frozen,
        model_state=variables,
        opt_state=opt_state,
        # A copy, because the step donates its buffers and one buffer cannot be donated twice.
        ema=jax.tree.map(jnp.copy, trained) if ema else None,
    )
