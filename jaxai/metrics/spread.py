"""Whether vectors point into many directions or, as a collapsed encoder's do, all into one."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Spread:
    """The standard deviation of unit vectors about their mean, over all dims: 0 where all are alike, at most 1."""

    total: jax.Array
    """Sum of the vectors, [feature]."""
    squares: jax.Array
    """Sum of their squared lengths: 1 each, and 0 for a vector of zeros."""
    weight: jax.Array

    @classmethod
    def of(cls, vectors: jax.Array, weights: jax.Array) -> Spread:
        """Of the directions of `vectors` [batch, feature], each counted `weights` [batch] times."""
        units = vectors / jnp.maximum(jnp.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
        units = jnp.where(weights[:, None] == 0, 0.0, units)
        squares = jnp.sum(jnp.square(units), axis=-1)
        return cls(jnp.sum(weights[:, None] * units, axis=0), jnp.sum(weights * squares), jnp.sum(weights))

    def compute(self) -> float:
        weight = float(self.weight)
        if not weight:
            return math.nan
        mean = np.asarray(self.total, np.float64) / weight
        return math.sqrt(max(float(self.squares) / weight - float(mean @ mean), 0.0))
