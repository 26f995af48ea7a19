"""Masked language modelling, with next-sentence prediction: how BERT is pre-trained (Devlin et al. 2018)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxai import metrics
from jaxai.core import rng
from jaxai.core.errors import InputError
from jaxai.core.fields import check_fields
from jaxai.data.text.masking import MaskTokens
from jaxai.metrics.perplexity import Perplexity
from jaxai.models.pretraining_heads import MaskedHead, NextSentenceHead
from jaxai.tasks.generative import check_labels, require_labels, weighted_sum, weights_of
from jaxai.tasks.inputs import apply_model, check_augmentations, joined, part, prepare
from jaxai.tasks.task import Batch, Out, Variables
from jaxai.tasks.text import check_tokenizer, check_vocabulary, cross_entropy, described, fields_of, require_tokens


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskedLanguageModel:
    """Learns the tokens that were masked, and whether one sentence follows another, in nats a masked token.

    The parameters are `encoder/...`, `head/...` and, for sentences, `next/...`. The loss is the mean of all masked
    tokens, plus the mean over examples, each weighted by its masked tokens, of next-sentence prediction: BERT's where
    examples have equally many. To fine-tune the encoder with its pooler:

    `start_from=FromRun(run="runs/bert", rename=(("^encoder/", ""), ("^next/pooler/", "pooler/")),
    unused=("^head/", "^next/"), new=("^head/",))`
    """

    encoder: nn.Module
    """The network: `encoder(tokens, train, segments=, types=, ...) -> [batch, length, dim]`, such as
    `Bert(pool="none", num_classes=0)`; its table of tokens, `tokens/embedding`, is that of the outputs too."""
    augment: tuple[Any, ...]
    """What masks, such as `MaskTokens(...)`: it gives `tokens`, the original `targets`, and `chosen`, 1 for what is to
    be predicted, all [batch, length]."""
    next_sentence: bool = False
    """Whether `label` is learned too: 0 where the second sentence follows the first."""
    max_chosen: int | None = None
    """Tokens of an example that are predicted at most, the first of those chosen: logits are computed for so many. By
    default four standard deviations above the mean of `MaskTokens`, 36 of 128; all, where that masks whole words, or
    something else masks."""
    tokens: str = "tokens"
    """The field of the batch with the token numbers, [batch, length]."""
    label: str = "label"
    """The field of the batch with the class of a pair of sentences, [batch]."""

    def __post_init__(self):
        check_fields(self, "task.")
        check_augmentations(self.augment)
        if self.max_chosen is not None and self.max_chosen < 1:
            raise InputError("task.max_chosen", f"must be at least 1, is {self.max_chosen}")

    def init(self, key: jax.Array, batch: Batch) -> Variables:
        self._require(batch)
        prepared = self._masked(batch, key, False)
        keys = {"params": rng.stream(key, "encoder"), "dropout": key}
        further = described(prepared)
        x, encoder = self.encoder.init_with_output(keys, prepared[self.tokens], train=False, **further)
        if getattr(x, "ndim", None) != 3:
            gives = list(x.shape) if hasattr(x, "shape") else f"a {type(x).__name__}"
            raise InputError("task.encoder", f"must give features [batch, length, dim], gives {gives}", 'pool="none"')
        head = MaskedHead().init(rng.stream(key, "head"), x, table=_table(encoder))
        parts = {"encoder": encoder, "head": head}
        if self.next_sentence:
            parts["next"] = NextSentenceHead().init(rng.stream(key, "next"), x)
        return joined(**parts)

    def loss(self, variables: Variables, batch: Batch, key: jax.Array, train: bool) -> Out:
        prepared = self._masked(batch, key, train)
        x, state = self._encode(variables, prepared, batch["index"], rng.stream(key, "encoder"), train)
        # The largest are those of 1, and of equals the first.
        chosen, places = jax.lax.top_k(prepared["chosen"], self._num_predicted(x.shape[1]))
        targets = jnp.take_along_axis(prepared["targets"], places, axis=1)
        logits = self._logits(variables, jnp.take_along_axis(x, places[..., None], axis=1))
        weights = weights_of(batch)[:, None] * chosen
        losses = cross_entropy(logits, targets)
        total = weighted_sum(losses, weights)
        measured: dict[str, metrics.Metric] = {
            "perplexity": Perplexity.of(losses, weights),
            "accuracy": metrics.accuracy(logits, targets, weights),
        }
        if self.next_sentence:
            answers = apply_model(NextSentenceHead(), part(variables, "next"), x, batch["index"], key, train)[0]
            next_losses, label = cross_entropy(answers, batch[self.label]), batch[self.label]
            total += weighted_sum(next_losses, jnp.sum(weights, axis=1))
            measured["next_loss"] = metrics.Mean.of(next_losses, weights_of(batch))
            measured["next_accuracy"] = metrics.accuracy(answers, label, weights_of(batch))
        return Out(total, jnp.sum(weights), joined(encoder=state), measured, logits)

    def predict(self, variables: Variables, inputs: jax.Array | Mapping[str, jax.Array]) -> jax.Array:
        """Logits [batch, length, vocab_size] of each token, of token numbers as they are or several fields by name."""
        fields = fields_of(inputs, self.tokens)
        index, key = jnp.arange(fields[self.tokens].shape[0]), jax.random.key(0)
        return self._logits(variables, self._encode(variables, fields, index, key, False)[0])

    def check_source(self, source: Any) -> None:
        """Raises InputError where a tokenizer has another vocabulary than the encoder."""
        check_tokenizer(self.encoder, source)

    def check(self, variables: Variables, batch: Batch) -> None:
        """Raises InputError for a batch without the fields, or with tokens or labels that there are none of."""
        self._require(batch)
        check_vocabulary(self.encoder, batch, self.tokens)
        size = _table(part(variables, "encoder")).shape[0]
        for given in self.augment:
            if isinstance(given, MaskTokens) and given.vocab_size > size:
                what = f"draws from {given.vocab_size:,} tokens, the encoder has a vocabulary of {size:,}"
                raise InputError("task.augment", f"MaskTokens {what}", f"vocab_size={size}")
        if self.next_sentence:
            check_labels(batch, self.label, 2)

    def _encode(
        self, variables: Variables, fields: Mapping[str, Any], index: jax.Array, key: jax.Array, train: bool
    ) -> tuple[jax.Array, dict[str, Any]]:
        """Features [batch, length, dim], and the encoder's state."""
        mine = part(variables, "encoder")
        return apply_model(self.encoder, mine, fields[self.tokens], index, key, train, **described(fields))

    def _logits(self, variables: Variables, x: jax.Array) -> jax.Array:
        """Float32 logits [..., vocab_size] of features [..., dim]."""
        index, table = jnp.arange(x.shape[0]), _table(part(variables, "encoder"))
        return apply_model(MaskedHead(), part(variables, "head"), x, index, jax.random.key(0), False, table=table)[0]

    def _num_predicted(self, length: int) -> int:
        """How many tokens of an example are predicted at most."""
        if self.max_chosen is not None:
            return min(self.max_chosen, length)
        for given in self.augment:
            if isinstance(given, MaskTokens) and not given.whole_words:
                deviation = math.sqrt(length * given.rate * (1 - given.rate))
                return min(math.ceil(length * given.rate + 4 * deviation), length)
        return length

    def _masked(self, batch: Batch, key: jax.Array, train: bool) -> dict[str, Any]:
        prepared = prepare(self.augment, batch, key, train, self.tokens)
        for name in ("targets", "chosen"):
            if name not in prepared:
                raise InputError("task.augment", f"gives no {name!r}", "such as MaskTokens(...)")
        return prepared

    def _require(self, batch: Batch) -> None:
        require_tokens(batch, tokens=self.tokens)
        if self.next_sentence:
            require_labels(batch, self.label)


def _table(encoder: Mapping[str, Any]) -> jax.Array:
    """An encoder's table of tokens, [vocab_size, dim]."""
    try:
        return encoder["params"]["tokens"]["embedding"]
    except KeyError:
        raise InputError("task.encoder", "has no table of tokens, tokens/embedding", "such as Bert(...)") from None
