"""Exact match and F1 of answer spans against the definition of SQuAD's official script."""

from __future__ import annotations

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxai.metrics.answers import exact_match, token_f1

exact, f1 = jax.jit(exact_match), jax.jit(token_f1)


def official(prediction: list[int], truth: list[int]) -> tuple[bool, float]:
    """`compute_exact` and `compute_f1` of SQuAD's evaluate-v2.0.py, after its normalization."""
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
