"""Weighted means, and the accuracies that are means of hits."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp

from jaxai.core.errors import InputError


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Mean:
    """A weighted mean as a total and its weight, both scalars: int32 where they count, else float32."""

    total: jax.Array
    weight: jax.Array

    @classmethod
    def of(cls, values: jax.Array, weights: jax.Array) -> Mean:
        """Of `values` and `weights`, both [batch, ...]; a value of weight 0 is ignored, even if not finite.

        Booleans and integers are summed in int32, exactly; anything else in float32.
        """
        if values.shape != weights.shape:
            raise InputError("weights", f"shape {weights.shape} is not that of the values, {values.shape}")
        values, weights = _summable(values), _summable(weights)
        return cls(total=jnp.sum(jnp.where(weights == 0, 0, values * weights)), weight=jnp.sum(weights))

    def compute(self) -> float:
        weight = float(self.weight)
        return float(self.total) / weight if weight else math.nan


def accuracy(logits: jax.Array, labels: jax.Array, weights: jax.Array) -> Mean:
    """The share of examples whose largest logit is the label's.

    `logits` [batch, ..., classes]; `labels`, `weights` [batch, ...]. An example of non-zero weight counts once.
    """
    return Mean.of(jnp.argmax(logits, axis=-1) == labels, weights != 0)


def top_k_accuracy(logits: jax.Array, labels: jax.Array, weights: jax.Array, k: int) -> Mean:
    """The share of examples whose label is among the `k` largest logits; ties go to the lower class.

    `logits` [batch, ..., classes]; `labels`, `weights` [batch, ...]. An example of non-zero weight counts once.
    """
    if not 1 <= k <= logits.shape[-1]:
        raise InputError("k", f"{k} of {logits.shape[-1]} classes", f"1 to {logits.shape[-1]}")
    _, classes = jax.lax.top_k(logits, k)
    return Mean.of(jnp.any(classes == labels[..., None], axis=-1), weights != 0)


def _summable(x: jax.Array) -> jax.Array:
    """`x` in the type its sum is kept in."""
    exact = jnp.issubdtype(x.dtype, jnp.integer) or x.dtype == jnp.bool_
    return x.astype(jnp.int32 if exact else jnp.float32)
