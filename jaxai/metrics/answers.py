"""Exact match and F1 of answers to questions, as SQuAD's evaluation defines them (Rajpurkar et al. 2016).

`squad` is the published script, of texts: it compares words in small letters, without articles and punctuation. The
metrics of a step compare tokens as they are. An answer found in another place of the text is as good as the marked one.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxai.core.errors import InputError
from jaxai.metrics.mean import Mean

_ARTICLE = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)

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


def squad(predictions: Sequence[str], answers: Sequence[Sequence[str]]) -> dict[str, float]:
    """`exact_match` and `f1`, 0 to 100, of predicted answers, each against the best of its true ones."""
    if len(predictions) != len(answers):
        raise InputError("answers", f"there are {len(answers)} for {len(predictions)} predictions", "one or more each")
    pairs = [(_words(guess), [_words(one) for one in true]) for guess, true in zip(predictions, answers, strict=True)]
    exact = sum(guess in true for guess, true in pairs)
    f1 = sum(max(_f1(guess, one) for one in true) for guess, true in pairs)
    return {"exact_match": 100 * exact / len(pairs), "f1": 100 * f1 / len(pairs)}


def _words(text: str) -> list[str]:
    """The words that count."""
    return _ARTICLE.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split()


def _f1(guess: list[str], true: list[str]) -> float:
    """Of words as bags; of no words 1 where there are none."""
    if not guess or not true:
        return float(guess == true)
    return 2 * sum((Counter(guess) & Counter(true)).values()) / (len(guess) + len(true))


def _length(span: Span) -> jax.Array:
    return span[1] - span[0] + 1
