"""Classification: softmax cross-entropy with label smoothing, class and example weights, and soft targets."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxai import metrics
from jaxai.core.errors import InputError, did_you_mean
from jaxai.core.fields import check_fields
from jaxai.tasks.inputs import apply_with_auxiliary, check_augmentations, examples, prepare
from jaxai.tasks.task import Batch, Out, Variables
from jaxai.tasks.text import check_tokenizer, check_vocabulary, fields_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class Classification:
    """Learns to name the class of an example: softmax cross-entropy on the logits of `model`."""

    model: nn.Module
    """The network: `model(inputs, train) -> logits [batch, class]`."""
    augment: tuple[Any, ...] = ()
    """Augmentations from `jaxai.data.augment`, applied in order within the compiled step."""
    label_smoothing: float = 0.0
    """Share of the target spread evenly over all classes (Szegedy et al. 2016)."""
    class_weights: tuple[float, ...] | None = None
    """Weight of each class in the loss."""
    auxiliary_weight: float = 0.3
    """Weight of the loss of each auxiliary head, where the model has them (GoogLeNet, Inception)."""
    top_k: tuple[int, ...] = ()
    """Values of k for which evaluations report top-k accuracy."""
    inputs: str = "image"
    """The field of the batch that the model sees."""
    further: tuple[str, ...] = ()
    """Fields of the batch that the model sees besides, by keyword, such as `("segments", "types")` of text."""
    label: str = "label"
    """The field of the batch with the class number, [batch]."""

    def __post_init__(self):
        check_fields(self, "task.")
        check_augmentations(self.augment)
        if not 0 <= self.label_smoothing < 1:
            raise InputError("task.label_smoothing", f"must be at least 0 and below 1, is {self.label_smoothing}")

    def init(self, key: jax.Array, batch: Batch) -> Variables:
        self._require(batch)
        prepared = prepare(self.augment, batch, key, False, self.inputs)
        keys = {"params": key, "dropout": key}
        return self.model.init(keys, prepared[self.inputs], train=False, **self._further(prepared))

    def loss(self, variables: Variables, batch: Batch, key: jax.Array, train: bool) -> Out:
        labels = batch[self.label]
        weights = batch.get("mask", jnp.ones(labels.shape, jnp.float32)) * batch.get("weight", 1.0)
        num_classes = self._num_classes(variables, batch)
        target = jax.nn.one_hot(labels, num_classes) * (1 - self.label_smoothing) + self.label_smoothing / num_classes
        prepared = prepare(self.augment, {**batch, "target": target}, key, train, self.inputs)
        inputs, target = prepared[self.inputs], prepared["target"]
        logits, model_state, auxiliary = apply_with_auxiliary(
            self.model, variables, inputs, batch["index"], key, train, **self._further(prepared)
        )
        losses = _cross_entropy(logits, target)
        for more in auxiliary:
            losses += self.auxiliary_weight * _cross_entropy(more, target)
        # A label outside the classes has an all-zero target and would go unnoticed: make it the guard's business.
        losses = jnp.where((labels >= 0) & (labels < num_classes), losses, jnp.nan)
        loss_weights = weights
        if self.class_weights is not None:
            loss_weights = weights * jnp.asarray(self.class_weights)[labels]
        # where, not a product: a padded example must not turn 0 * nan into nan.
        total = jnp.sum(jnp.where(loss_weights > 0, losses * loss_weights, 0.0))
        measured: dict[str, metrics.Metric] = {"accuracy": metrics.accuracy(logits, labels, weights)}
        if not train:
            predictions = jnp.argmax(logits, axis=-1)
            measured |= {f"top_{k}": metrics.top_k_accuracy(logits, labels, weights, k) for k in self.top_k}
            measured["confusion"] = metrics.Confusion.of(labels, predictions, weights, num_classes)
            measured["ece"] = metrics.Calibration.of(jax.nn.softmax(logits), labels, weights)
        return Out(total, jnp.sum(loss_weights), model_state, measured, logits)

    def predict(self, variables: Variables, inputs: jax.Array | Mapping[str, jax.Array]) -> jax.Array:
        """Class probabilities [batch, class] of raw inputs as the source gives them, or of several fields by name."""
        return jax.nn.softmax(self._evaluate(self.model, variables, inputs))

    def embed(self, variables: Variables, inputs: jax.Array | Mapping[str, jax.Array]) -> jax.Array:
        """What the head of the model sees, [batch, feature], of raw inputs, or of several fields by name."""
        return self._evaluate(self.model.clone(num_classes=0), variables, inputs)

    def check_source(self, source: Any) -> None:
        """Raises InputError where a tokenizer has another vocabulary than the model."""
        check_tokenizer(self.model, source)

    def check(self, variables: Variables, batch: Batch) -> None:
        """Raises InputError for a batch without the fields, or with labels that are no class of the model."""
        self._require(batch)
        labels = batch[self.label]
        num_classes = self._num_classes(variables, batch)
        if self.class_weights is not None and len(self.class_weights) != num_classes:
            what = f"has {len(self.class_weights)} weights, the model {num_classes} classes"
            raise InputError("task.class_weights", what)
        for k in self.top_k:
            if not 1 <= k <= num_classes:
                raise InputError("task.top_k", f"top-{k} of {num_classes} classes", f"1 to {num_classes}")
        wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
        if wrong.size:
            what = f"is {labels[wrong[0]]} in example {batch['index'][wrong[0]]}, the model has {num_classes} classes"
            raise InputError(self.label, what, f"labels go from 0 to {num_classes - 1}")
        check_vocabulary(self.model, batch, self.inputs)

    def images(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Up to 16 examples, if they are pictures."""
        return examples(batch, self.inputs)

    def _require(self, batch: Batch) -> None:
        further = [(f"task.further.{i}", name) for i, name in enumerate(self.further)]
        for field, name in (("task.inputs", self.inputs), ("task.label", self.label), *further):
            if name not in batch:
                raise InputError(field, f"the data has no field {name!r}", did_you_mean(name, set(batch) - {"index"}))
        if batch[self.label].ndim != 1 or not jnp.issubdtype(batch[self.label].dtype, jnp.integer):
            label = batch[self.label]
            what = f"{self.label!r} must be one integer an example, is {label.dtype}{list(label.shape[1:])}"
            raise InputError("task.label", what)

    def _further(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """What the model takes by keyword; raw inputs may come without, as the model then allows."""
        return {name: batch[name] for name in self.further if name in batch}

    def _evaluate(self, model: nn.Module, variables: Variables, inputs: Any) -> jax.Array:
        """Outputs, float32, of `model` for raw inputs, or for several fields by name."""
        fields = fields_of(inputs, self.inputs)
        index, key = jnp.arange(fields[self.inputs].shape[0]), jax.random.key(0)
        prepared = prepare(self.augment, {**fields, "index": index}, key, False, self.inputs)
        further = self._further(prepared)
        return apply_with_auxiliary(model, variables, prepared[self.inputs], index, key, False, **further)[0]

    def _num_classes(self, variables: Variables, batch: Batch) -> int:
        fields = {self.inputs: batch[self.inputs], **self._further(batch)}
        logits = jax.eval_shape(lambda v, x: self._evaluate(self.model, v, x), dict(variables), fields)
        if getattr(logits, "ndim", None) != 2:
            gives = list(logits.shape) if hasattr(logits, "shape") else f"a {type(logits).__name__}"
            raise InputError("task.model", f"must give logits [batch, class], gives {gives}")
        return logits.shape[-1]


def _cross_entropy(logits: jax.Array, target: jax.Array) -> jax.Array:
    """[batch], of logits and target probabilities, both [batch, class]."""
    return -jnp.sum(target * jax.nn.log_softmax(logits), axis=-1)
