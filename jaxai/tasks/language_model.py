"""Language modelling: the next token of a text, by cross-entropy."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxai import metrics
from jaxai.core.errors import InputError
from jaxai.core.fields import check_fields
from jaxai.forms.cross_entropy import linear_cross_entropy, suits
from jaxai.metrics.perplexity import Perplexity, bits_per_byte
from jaxai.tasks.generative import weighted_sum, weights_of
from jaxai.tasks.inputs import apply_model
from jaxai.tasks.task import Batch, Out, Variables
from jaxai.tasks.text import check_tokenizer, check_vocabulary, cross_entropy, described, next_weights, require_tokens


@dataclasses.dataclass(frozen=True, kw_only=True)
class LanguageModel:
    """Learns to predict each token of a text from those before it: cross-entropy in nats a token.

    A row of the batch may hold several texts: where it has `segments`, the number of each token's text, none is
    predicted from another, nor is padding, which is 0. Where it has `num_bytes`, what each token stands for,
    evaluations report bits a byte. The model sees a row without its last token, after which nothing comes.
    """

    model: nn.Module
    """The network: `model(tokens, train, segments=, positions=) -> logits [batch, length, vocab_size]`, each of the
    token that follows, such as `GPT2`."""
    tokens: str = "tokens"
    """The field of the batch with the token numbers, [batch, length]."""

    def __post_init__(self):
        check_fields(self, "task.")

    def init(self, key: jax.Array, batch: Batch) -> Variables:
        self._require(batch)
        seen = self._seen(batch)
        return self.model.init({"params": key, "dropout": key}, seen.pop(self.tokens), train=False, **seen)

    def loss(self, variables: Variables, batch: Batch, key: jax.Array, train: bool) -> Out:
        targets, weights, seen = batch[self.tokens][:, 1:], self.weights(batch), self._seen(batch)
        inputs = seen.pop(self.tokens)
        table = _table(self.model, variables)
        if table is not None and suits(len(table)):
            model = self.model.clone(head=False)
            x, state = apply_model(model, variables, inputs, batch["index"], key, train, **seen)
            total, losses, likeliest = linear_cross_entropy(x, table, targets, weights)
            logits = x @ table.T  # the compiler leaves them out unless somebody asks for them
        else:
            logits, state = apply_model(self.model, variables, inputs, batch["index"], key, train, **seen)
            losses, likeliest = cross_entropy(logits, targets), jnp.argmax(logits, axis=-1) == targets
            total = weighted_sum(losses, weights)
        measured: dict[str, metrics.Metric] = {
            "perplexity": Perplexity.of(losses, weights),
            "accuracy": metrics.Mean.of(likeliest, weights != 0),
        }
        if "num_bytes" in batch:
            measured["bits_per_byte"] = bits_per_byte(losses, batch["num_bytes"][:, 1:], weights)
        return Out(total, jnp.sum(weights), state, measured, logits)

    def weights(self, batch: Batch) -> jax.Array:
        """Of each prediction, [batch, length - 1]; 0 for what does not follow a token of its own text."""
        return next_weights(weights_of(batch), batch.get("segments"), batch[self.tokens])

    def predict(self, variables: Variables, inputs: jax.Array) -> jax.Array:
        """Logits [batch, length, vocab_size] of the token that follows each of `inputs` [batch, length]."""
        return apply_model(self.model, variables, inputs, jnp.arange(inputs.shape[0]), jax.random.key(0), False)[0]

    def check_source(self, source: Any) -> None:
        """Raises InputError where a tokenizer has another vocabulary than the model."""
        check_tokenizer(self.model, source)

    def check(self, variables: Variables, batch: Batch) -> None:
        """Raises InputError for a batch without tokens, or with some beyond the model's vocabulary."""
        del variables
        self._require(batch)
        check_vocabulary(self.model, batch, self.tokens)

    def _seen(self, batch: Batch) -> dict[str, Any]:
        """What the model sees: all but the last token, with what is said of them."""
        fields = {self.tokens: batch[self.tokens], **described(batch, ("segments", "positions"))}
        return {name: values[:, :-1] for name, values in fields.items()}

    def _require(self, batch: Batch) -> None:
        require_tokens(batch, tokens=self.tokens)
        if batch[self.tokens].shape[1] < 2:
            raise InputError("task.tokens", f"{self.tokens!r} has one token an example", "two or more: one to predict")


def _table(model: nn.Module, variables: Variables) -> jax.Array | None:
    """What the model's logits are products with, [vocab_size, dim]; None where it may be more than that."""
    params = variables["params"]
    if getattr(model, "head", None) is not True:
        return None
    if "head" in params:
        return params["head"]["kernel"].T if params["head"].keys() == {"kernel"} else None
    return params["tokens"]["embedding"] if "tokens" in params else None
