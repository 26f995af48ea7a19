"""Intersection over union and Dice: how far predicted regions cover the true ones."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxai.core.errors import InputError


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Overlap:
    """Pixels of each class in truth, prediction and both, int32 [class]: exact up to 2^31 - 1 pixels of a class."""

    true: jax.Array
    predicted: jax.Array
    both: jax.Array

    @classmethod
    def of(cls, truth: jax.Array, prediction: jax.Array, weights: jax.Array) -> Overlap:
        """Of booleans [batch, ..., class] and `weights` [batch]; an example of weight 0 is left out."""
        if truth.shape != prediction.shape:
            raise InputError("prediction", f"shape {prediction.shape} is not that of the truth, {truth.shape}")
        known = (weights != 0).reshape(-1, *[1] * (truth.ndim - 1))
        axes = tuple(range(truth.ndim - 1))
        sums = [jnp.sum(x & known, axis=axes, dtype=jnp.int32) for x in (truth, prediction, truth & prediction)]
        return cls(*sums)

    def compute(self) -> dict[str, float | np.ndarray]:
        """Means over the classes that occur in truth or prediction, over all pixels of all images; 1 if none does."""
        true, predicted, both = (np.asarray(x, np.float64) for x in (self.true, self.predicted, self.both))
        there = true + predicted > 0
        if not there.any():
            return {"iou": 1.0, "dice": 1.0}
        true, predicted, both = true[there], predicted[there], both[there]
        return {
            "iou": float(np.mean(both / (true + predicted - both))),
            "dice": float(np.mean(2 * both / (true + predicted))),
        }
