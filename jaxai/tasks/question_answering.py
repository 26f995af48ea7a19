"""Extractive question answering: where in a text the answer begins and ends (Devlin et al. 2018, on SQuAD)."""

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
from jaxai.metrics.answers import exact_match, token_f1
from jaxai.tasks.generative import weighted_sum, weights_of
from jaxai.tasks.inputs import apply_model
from jaxai.tasks.task import Batch, Out, Variables
from jaxai.tasks.text import check_tokenizer, check_vocabulary, cross_entropy, described, require, require_tokens


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuestionAnswering:
    """Learns the first and the last token of the answer: the mean of two cross-entropies over the tokens of the text.

    Evaluations report `exact_match` and `f1` of the likeliest span, both over token numbers; `metrics.answers.squad`
    gives those of the published script, over the texts that `Questions(...).open().texts` makes of predictions.
    """

    model: nn.Module
    """The network: `model(tokens, train, segments=, types=, ...) -> logits [batch, length, 2]` of being the first and
    the last token, such as `Bert(pool="none", num_classes=2)`."""
    within: str = "context"
    """The field of the batch, [batch, length], that is 1 where an answer can lie: not in the question, nor padding."""
    max_answer: int = 30
    """Tokens that a predicted answer has at most."""
    tokens: str = "tokens"
    """The field of the batch with the token numbers, [batch, length]: question and text."""
    start: str = "start"
    """The field of the batch with the place of the answer's first token, [batch]."""
    end: str = "end"
    """The field of the batch with the place of its last token, [batch]."""

    def __post_init__(self):
        check_fields(self, "task.")
        if self.max_answer < 1:
            raise InputError("task.max_answer", f"must be at least 1, is {self.max_answer}")

    def init(self, key: jax.Array, batch: Batch) -> Variables:
        self._require(batch)
        return self.model.init({"params": key, "dropout": key}, batch[self.tokens], train=False, **described(batch))

    def loss(self, variables: Variables, batch: Batch, key: jax.Array, train: bool) -> Out:
        truth, weights = (batch[self.start], batch[self.end]), weights_of(batch)
        logits, state = self._logits(variables, batch, batch["index"], key, train)
        losses = (cross_entropy(logits[..., 0], truth[0]) + cross_entropy(logits[..., 1], truth[1])) / 2
        measured: dict[str, metrics.Metric] = {}
        if not train:
            answer = self._likeliest(logits)
            measured["exact_match"] = exact_match(batch[self.tokens], truth, answer, weights)
            measured["f1"] = token_f1(batch[self.tokens], truth, answer, weights)
        return Out(weighted_sum(losses, weights), jnp.sum(weights), state, measured, logits)

    def predict(self, variables: Variables, inputs: Mapping[str, jax.Array]) -> jax.Array:
        """Places of the likeliest answer's first and last token, int32 [batch, 2], of a batch's fields by name."""
        index = jnp.arange(inputs[self.tokens].shape[0])
        logits, _ = self._logits(variables, inputs, index, jax.random.key(0), False)
        return jnp.stack(self._likeliest(logits), axis=-1)

    def check_source(self, source: Any) -> None:
        """Raises InputError where a tokenizer has another vocabulary than the model."""
        check_tokenizer(self.model, source)

    def check(self, variables: Variables, batch: Batch) -> None:
        """Raises InputError for a batch without the fields, or with answers that lie outside the text."""
        self._require(batch)
        check_vocabulary(self.model, batch, self.tokens)
        logits, _ = jax.eval_shape(
            lambda v, b: self._logits(v, b, b["index"], jax.random.key(0), False), dict(variables), dict(batch)
        )
        if logits.shape != (*batch[self.tokens].shape, 2):
            what = f"gives {list(logits.shape[1:])} an example of {batch[self.tokens].shape[1]} tokens"
            raise InputError("task.model", what, 'needs [length, 2], as of pool="none" and num_classes=2')
        start, end, length = batch[self.start], batch[self.end], batch[self.tokens].shape[1]
        ends = np.stack([start, end], axis=1)
        inside = np.take_along_axis(batch[self.within], np.clip(ends, 0, length - 1), axis=1) > 0
        wrong = np.flatnonzero((start > end) | (start < 0) | (end >= length) | ~inside.all(axis=1))
        if wrong.size:
            row = wrong[0]
            what = f"the answer of example {batch['index'][row]} goes from token {start[row]} to {end[row]}"
            raise InputError(self.start, what, f"both must lie where {self.within!r} is above 0")

    def _logits(
        self, variables: Variables, batch: Mapping[str, jax.Array], index: jax.Array, key: jax.Array, train: bool
    ) -> tuple[jax.Array, dict[str, Any]]:
        """Logits [batch, length, 2], -inf where no answer can lie, and the model's state."""
        logits, state = apply_model(self.model, variables, batch[self.tokens], index, key, train, **described(batch))
        return jnp.where(batch[self.within][..., None] > 0, logits, -jnp.inf), state

    def _likeliest(self, logits: jax.Array) -> tuple[jax.Array, jax.Array]:
        """First and last token [batch] of the span of the greatest sum of logits, of at most `max_answer` tokens."""
        length = logits.shape[1]
        lengths = jnp.arange(length)[None, :] - jnp.arange(length)[:, None] + 1
        scores = logits[:, :, None, 0] + logits[:, None, :, 1]
        allowed = (lengths >= 1) & (lengths <= self.max_answer)
        best = jnp.argmax(jnp.where(allowed[None], scores, -jnp.inf).reshape(-1, length * length), axis=1)
        return best // length, best % length

    def _require(self, batch: Batch) -> None:
        require_tokens(batch, tokens=self.tokens, within=self.within)
        require(batch, start=self.start, end=self.end)
