"""Temperature scaling (Guo et al. 2017): one number that makes a trained model as sure as it is right."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jaxai import metrics
from jaxai.core.fields import check_fields
from jaxai.tasks.inputs import part
from jaxai.tasks.task import Batch, Out, Variables
from jaxai.tasks.wrapper import Wrapper, check_task


@dataclasses.dataclass(frozen=True, kw_only=True)
class Calibrated(Wrapper):
    """Learns the temperature that divides the logits of a trained classifier, by cross-entropy on held-out examples.

    The classifier is in evaluation mode and learns nothing; its parameters are `model/...`, beside `log_temperature`.
    So train on the validation split with `freeze=("^model/",)`, from the run that trained it:
    `start_from=FromRun(run="runs/x", rename=((r"^", "model/"),), new=("log_temperature",))`.

    Evaluations report the calibration error and loss after and, called `uncalibrated_...`, before. The temperature
    changes neither which class is likeliest nor the accuracy.
    """

    task: Any
    """What the model was trained for: `Classification`, or a task like it whose `outputs` are logits [batch, class]."""

    def __post_init__(self):
        check_fields(self, "task.")
        check_task(self.task)

    def init(self, key: jax.Array, batch: Batch) -> Variables:
        variables = {name: {"model": values} for name, values in self.task.init(key, batch).items()}
        return {**variables, "params": {**variables["params"], "log_temperature": jnp.float32(0)}}

    def loss(self, variables: Variables, batch: Batch, key: jax.Array, train: bool) -> Out:
        inner = self.task.loss(jax.lax.stop_gradient(part(variables, "model")), batch, key, False)
        log_temperature = jnp.asarray(variables["params"]["log_temperature"], jnp.float32)
        labels = batch[self.task.label]
        weights = batch.get("mask", jnp.ones(labels.shape)) * batch.get("weight", 1.0)
        log_answer = jax.nn.log_softmax(inner.outputs / jnp.exp(log_temperature))
        losses = -jnp.take_along_axis(log_answer, labels[:, None], axis=-1)[:, 0]
        weight = jnp.sum(weights)
        measured: dict[str, Any] = {"temperature": metrics.Mean(jnp.exp(log_temperature) * weight, weight)}
        if not train:
            before = metrics.Calibration.of(jax.nn.softmax(inner.outputs), labels, weights)
            after = metrics.Calibration.of(jnp.exp(log_answer), labels, weights)
            uncalibrated = {"uncalibrated_ece": before, "uncalibrated_loss": metrics.Mean(inner.total, inner.weight)}
            measured = {**inner.metrics, **measured, **uncalibrated, "ece": after}
        total = jnp.sum(jnp.where(weights > 0, losses * weights, 0.0))
        return Out(total, weight, {}, measured, log_answer)

    def predict(self, variables: Variables, inputs: jax.Array) -> jax.Array:
        """Calibrated class probabilities [batch, class] of raw inputs."""
        logits = jnp.log(self.task.predict(part(variables, "model"), inputs))
        return jax.nn.softmax(logits / jnp.exp(variables["params"]["log_temperature"]))

    def embed(self, variables: Variables, inputs: jax.Array) -> jax.Array:
        """The model's features of raw inputs."""
        return self.task.embed(part(variables, "model"), inputs)

    def check(self, variables: Variables, batch: Batch) -> None:
        """What the inner task finds wrong with a batch."""
        if hasattr(self.task, "check"):
            self.task.check(part(variables, "model"), batch)

    def pictures(self, variables: Variables, batch: Batch, key: jax.Array) -> dict[str, jax.Array]:
        """The inner task's."""
        return self.task.pictures(part(variables, "model"), batch, key) if hasattr(self.task, "pictures") else {}
