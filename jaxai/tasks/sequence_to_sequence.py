"""Sequence to sequence: a text from another, such as its translation, token by token (Vaswani et al. 2017)."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxai import metrics
from jaxai.core.errors import InputError
from jaxai.core.fields import check_fields
from jaxai.metrics.perplexity import Perplexity
from jaxai.tasks.generative import weighted_sum, weights_of
from jaxai.tasks.inputs import apply_model
from jaxai.tasks.task import Batch, Out, Variables
from jaxai.tasks.text import check_tokenizer, check_vocabulary, cross_entropy, next_weights, require_tokens


@dataclasses.dataclass(frozen=True, kw_only=True)
class SequenceToSequence:
    """Learns to predict each token of a target from a source and the target's tokens before it.

    Targets begin with a token that says so and is not predicted, and end with one that is. Where the batch has
    `segments` and `target_segments`, their 0 is padding, which is neither seen nor predicted. The loss is in nats a
    token; `perplexity` leaves label smoothing out.
    """

    model: nn.Module
    """The network: `model(tokens, train, target_tokens=, segments=, target_segments=) -> logits [batch, target length,
    vocab_size]`, each of the target's token that follows, such as `Seq2Seq`."""
    label_smoothing: float = 0.0
    """Share of the target spread evenly over the vocabulary (paper: 0.1)."""
    tokens: str = "tokens"
    """The field of the batch with the source's token numbers, [batch, length]."""
    target: str = "target_tokens"
    """The field of the batch with the target's, [batch, target length]."""

    def __post_init__(self):
        check_fields(self, "task.")
        if not 0 <= self.label_smoothing < 1:
            raise InputError("task.label_smoothing", f"must be at least 0 and below 1, is {self.label_smoothing}")

    def init(self, key: jax.Array, batch: Batch) -> Variables:
        require_tokens(batch, tokens=self.tokens, target=self.target)
        return self.model.init({"params": key, "dropout": key}, batch[self.tokens], train=False, **self._seen(batch))

    def loss(self, variables: Variables, batch: Batch, key: jax.Array, train: bool) -> Out:
        targets, weights = batch[self.target][:, 1:], self.weights(batch)
        logits, state = apply_model(
            self.model, variables, batch[self.tokens], batch["index"], key, train, **self._seen(batch)
        )
        measured: dict[str, metrics.Metric] = {
            "perplexity": Perplexity.of(cross_entropy(logits, targets), weights),
            "accuracy": metrics.accuracy(logits, targets, weights),
        }
        losses = cross_entropy(logits, targets, self.label_smoothing)
        return Out(weighted_sum(losses, weights), jnp.sum(weights), state, measured, logits)

    def weights(self, batch: Batch) -> jax.Array:
        """Of each prediction, [batch, target length - 1]; 0 for padding."""
        return next_weights(weights_of(batch), batch.get("target_segments"), batch[self.target])

    def check_source(self, source: Any) -> None:
        """Raises InputError where a tokenizer has another vocabulary than the model."""
        check_tokenizer(self.model, source)

    def check(self, variables: Variables, batch: Batch) -> None:
        """Raises InputError for a batch without both texts, or with tokens beyond the model's vocabulary."""
        del variables
        require_tokens(batch, tokens=self.tokens, target=self.target)
        if batch[self.target].shape[1] < 2:
            what = f"{self.target!r} has one token an example"
            raise InputError("task.target", what, "two or more: a first one, and those to predict")
        for field in (self.tokens, self.target):
            check_vocabulary(self.model, batch, field)

    def _seen(self, batch: Batch) -> dict[str, Any]:
        """What the model sees by keyword: of the target all but the last token."""
        seen: dict[str, Any] = {"target_tokens": batch[self.target][:, :-1]}
        if "segments" in batch:
            seen["segments"] = batch["segments"]
        if "target_segments" in batch:
            seen["target_segments"] = batch["target_segments"][:, :-1]
        return seen
