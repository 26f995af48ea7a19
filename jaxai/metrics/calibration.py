"""How far a model's confidence is from its accuracy."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxai.core.errors import InputError


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Calibration:
    """The expected calibration error (Naeini et al. 2015, Guo et al. 2017) as sums over bins of confidence.

    Each is [..., bin]; leading dims are several models, whose errors are averaged.
    """

    counts: jax.Array
    """Examples, int32."""
    confidence: jax.Array
    """Sum of the largest probability of each, float32."""
    hits: jax.Array
    """Examples whose likeliest class is the label, int32."""

    @classmethod
    def of(cls, probabilities: jax.Array, labels: jax.Array, weights: jax.Array, num_bins: int = 15) -> Calibration:
        """Of `probabilities` [batch, class] and `labels`, `weights` [batch]; an example of weight 0 is left out.

        Bin i holds what is above i / num_bins and at most (i + 1) / num_bins.
        """
        if not probabilities.shape[:-1] == labels.shape == weights.shape:
            shapes = f"{probabilities.shape}, {labels.shape} and {weights.shape}"
            raise InputError("labels", f"probabilities, labels and weights differ in shape: {shapes}")
        confidence = jnp.max(probabilities, axis=-1)
        known = (weights != 0).astype(jnp.int32)
        bins = jnp.clip(jnp.ceil(confidence * num_bins).astype(jnp.int32) - 1, 0, num_bins - 1)
        hits = (jnp.argmax(probabilities, axis=-1) == labels).astype(jnp.int32)

        def add(values: jax.Array) -> jax.Array:
            return jnp.zeros(num_bins, values.dtype).at[bins].add(jnp.where(known == 1, values, 0))

        return cls(counts=add(known), confidence=add(confidence.astype(jnp.float32)), hits=add(hits))

    def compute(self) -> float:
        """The mean over examples of |accuracy - mean confidence| of their bin; 0 is perfect."""
        counts = np.asarray(self.counts, np.float64)
        if not counts.sum():
            return math.nan
        gaps = np.abs(np.asarray(self.hits, np.float64) - np.asarray(self.confidence, np.float64))
        return float(np.mean(gaps.sum(axis=-1) / counts.sum(axis=-1)))
