"""F1 of named spans of tokens, as shared tasks such as CoNLL-2003 count them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxai.core.errors import InputError


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Spans:
    """How many spans there are, were predicted, and were predicted with both ends and the type right; int32 scalars."""

    true: jax.Array
    predicted: jax.Array
    both: jax.Array

    @classmethod
    def of(cls, labels: jax.Array, predictions: jax.Array, weights: jax.Array, tags: Sequence[str]) -> Spans:
        """Of tag numbers `labels` and `predictions`, and `weights`, all [batch, length].

        A token of weight 0 is passed over, as if it were not there: a span may reach across it. `tags` are in BIO:
        `O`, and `B-` or `I-` with the type of a span. An I that does not follow its own type begins a span (conlleval).
        """
        if not labels.shape == predictions.shape == weights.shape:
            shapes = f"{labels.shape}, {predictions.shape} and {weights.shape}"
            raise InputError("labels", f"labels, predictions and weights differ in shape: {shapes}")
        is_begin, kinds = _parse(tags)
        counted = weights != 0
        order = jnp.argsort(~counted, axis=1, stable=True)
        counted = jnp.take_along_axis(counted, order, axis=1)
        found = []
        for numbers in (labels, predictions):
            numbers = jnp.take_along_axis(numbers, order, axis=1)
            kind = jnp.where(counted, jnp.asarray(kinds)[numbers], -1)
            found.append((kind, *_ends(kind, jnp.asarray(is_begin)[numbers])))
        (kind, starts, ends), (other, other_starts, other_ends) = found
        both = starts & other_starts & (kind == other) & (ends == other_ends)
        return cls(*(jnp.sum(x, dtype=jnp.int32) for x in (starts, other_starts, both)))

    def compute(self) -> dict[str, float | np.ndarray]:
        """Over the spans of all types together; 0 / 0 is 0."""
        true, predicted, both = (int(x) for x in (self.true, self.predicted, self.both))
        return {
            "span_precision": both / max(predicted, 1),
            "span_recall": both / max(true, 1),
            "span_f1": 2 * both / max(true + predicted, 1),
        }


def _parse(tags: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Whether each tag is a B, and the number of its type, -1 for O."""
    for tag in tags:
        if tag != "O" and not (tag[:2] in ("B-", "I-") and tag[2:]):
            raise InputError("tags", f"{tag!r} is no tag in BIO", "O, B-TYPE or I-TYPE")
    types = sorted({tag[2:] for tag in tags if tag != "O"})
    kinds = [-1 if tag == "O" else types.index(tag[2:]) for tag in tags]
    return np.array([tag.startswith("B-") for tag in tags]), np.array(kinds, np.int32)


def _ends(kind: jax.Array, is_begin: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Where a span starts, bool [batch, length], and the place after its last token, of types and Bs by token."""
    length = kind.shape[1]
    before = jnp.pad(kind, ((0, 0), (1, 0)), constant_values=-1)[:, :-1]
    goes_on = (kind >= 0) & ~is_begin & (kind == before)
    breaks = jnp.where(goes_on, length, jnp.arange(length)[None])
    after = jnp.pad(breaks, ((0, 0), (0, 1)), constant_values=length)[:, 1:]
    return (kind >= 0) & ~goes_on, jax.lax.cummin(after, axis=1, reverse=True)
