"""Small models, tasks and batches to adapt."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxai.adapt.efficient.places import Layer, Layers
from jaxai.models import ViT
from jaxai.models.gpt2 import GPT2
from jaxai.tasks import Classification

KEY = jax.random.key(0)
LENGTH, VOCABULARY = 6, 11
#: Compiled without optimization, which takes longer than these models run.
FAST = {"xla_backend_optimization_level": 0}
VIT = ViT(num_classes=3, dim=8, depth=2, num_heads=2, patch=4)
GPT = GPT2(vocab_size=VOCABULARY, dim=8, depth=2, num_heads=2, max_length=16)

_rng = np.random.default_rng(0)
IMAGES: dict[str, Any] = {
    "image": _rng.integers(0, 256, (4, 8, 8, 1)).astype(np.uint8),
    "label": np.array([0, 1, 2, 0]),
    "index": np.arange(4),
}
TEXT: dict[str, Any] = {"tokens": _rng.integers(0, VOCABULARY, (3, LENGTH)).astype(np.int32), "index": np.arange(3)}


class Classifier(nn.Module):
    """A convolution and a dense layer."""

    num_classes: int = 3

    @nn.compact
    def __call__(self, inputs, train=False):
        x = nn.relu(nn.Conv(5, (3, 3), strides=2, name="conv")(inputs))
        x = jnp.mean(x, axis=(1, 2))
        return nn.Dense(self.num_classes, name="head")(x) if self.num_classes else x


CLASSIFICATION = Classification(model=Classifier())


def randomized(tree: Any, seed: int = 1) -> Any:
    """All leaves normal numbers, as if much had been learned."""
    leaves, structure = jax.tree.flatten(tree)
    rng = np.random.default_rng(seed)
    return jax.tree.unflatten(structure, [rng.normal(0, 0.3, leaf.shape).astype(np.float32) for leaf in leaves])


def layers_of(model: nn.Module, *args: Any) -> dict[str, Layer]:
    """What adapters see of a model."""
    layers = Layers()
    with nn.intercept_methods(layers):
        variables = jax.eval_shape(lambda: model.init(KEY, *args))
    return layers.among(variables["params"])


def initial(task: Any, batch: Any) -> Any:
    """The variables that training starts with."""
    return jax.jit(task.init, compiler_options=FAST)(KEY, batch)


def learned(task: Any, batch: Any) -> Any:
    """Variables of which every one is as if much had been learned."""
    return randomized(jax.eval_shape(lambda: task.init(KEY, batch)))


def adapted(task: Any, variables: Any, batch: Any) -> np.ndarray:
    """The outputs of an adapted task's model in evaluation."""
    outputs = jax.jit(lambda v: task.loss(v, batch, KEY, False).outputs, compiler_options=FAST)(variables)
    return np.asarray(outputs)
