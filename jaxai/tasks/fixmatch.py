"""FixMatch: confident guesses on weakly augmented images as labels of strongly augmented ones (Sohn et al. 2020)."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxai import metrics
from jaxai.core import rng
from jaxai.core.errors import InputError
from jaxai.core.fields import check_fields
from jaxai.tasks import siamese
from jaxai.tasks.classification import Classification
from jaxai.tasks.inputs import apply_model, check_augmentations, examples, prepare
from jaxai.tasks.task import Batch, Out, Variables


@dataclasses.dataclass(frozen=True, kw_only=True)
class FixMatch:
    """Classification where few examples have labels: in training, a label of -1 says that it is not known.

    The loss of the paper is the mean cross-entropy of the labelled examples and the weighted mean consistency of the
    unlabelled ones. How many of a batch are labelled is left to chance, so each sum is divided by the share that is
    expected: the sum of the batch then has the paper's loss as its expectation.
    """

    model: nn.Module
    """The network: `model(inputs, train) -> logits [batch, class]`."""
    weak: tuple[Any, ...]
    """Augmentations under which the model learns from labels, and guesses: crops and flips."""
    strong: tuple[Any, ...]
    """Augmentations under which its guesses are to hold, such as RandAugment."""
    labelled_share: float
    """The share of the training examples that have labels."""
    threshold: float = 0.95
    """The least probability of a guess that counts."""
    unlabelled_weight: float = 1.0
    """Weight of the unlabelled examples' loss."""
    inputs: str = "image"
    """The field of the batch that the model sees."""
    label: str = "label"
    """The field of the batch with the class number, [batch]."""

    def __post_init__(self):
        check_fields(self, "task.")
        check_augmentations(self.weak, "task.weak")
        check_augmentations(self.strong, "task.strong")
        if not 0 < self.labelled_share < 1:
            what = f"must be above 0 and below 1, is {self.labelled_share:g}"
            raise InputError("task.labelled_share", what, "with all labels, Classification")
        if not 0 <= self.threshold <= 1:
            raise InputError("task.threshold", f"must be 0 to 1, is {self.threshold:g}")
        if not self.unlabelled_weight >= 0:
            raise InputError("task.unlabelled_weight", f"must not be negative, is {self.unlabelled_weight:g}")

    def init(self, key: jax.Array, batch: Batch) -> Variables:
        return self._supervised.init(key, batch)

    def loss(self, variables: Variables, batch: Batch, key: jax.Array, train: bool) -> Out:
        if not train:
            return self._supervised.loss(variables, batch, key, train)
        labels, weights = batch[self.label], jnp.ones(batch["index"].shape, jnp.float32)
        known = labels >= 0
        views = [
            prepare(augment, batch, rng.stream(key, name), train, self.inputs)[self.inputs]
            for name, augment in (("weak", self.weak), ("strong", self.strong))
        ]
        index = jnp.concatenate([batch["index"]] * 2)
        logits, model_state = apply_model(self.model, variables, jnp.concatenate(views), index, key, train)
        weak, strong = jnp.split(logits, 2)
        guesses, probabilities = _guess(jax.lax.stop_gradient(weak))
        confident = probabilities >= self.threshold
        labelled = _cross_entropy(weak, labels) / self.labelled_share
        consistency = jnp.where(confident, _cross_entropy(strong, guesses), 0.0) / (1 - self.labelled_share)
        total = jnp.sum(jnp.where(known, labelled, self.unlabelled_weight * consistency))
        unknown = 1 - known.astype(jnp.float32)
        measured = {
            "accuracy": metrics.accuracy(weak, labels, known),
            "mask_rate": metrics.Mean.of(confident, unknown != 0),
            "confidence": metrics.Mean.of(probabilities, unknown),
        }
        return Out(total, jnp.sum(weights), model_state, measured, weak)

    def predict(self, variables: Variables, inputs: jax.Array) -> jax.Array:
        """Class probabilities [batch, class] of raw inputs as the source gives them."""
        return self._supervised.predict(variables, inputs)

    def embed(self, variables: Variables, inputs: jax.Array) -> jax.Array:
        """What the head of the model sees, [batch, feature], of raw inputs as the source gives them."""
        return self._supervised.embed(variables, inputs)

    def check(self, variables: Variables, batch: Batch) -> None:
        """Raises InputError as Classification does; in training, a label may be -1."""
        if "mask" not in batch and self.label in batch:
            batch = {**batch, self.label: np.where(batch[self.label] == -1, 0, batch[self.label])}
        self._supervised.check(variables, batch)

    def images(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Up to 16 examples, if they are pictures."""
        return examples(batch, self.inputs)

    def pictures(self, variables: Variables, batch: Batch, key: jax.Array) -> dict[str, jax.Array]:  # noqa: ARG002
        """Weak and strong views of up to 16 examples, next to each other."""
        return siamese.side_by_side(self.weak, self.strong, batch, key, self.inputs)

    @functools.cached_property
    def _supervised(self) -> Classification:
        """The task that remains where all labels are known."""
        return Classification(model=self.model, augment=self.weak, inputs=self.inputs, label=self.label)


def _guess(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The likeliest class of logits [batch, class], and its probability; both [batch]."""
    return jnp.argmax(logits, axis=-1), jnp.max(jax.nn.softmax(logits), axis=-1)


def _cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """[batch], of logits [batch, class]; nan for a label above the classes, so that the guard sees it."""
    num_classes = logits.shape[-1]
    losses = -jnp.sum(jax.nn.one_hot(labels, num_classes) * jax.nn.log_softmax(logits), axis=-1)
    return jnp.where(labels < num_classes, losses, jnp.nan)
