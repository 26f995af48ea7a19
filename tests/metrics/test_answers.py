"""Exact match and F1 of answer spans against the definition of SQuAD's official script."""

from __future__ import annotations

import re
import string
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxai.core.errors import InputError
from jaxai.metrics.answers import exact_match, squad, token_f1

exact, f1 = jax.jit(exact_match), jax.jit(token_f1)


def official(prediction: list, truth: list) -> tuple[bool, float]:
    """`compute_exact` and `compute_f1` of SQuAD's evaluate-v2.0.py, after its normalization."""
    if not prediction or not truth:
        return truth == prediction, float(truth == prediction)
    num_same = sum((Counter(truth) & Counter(prediction)).values())
    if num_same == 0:
        return truth == prediction, 0.0
    precision, recall = num_same / len(prediction), num_same / len(truth)
    return truth == prediction, 2 * precision * recall / (precision + recall)


def test_are_the_official_ones_of_spans_of_repeated_tokens():
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 4, (400, 9)).astype(np.int32)
    truth, prediction = (np.sort(rng.integers(0, 9, (2, 400)), axis=0).astype(np.int32) for _ in range(2))
    prediction = np.where(rng.random(400) < 0.3, truth, prediction)
    weights = (np.arange(400) < 390).astype(np.float32)
    expected = [
        official(row[p[0] : p[1] + 1].tolist(), row[t[0] : t[1] + 1].tolist())
        for row, t, p in list(zip(tokens, truth.T, prediction.T, strict=True))[:390]
    ]
    matches, scores = np.mean(expected, axis=0)
    assert 0.2 < matches < 0.5
    assert exact(tokens, tuple(truth), tuple(prediction), weights).compute() == pytest.approx(matches)
    assert f1(tokens, tuple(truth), tuple(prediction), weights).compute() == pytest.approx(scores, rel=1e-5)


def test_the_same_words_elsewhere_are_right():
    tokens = jnp.array([[7, 8, 1, 7, 8]])
    first, second = (jnp.array([0]), jnp.array([1])), (jnp.array([3]), jnp.array([4]))
    assert exact(tokens, first, second, jnp.ones(1)).compute() == 1
    longer = (jnp.array([2]), jnp.array([4]))
    assert exact(tokens, first, longer, jnp.ones(1)).compute() == 0
    assert f1(tokens, first, longer, jnp.ones(1)).compute() == pytest.approx(0.8)


def normalize_answer(s):
    """As it stands in SQuAD's evaluate-v2.0.py."""

    def remove_articles(text):
        regex = re.compile(r"\b(a|an|the)\b", re.UNICODE)
        return re.sub(regex, " ", text)

    def white_space_fix(text):
        return " ".join(text.split())

    def remove_punc(text):
        exclude = set(string.punctuation)
        return "".join(ch for ch in text if ch not in exclude)

    def lower(text):
        return text.lower()

    return white_space_fix(remove_articles(remove_punc(lower(s))))


def test_of_texts_are_those_of_the_published_script():
    """The best of several answers, over what chance makes of words, articles, marks and capitals."""
    rng = np.random.default_rng(0)
    parts = ["the", "The", "a", "An", "cat", "Cat,", "cat's", "-", "sat.", "(sat)", "theatre", "x y", "", "É"]

    def some():
        return " ".join(rng.choice(parts, rng.integers(0, 5)))

    pairs = [(some(), [some() for _ in range(rng.integers(1, 4))]) for _ in range(300)]
    each = [
        [official(normalize_answer(guess).split(), normalize_answer(one).split()) for one in true]
        for guess, true in pairs
    ]
    scores = [np.max(of_one, axis=0) for of_one in each]
    found = squad([guess for guess, _ in pairs], [true for _, true in pairs])
    matches, f1s = np.mean(scores, axis=0)
    assert 0.1 < matches < 0.6
    assert found == pytest.approx({"exact_match": 100 * matches, "f1": 100 * f1s})


def test_articles_marks_and_capitals_are_nothing():
    assert squad(["The cat-sat!"], [["a CATSAT"]]) == {"exact_match": 100, "f1": 100}
    # Two of three words guessed are two of four true ones.
    assert squad(["cat sat here"], [["dog", "the cat sat on mats"]]) == pytest.approx({"exact_match": 0, "f1": 400 / 7})
    with pytest.raises(InputError, match="answers: there are 1 for 2 predictions"):
        squad(["a", "b"], [["a"]])
