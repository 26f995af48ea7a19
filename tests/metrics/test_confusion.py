from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from jaxai.core.errors import InputError
from jaxai.metrics import Confusion, merge


@pytest.mark.parametrize("average", ["macro", "micro"])
@pytest.mark.parametrize(
    ("true_classes", "predicted_classes"),
    [([0, 1, 2, 3, 4], [0, 1, 2, 3, 4]), ([0, 2], [0, 1, 2]), ([1, 3], [4]), ([4], [4])],
    ids=["all", "true missing", "none right", "one class"],
)
def test_equals_scikit_learn_with_masks_and_missing_classes(average, true_classes, predicted_classes):
    rng = np.random.default_rng(0)
    labels, predictions = rng.choice(true_classes, 103), rng.choice(predicted_classes, 103)
    mask = rng.random(103) < 0.8
    state = None
    for start in range(0, 103, 20):
        part = slice(start, start + 20)
        batch = (jnp.array(labels[part]), jnp.array(predictions[part]), jnp.array(mask[part], jnp.float32))
        new = Confusion.of(*batch, num_classes=5)
        state = new if state is None else merge(state, new)
    values = state.compute()
    kept = {"y_true": labels[mask], "y_pred": predictions[mask], "labels": np.arange(5)}
    np.testing.assert_array_equal(values["confusion"], confusion_matrix(**kept))
    expected = precision_recall_fscore_support(**kept, average=average, zero_division=0)
    for kind, value in zip(("precision", "recall", "f1"), expected[:3], strict=True):
        assert values[f"{kind}_{average}"] == pytest.approx(value, abs=1e-12)


def test_nothing_counted_is_zero_not_nan():
    values = Confusion.of(jnp.array([0]), jnp.array([0]), jnp.zeros(1), 3).compute()
    assert {value for name, value in values.items() if name != "confusion"} == {0.0}


def test_classes_out_of_range_are_left_out_not_wrapped_around():
    labels, predictions = jnp.array([-1, 3, 0, 0, 2]), jnp.array([0, 0, -1, 3, 1])
    matrix = Confusion.of(labels, predictions, jnp.ones(5), 3).matrix
    expected = np.zeros((3, 3), np.int32)
    expected[2, 1] = 1
    np.testing.assert_array_equal(matrix, expected)
    assert matrix.dtype == jnp.int32


def test_logits_in_place_of_predictions_are_refused():
    with pytest.raises(InputError, match=r"differ in shape: \(2,\), \(2, 3\) and \(2,\)"):
        Confusion.of(jnp.zeros(2, jnp.int32), jnp.zeros((2, 3)), jnp.ones(2), 3)
