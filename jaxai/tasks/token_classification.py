"""Token classification: the class of each token, such as the part of a name that it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxai import metrics
from jaxai.core.errors import InputError
from jaxai.core.fields import check_fields
from jaxai.metrics.spans import Spans
from jaxai.tasks.generative import weighted_sum, weights_of
from jaxai.tasks.inputs import apply_model
from jaxai.tasks.task import Batch, Out, Variables
from jaxai.tasks.text import check_tokenizer, check_vocabulary, cross_entropy, described, fields_of, require_tokens


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenClassification:
    """Learns to name the class of each token: cross-entropy, of all tokens alike.

    A token whose label is -1 is not counted: padding, or what of a word comes after its first token.
    """

    model: nn.Module
    """The network: `model(tokens, train, segments=, ...) -> logits [batch, length, class]`, such as
    `Bert(pool="none", num_classes=9)`."""
    tags: tuple[str, ...] = ()
    """Names of the classes in BIO: `("O", "B-PER", "I-PER")`. Where given, evaluations report the F1 of whole spans."""
    tokens: str = "tokens"
    """The field of the batch with the token numbers, [batch, length]."""
    labels: str = "labels"
    """The field of the batch with the class numbers, [batch, length]."""

    def __post_init__(self):
        check_fields(self, "task.")

    def init(self, key: jax.Array, batch: Batch) -> Variables:
        require_tokens(batch, tokens=self.tokens, labels=self.labels)
        return self.model.init({"params": key, "dropout": key}, batch[self.tokens], train=False, **described(batch))

    def loss(self, variables: Variables, batch: Batch, key: jax.Array, train: bool) -> Out:
        labels, weights = batch[self.labels], self.weights(batch)
        logits, state = apply_model(
            self.model, variables, batch[self.tokens], batch["index"], key, train, **described(batch)
        )
        losses = cross_entropy(logits, labels)
        measured: dict[str, metrics.Metric] = {"accuracy": metrics.accuracy(logits, labels, weights)}
        if self.tags and not train:
            measured["spans"] = Spans.of(labels, jnp.argmax(logits, axis=-1), weights, self.tags)
        return Out(weighted_sum(losses, weights), jnp.sum(weights), state, measured, logits)

    def weights(self, batch: Batch) -> jax.Array:
        """Of each token, [batch, length]; 0 where the label is -1."""
        return weights_of(batch)[:, None] * (batch[self.labels] != -1)

    def predict(self, variables: Variables, inputs: jax.Array | Mapping[str, jax.Array]) -> jax.Array:
        """Class probabilities [batch, length, class] of token numbers, or of several fields by name."""
        fields = fields_of(inputs, self.tokens)
        tokens, key = fields[self.tokens], jax.random.key(0)
        index = jnp.arange(tokens.shape[0])
        return jax.nn.softmax(apply_model(self.model, variables, tokens, index, key, False, **described(fields))[0])

    def check_source(self, source: Any) -> None:
        """Raises InputError where a tokenizer has another vocabulary than the model."""
        check_tokenizer(self.model, source)

    def check(self, variables: Variables, batch: Batch) -> None:
        """Raises InputError for a batch without the fields, or with labels that are no class of the model."""
        require_tokens(batch, tokens=self.tokens, labels=self.labels)
        check_vocabulary(self.model, batch, self.tokens)
        fields = {self.tokens: batch[self.tokens], **described(batch)}
        logits = jax.eval_shape(self.predict, dict(variables), fields)
        if logits.shape[:-1] != batch[self.labels].shape:
            what = f"gives {list(logits.shape[1:])} for labels {list(batch[self.labels].shape[1:])}"
            raise InputError("task.model", what, 'logits [length, class], as of pool="none"')
        num_classes = logits.shape[-1]
        if self.tags and len(self.tags) != num_classes:
            raise InputError("task.tags", f"names {len(self.tags)} classes, the model has {num_classes}")
        wrong = np.argwhere((batch[self.labels] < -1) | (batch[self.labels] >= num_classes))
        if len(wrong):
            row, place = wrong[0]
            what = f"is {batch[self.labels][row, place]} at token {place} of example {batch['index'][row]}"
            fix = f"labels go from 0 to {num_classes - 1}; -1 is not counted"
            raise InputError(self.labels, what, fix)
