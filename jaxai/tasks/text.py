"""What tasks of text do alike: fields that tell a model of its tokens, and cross-entropy over a vocabulary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxai.core.errors import InputError, did_you_mean
from jaxai.data.text.tokenizers import open_tokenizer, tokenizer_of
from jaxai.tasks.task import Batch

DESCRIBE = ("segments", "positions", "types")
"""Fields of a batch that say of its tokens what encoders take by keyword."""


def described(batch: Batch, names: tuple[str, ...] = DESCRIBE) -> dict[str, Any]:
    """Those of the fields `names` that the batch has."""
    return {name: batch[name] for name in names if name in batch}


def fields_of(inputs: jax.Array | Mapping[str, jax.Array], name: str) -> dict[str, Any]:
    """Raw inputs as fields by name: a mapping as it is, an array as the field `name`."""
    return dict(inputs) if isinstance(inputs, Mapping) else {name: inputs}


def cross_entropy(logits: jax.Array, targets: jax.Array, smoothing: float = 0.0) -> jax.Array:
    """Nats [...] of class numbers `targets` [...] under `logits` [..., class]; nan for what is no class.

    A share `smoothing` of each target is spread evenly over all classes.
    """
    log_p = jax.nn.log_softmax(logits)
    losses = -jnp.take_along_axis(log_p, targets[..., None], axis=-1, mode="clip")[..., 0]
    if smoothing:
        losses = (1 - smoothing) * losses - smoothing * jnp.mean(log_p, axis=-1)
    return jnp.where((targets >= 0) & (targets < logits.shape[-1]), losses, jnp.nan)


def next_weights(weights: jax.Array, segments: jax.Array | None, tokens: jax.Array) -> jax.Array:
    """Weights [batch, length - 1] of predicting each token after the first of `tokens` [batch, length].

    Those of its example, `weights` [batch]; 0 for padding, of segment 0, and for the first token of a segment, which
    no token of its own text comes before.
    """
    if segments is None:
        return jnp.broadcast_to(weights[:, None], tokens[:, 1:].shape)
    return weights[:, None] * ((segments[:, 1:] == segments[:, :-1]) & (segments[:, 1:] > 0))


def require(batch: Batch, **fields: str) -> None:
    """Raises InputError for a batch without the field that the task's field of that name says, such as `tokens`."""
    for field, name in fields.items():
        if name not in batch:
            fix = did_you_mean(name, set(batch) - {"index"})
            raise InputError(f"task.{field}", f"the data has no field {name!r}", fix)


def require_tokens(batch: Batch, **fields: str) -> None:
    """As `require`, of fields that are to be whole numbers [batch, length]."""
    require(batch, **fields)
    for field, name in fields.items():
        array = batch[name]
        if array.ndim != 2 or not jnp.issubdtype(array.dtype, jnp.integer):
            what = f"{name!r} is {array.dtype}{list(array.shape[1:])} an example"
            raise InputError(f"task.{field}", what, "needs whole numbers [length]")


SPARE = 128
"""A model has fewer tokens than so many beyond its tokenizer's: some round their vocabulary up to a multiple of it."""


def check_tokenizer(model: nn.Module, source: Any) -> None:
    """Raises InputError for a declared source whose tokenizer has another vocabulary than `model`, if it has one."""
    size, tokenizer = getattr(model, "vocab_size", None), tokenizer_of(source)
    if size is None or tokenizer is None:
        return
    num_tokens = open_tokenizer(tokenizer).vocab_size
    if not num_tokens <= size < num_tokens + SPARE:
        what = f"has {num_tokens:,} tokens, {type(model).__name__} a vocabulary of {size:,}"
        raise InputError("tokenizer", what, f"vocab_size={num_tokens}, or the tokenizer that belongs to the model")


def check_vocabulary(model: nn.Module, batch: Batch, field: str) -> None:
    """Raises InputError for a host batch with tokens beyond the vocabulary, if `model` has one (`vocab_size`)."""
    size = getattr(model, "vocab_size", None)
    if size is None:
        return
    tokens = np.asarray(batch[field])
    wrong = np.argwhere((tokens < 0) | (tokens >= size))
    if len(wrong):
        row, place = wrong[0]
        what = f"token {place} of example {batch['index'][row]} is {tokens[row, place]}"
        fix = f"the tokenizer may have at most as many as the model: vocab_size of at least {tokens.max() + 1}"
        raise InputError(
            field, f"{what}, the model has a vocabulary of {size:,}", fix if tokens[row, place] > 0 else ""
        )
