"""How high the one right candidate comes: mean reciprocal rank, recall at k, and normalized gain at k."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxai.metrics.mean import Mean


def rank_of(scores: jax.Array, target: jax.Array) -> jax.Array:
    """The rank, from 1, of candidate `target` [batch] by `scores` [batch, candidate]; int32 [batch].

    Of equals it comes last, so that scores which are all alike, or nan, do not look good.
    """
    own = jnp.take_along_axis(scores, target[:, None], axis=1)
    return jnp.sum(~(scores < own), axis=1, dtype=jnp.int32)


def reciprocal_rank(ranks: jax.Array, weights: jax.Array) -> Mean:
    """The mean of 1 / rank (MRR). `ranks` from 1 and `weights` [batch]; an example of non-zero weight counts once."""
    return Mean.of(1 / ranks, weights != 0)


def recall_at(ranks: jax.Array, weights: jax.Array, k: int) -> Mean:
    """The share of examples whose right candidate is among the first `k`: recall@k, and the hit rate HR@k.

    `ranks` from 1 and `weights` [batch]; an example of non-zero weight counts once.
    """
    return Mean.of(ranks <= k, weights != 0)


def ndcg_at(ranks: jax.Array, weights: jax.Array, k: int) -> Mean:
    """The normalized discounted cumulative gain of one right candidate: 1 / log2(1 + rank), and 0 beyond rank `k`.

    `ranks` from 1 and `weights` [batch]; an example of non-zero weight counts once.
    """
    gains = jnp.where(ranks <= k, 1 / jnp.log2(1.0 + ranks), 0.0)
    return Mean.of(gains, weights != 0)
