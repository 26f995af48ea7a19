"""Intersection over union and Dice against scikit-learn, which counts them as Jaccard and F1 scores of pixels."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import f1_score, jaccard_score

from jaxai.core.errors import InputError
from jaxai.metrics import Overlap, merge

RNG = np.random.default_rng(0)
TRUTH, PREDICTION = RNG.integers(0, 3, (2, 10, 6, 5))
CLASSES = jnp.arange(3)[None, None, None]


def overlap(truth, prediction, weights):
    return Overlap.of(jnp.asarray(truth)[..., None] == CLASSES, jnp.asarray(prediction)[..., None] == CLASSES, weights)


def test_is_scikit_learns_over_padded_batches():
    state = merge(
        overlap(TRUTH[:6], PREDICTION[:6], jnp.ones(6)),
        overlap(TRUTH[[6, 7, 8, 9, 9, 9]], PREDICTION[[6, 7, 8, 9, 9, 9]], jnp.array([1.0, 1, 1, 1, 0, 0])),
    )
    values = state.compute()
    for name, score in (("iou", jaccard_score), ("dice", f1_score)):
        assert values[name] == pytest.approx(score(TRUTH.ravel(), PREDICTION.ravel(), average="macro"), abs=1e-12)


def test_of_one_class_is_scikit_learns_binary_score():
    truth, prediction = TRUTH == 1, PREDICTION == 1
    values = Overlap.of(jnp.asarray(truth)[..., None], jnp.asarray(prediction)[..., None], jnp.ones(10)).compute()
    assert values["iou"] == pytest.approx(jaccard_score(truth.ravel(), prediction.ravel()), abs=1e-12)
    assert values["dice"] == pytest.approx(f1_score(truth.ravel(), prediction.ravel()), abs=1e-12)


def test_a_class_that_never_occurs_is_left_out():
    one = jnp.ones((1, 2, 2), jnp.int32)
    assert overlap(one, one, jnp.ones(1)).compute() == {"iou": 1, "dice": 1}
    assert overlap(one, one, jnp.zeros(1)).compute() == {"iou": 1, "dice": 1}
    assert overlap(one, 2 * one, jnp.ones(1)).compute() == {"iou": 0, "dice": 0}


def test_shapes_that_would_broadcast_are_refused():
    with pytest.raises(InputError, match="prediction: shape"):
        Overlap.of(jnp.ones((2, 3, 3, 1), bool), jnp.ones((2, 3, 3, 2), bool), jnp.ones(2))
