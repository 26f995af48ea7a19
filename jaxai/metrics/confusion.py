"""Precision, recall and F1 from the confusion matrix, which is a sum where they are not."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxai.core.errors import InputError


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Confusion:
    """How often each true class was given each prediction: `matrix` int32 [true, predicted]."""

    matrix: jax.Array

    @classmethod
    def of(cls, labels: jax.Array, predictions: jax.Array, weights: jax.Array, num_classes: int) -> Confusion:
        """Of the classes in `labels` and `predictions`, [batch]; counts each example of non-zero weight once.

        An example whose label or prediction is not in `range(num_classes)` is left out, as in scikit-learn.
        """
        if not labels.shape == predictions.shape == weights.shape:
            shapes = f"{labels.shape}, {predictions.shape} and {weights.shape}"
            raise InputError("labels", f"labels, predictions and weights differ in shape: {shapes}")
        known = (labels >= 0) & (labels < num_classes) & (predictions >= 0) & (predictions < num_classes)
        counts = ((weights != 0) & known).astype(jnp.int32)
        matrix = jnp.zeros((num_classes, num_classes), jnp.int32)
        return cls(matrix=matrix.at[labels, predictions].add(counts, mode="drop"))

    def compute(self) -> dict[str, float | np.ndarray]:
        """Macro averages weigh every class alike, absent ones too; 0 / 0 is 0. With scikit-learn:

        `precision_recall_fscore_support(..., labels=range(num_classes), zero_division=0)`.
        """
        confusion = np.asarray(self.matrix)
        matrix = confusion.astype(np.int64)
        hits, predicted, true = np.diag(matrix), matrix.sum(axis=0), matrix.sum(axis=1)
        values: dict[str, float | np.ndarray] = {}
        for average, h, p, t in [
            ("macro", hits, predicted, true),
            ("micro", hits.sum(), predicted.sum(), true.sum()),
        ]:
            values[f"precision_{average}"] = float(np.mean(h / np.maximum(p, 1)))
            values[f"recall_{average}"] = float(np.mean(h / np.maximum(t, 1)))
            values[f"f1_{average}"] = float(np.mean(2 * h / np.maximum(p + t, 1)))
        values["confusion"] = confusion
        return values
