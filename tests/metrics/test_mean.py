from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import accuracy_score, top_k_accuracy_score

from jaxai.core.errors import InputError
from jaxai.metrics import Mean, accuracy, merge, top_k_accuracy


def padded_batches(*arrays, size):
    """Batches of `size`, the last one padded with the first example at weight 0."""
    for start in range(0, len(arrays[0]), size):
        part = [array[start : start + size] for array in arrays]
        missing = size - len(part[0])
        weights = jnp.array([1.0] * len(part[0]) + [0.0] * missing)
        yield *[np.concatenate([p, np.repeat(p[:1], missing, axis=0)]) for p in part], weights


def test_weighted_mean_is_numpys_average():
    values, weights = np.random.default_rng(0).random((2, 103)).astype(np.float32)
    assert Mean.of(jnp.array(values), jnp.array(weights)).compute() == pytest.approx(
        np.average(values, weights=weights), rel=1e-6
    )


def test_mean_of_nothing_is_nan():
    assert math.isnan(Mean.of(jnp.array([2.0]), jnp.array([0.0])).compute())


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_masked_value_need_not_be_finite(bad):
    assert Mean.of(jnp.array([2.0, bad]), jnp.array([1.0, 0.0])).compute() == 2.0


def test_a_value_that_counts_is_not_hidden_when_not_finite():
    assert math.isnan(Mean.of(jnp.array([2.0, math.nan]), jnp.array([1.0, 1.0])).compute())


def test_bfloat16_is_summed_in_float32():
    ones = jnp.ones(1000, jnp.bfloat16)
    mean = Mean.of(ones, ones)
    assert mean.total.dtype == mean.weight.dtype == jnp.float32
    assert mean.weight == 1000


def test_shapes_that_would_broadcast_are_refused():
    with pytest.raises(InputError, match=r"weights: shape \(3,\) is not that of the values, \(3, 1\)"):
        Mean.of(jnp.ones((3, 1)), jnp.ones(3))


def test_counts_stay_exact_beyond_what_float32_can_count():
    many = jax.tree.map(lambda x: x * 2**24, accuracy(jnp.eye(2), jnp.array([0, 0]), jnp.ones(2)))
    one = accuracy(jnp.eye(1), jnp.array([0]), jnp.ones(1))
    total = merge(many, one)
    assert (int(total.total), int(total.weight)) == (2**24 + 1, 2**25 + 1)
    assert np.float32(2**24) + np.float32(1) == 2**24


@pytest.mark.parametrize("k", [1, 2, 5])
def test_accuracies_over_padded_batches_are_scikit_learns(k):
    rng = np.random.default_rng(k)
    logits = rng.normal(size=(103, 7)).astype(np.float32)
    labels = rng.integers(0, 7, 103)
    states = [
        (accuracy(jnp.array(x), jnp.array(y), w), top_k_accuracy(jnp.array(x), jnp.array(y), w, k))
        for x, y, w in padded_batches(logits, labels, size=16)
    ]
    top_1, top_k = states[0]
    for state in states[1:]:
        top_1, top_k = merge((top_1, top_k), state)
    assert top_1.compute() == pytest.approx(accuracy_score(labels, logits.argmax(-1)), abs=1e-12)
    expected = top_k_accuracy_score(labels, logits, k=k, labels=np.arange(7))
    assert top_k.compute() == pytest.approx(expected, abs=1e-12)


def test_accuracy_takes_sequences():
    logits = jnp.eye(4)[jnp.array([[0, 1, 2], [3, 2, 1]])]
    labels = jnp.array([[0, 1, 0], [3, 3, 3]])
    mask = jnp.array([[1, 1, 1], [1, 0, 0]], bool)
    assert accuracy(logits, labels, mask).compute() == 0.75


def test_logits_that_are_all_nan_or_all_equal_do_not_score_full_marks():
    labels = jnp.arange(10)
    for value in (jnp.nan, 0.0):
        logits = jnp.full((10, 10), value)
        assert accuracy(logits, labels, jnp.ones(10)).compute() == pytest.approx(0.1)
        assert top_k_accuracy(logits, labels, jnp.ones(10), 3).compute() == pytest.approx(0.3)


@pytest.mark.parametrize("k", [0, 4])
def test_k_must_be_a_number_of_classes(k):
    with pytest.raises(InputError, match=rf"k: {k} of 3 classes \(1 to 3\)"):
        top_k_accuracy(jnp.ones((2, 3)), jnp.zeros(2, jnp.int32), jnp.ones(2), k)
