"""Exact match and F1 of spans that answer questions, as SQuAD's evaluation defines them, on token numbers.

The official script compares words after lower-casing and without articles and punctuation (Rajpurkar et al. 2016);
here the tokens as they are. An answer found in another place of the text is as good as the marked one.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxai.metrics.mean import Mean

Span = tuple[jax.Array, jax.Array]
"""First and last token, inclusive, int [batch] each."""


def exact_match(tokens: jax.Array, truth: Span, prediction: Span, weights: jax.Array) -> Mean:
    """The share of predicted spans of `tokens` [batch, length] that hold the very tokens of the true ones.

    An example of non-zero weight, `weights` [batch], counts once.
    """
    steps = jnp.arange(tokens.shape[1])[None]
    first, second = (
        jnp.take_along_axis(tokens, start[:, None] + steps, axis=1, mode="clip") for start, _ in (truth, prediction)
    )
    num = _length(truth)
    alike = jnp.all((first == second) | (steps >= num[:, None]), axis=1)
    return Mean.of(alike & (num == _length(prediction)), weights != 0)


def token_f1(tokens: jax.Array, truth: Span, prediction: Span, weights: jax.Array) -> Mean:
    """The mean F1 of the tokens in predicted spans of `tokens` [batch, length], as bags, order aside.

    An example of non-zero weight, `weights` [batch], counts once. Takes memory in [batch, length, length].
    """
    places = jnp.arange(tokens.shape[1])[None]
    true, predicted = ((places >= start[:, None]) & (places <= end[:, None]) for start, end in (truth, prediction))
    same = tokens[:, :, None] == tokens[:, None, :]
    num_true, num_predicted = (jnp.sum(same & inside[:, None, :], axis=-1) for inside in (true, predicted))
    # Each kind of token is common min(...) times; its occurrences in the prediction share that equally.
    shares = jnp.minimum(num_true, num_predicted) / jnp.maximum(num_predicted, 1)
    common = jnp.round(jnp.sum(jnp.where(predicted, shares, 0.0), axis=1))
    return Mean.of(2 * common / (_length(truth) + _length(prediction)), weights != 0)


def _length(span: Span) -> jax.Array:
    return span[1] - span[0] + 1
