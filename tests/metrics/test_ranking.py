"""Scores of rankings against scikit-learn and by hand."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import label_ranking_average_precision_score, ndcg_score

from jaxai.metrics.ranking import ndcg_at, rank_of, recall_at, reciprocal_rank

RNG = np.random.default_rng(0)
SCORES = RNG.normal(size=(50, 20)).astype(np.float32)
TARGET = RNG.integers(0, 20, 50)
RANKS = rank_of(jnp.asarray(SCORES), jnp.asarray(TARGET))


def test_are_scikit_learns():
    relevant = np.eye(20)[TARGET]
    mean = reciprocal_rank(RANKS, jnp.ones(50)).compute()
    assert mean == pytest.approx(label_ranking_average_precision_score(relevant, SCORES), rel=1e-5)
    for k in (1, 10):
        assert ndcg_at(RANKS, jnp.ones(50), k).compute() == pytest.approx(ndcg_score(relevant, SCORES, k=k), rel=1e-5)


def test_by_hand():
    ranks, weights = jnp.array([1, 2, 10, 11, 1]), jnp.array([1.0, 1, 1, 1, 0])
    assert recall_at(ranks, weights, 10).compute() == 0.75
    assert recall_at(ranks, weights, 1).compute() == 0.25
    assert reciprocal_rank(ranks, weights).compute() == pytest.approx((1 + 1 / 2 + 1 / 10 + 1 / 11) / 4)
    assert ndcg_at(ranks, weights, 10).compute() == pytest.approx((1 + 1 / np.log2(3) + 1 / np.log2(11)) / 4)


def test_equals_and_nan_come_before():
    assert rank_of(jnp.zeros((2, 4)), jnp.array([0, 3])).tolist() == [4, 4]
    assert rank_of(jnp.array([[1.0, jnp.nan, 3.0, 2.0]]), jnp.array([3])).tolist() == [3]
    assert rank_of(jnp.full((1, 4), jnp.nan), jnp.array([0])).tolist() == [4]
    assert rank_of(jnp.array([[1.0, 3.0, 2.0]]), jnp.array([1])).tolist() == [1]
