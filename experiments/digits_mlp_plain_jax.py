"""A two-layer perceptron on the 8 x 8 digits, with the task written here in plain JAX: no Flax, no shared code.

jaxai train experiments/digits_mlp_plain_jax.py

About 4 s on a 2-core Intel Xeon at 2.5 GHz; 97.4 % test accuracy, 97.2 to 97.5 % over the seeds 0 to 2.

A task is any frozen dataclass with `init` and `loss`. To evaluate or rebuild the run from its own JSON, say that this
file's class may be constructed:

jaxai evaluate runs/digits_mlp_plain_jax --allow experiments/digits_mlp_plain_jax.py
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jaxai import Epochs, Experiment, Out, Pipeline, metrics, optim
from jaxai.data.tfds import Tfds


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlainMlp:
    """Classification of small images; the parameters are a dict of arrays."""

    hidden: int = 128
    """Width of the hidden layer."""
    num_classes: int = 10
    """Logits an example."""

    def init(self, key: jax.Array, batch: Any) -> dict[str, Any]:
        """He normal (He et al. 2015) before ReLU, LeCun normal for the logits, biases at zero."""
        first, second = jax.random.split(key)
        inputs = batch["image"][0].size
        params = {
            "w1": jax.random.normal(first, (inputs, self.hidden)) * (2 / inputs) ** 0.5,
            "b1": jnp.zeros((1, self.hidden)),
            "w2": jax.random.normal(second, (self.hidden, self.num_classes)) * self.hidden**-0.5,
            "b2": jnp.zeros((1, self.num_classes)),
        }
        return {"params": params}

    def predict(self, variables: Any, inputs: jax.Array) -> jax.Array:
        """Logits [batch, class] of images [batch, height, width, channel]."""
        p = variables["params"]
        x = inputs.reshape(len(inputs), -1).astype(p["w1"].dtype) / 255
        return jax.nn.relu(x @ p["w1"] + p["b1"]) @ p["w2"] + p["b2"]

    def loss(self, variables: Any, batch: Any, key: jax.Array, train: bool) -> Out:  # noqa: ARG002
        """The sum of the examples' cross-entropies; `mask` [batch] is 0 where an evaluation's last batch is padded."""
        labels, logits = batch["label"], self.predict(variables, batch["image"]).astype(jnp.float32)
        weights = batch.get("mask", jnp.ones(labels.shape))
        losses = -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=-1)[:, 0]
        measured = {"accuracy": metrics.accuracy(logits, labels, weights)}
        return Out(jnp.sum(losses * weights), jnp.sum(weights), {}, measured, logits)


def get_config() -> Experiment:
    """The experiment."""
    return Experiment(
        task=PlainMlp(hidden=128),
        train=Pipeline(source=Tfds(name="digits", split="train"), batch_size=64, cache=True),
        evals={"test": Pipeline(source=Tfds(name="digits", split="test"), batch_size=360, cache=True)},
        optimizer=optim.adamw(optim.WarmupCosine(peak=3e-3)),
        duration=Epochs(20),
        evaluate_every=Epochs(5),
    )
