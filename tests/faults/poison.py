"""A task whose examples say at which step what is no number: the loss, the gradient, a parameter, its average, its
state.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

import jaxai
from jaxai import optim
from jaxai.data.source import Arrays
from jaxai.tasks import Out

BATCH = 4
RATE = 1e-2
#: The parameter `far` moves by this much for each unit of its gradient.
FAR_RATE = 1e21
START = 3.2e38
"""Where `far` begins: near the largest float32, 3.4e38."""

#: What is done to the step whose batch holds an example with this code; the value goes where the kind says.
KINDS = {
    "loss nan": 1,
    "loss inf": 2,
    "loss -inf": 3,
    "gradient nan": 4,
    "gradient inf": 5,
    "gradient beyond its norm": 6,
    "update beyond a parameter": 7,
    "update beyond an average": 8,
    "state nan": 9,
    "state inf": 10,
    "spike": 11,
}


@jax.custom_vjp
def pushed(x: jax.Array, gradient: jax.Array) -> jax.Array:
    """0, with a gradient of one's choice."""
    return jnp.zeros(())


pushed.defvjp(lambda x, gradient: (jnp.zeros(()), gradient), lambda gradient, g: (g * gradient, jnp.zeros(())))


@dataclasses.dataclass(frozen=True)
class Poisoned:
    """A linear regression, with a parameter `far` that no loss depends on, and a running mean."""

    def init(self, key, batch):
        params = {"w": jnp.zeros(3), "far": jnp.full((), START)}
        return {"params": params, "batch_stats": {"mean": jnp.zeros(3)}}

    def loss(self, variables, batch, key, train):
        params, code = variables["params"], jnp.max(batch["poison"])
        weight = jnp.float32(len(batch["y"]))
        total = jnp.sum((batch["x"] @ params["w"] - batch["y"]) ** 2)
        chosen = functools.partial(_choose, code)
        total += weight * chosen({"loss nan": jnp.nan, "loss inf": jnp.inf, "loss -inf": -jnp.inf, "spike": 1e3})
        pushes = {
            "gradient nan": jnp.nan,
            "gradient inf": jnp.inf,
            "gradient beyond its norm": 1e25,
            "update beyond a parameter": -1e18,
            "update beyond an average": START / FAR_RATE,
        }
        total += pushed(params["far"], weight * chosen(pushes))
        mean = 0.9 * variables["batch_stats"]["mean"] + 0.1 * jnp.mean(batch["x"], 0)
        mean += chosen({"state nan": jnp.nan, "state inf": jnp.inf})
        return Out(total, weight, {"batch_stats": {"mean": mean}}, {})


def _choose(code: jax.Array, values: dict[str, float]) -> jax.Array:
    chosen = jnp.zeros(())
    for kind, value in values.items():
        chosen = jnp.where(code == KINDS[kind], value, chosen)
    return chosen


def examples(num: int, seed: int, poison: dict[int, str]) -> Arrays:
    """Data of a linear relation with noise; `poison` says what befalls the step that trains on the batch number."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(num, 3)).astype(np.float32)
    y = (x @ np.array([1.0, -2.0, 0.5]) + 2 + rng.normal(0, 0.3, num)).astype(np.float32)
    codes = np.zeros(num, np.int32)
    for batch, kind in poison.items():
        # Two steps far apart take a parameter across what its average can follow.
        for number in (batch, batch + 1) if kind == "update beyond an average" else (batch,):
            codes[number * BATCH + int(rng.integers(BATCH))] = KINDS[kind]
    return Arrays({"x": x, "y": y, "poison": codes})


def poisoned(source: Arrays, **changed) -> jaxai.Experiment:
    """24 steps over `source` in its order, saved every third and logged every second."""
    fields = {
        "task": Poisoned(),
        "train": jaxai.Pipeline(source=source, batch_size=BATCH, shuffle=False),
        "optimizer": optim.sgd(RATE, momentum=0.0, multipliers=(("far", FAR_RATE / RATE),)),
        "duration": jaxai.Steps(24),
        "log_every": jaxai.Steps(2),
        "checkpoint": jaxai.Checkpoints(every=jaxai.Steps(3), keep_last=9),
        "parallel": jaxai.PMap(devices=1),
        "ema": 0.9,
    }
    return jaxai.Experiment(**fields | changed)
