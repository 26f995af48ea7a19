"""How well a model of text predicts: perplexity, and bits a byte, which does not depend on the tokenizer."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp

from jaxai.metrics.mean import Mean


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Perplexity:
    """e to the mean cross-entropy of all tokens, not the mean over batches of theirs."""

    nats: jax.Array
    """Summed weighted cross-entropies, float32 scalar."""
    weight: jax.Array
    """Sum of the weights."""

    @classmethod
    def of(cls, losses: jax.Array, weights: jax.Array) -> Perplexity:
        """Of `losses` in nats and `weights`, both [batch, ...]; a token of weight 0 is ignored, even if not finite."""
        mean = Mean.of(losses, weights)
        return cls(mean.total, mean.weight)

    def compute(self) -> float:
        mean = Mean(self.nats, self.weight).compute()
        # Of a model that has diverged there is no number; 709 nats are the most that float64 has.
        return math.exp(mean) if not mean > 709 else math.inf


def bits_per_byte(losses: jax.Array, num_bytes: jax.Array, weights: jax.Array) -> Mean:
    """Bits that the model needs for a byte of text, by arithmetic coding.

    `losses` in nats, `num_bytes` that a token stands for, and `weights` are [batch, ...]. A token of non-zero weight
    counts once.
    """
    counted = weights != 0
    bits = Mean.of(losses / math.log(2), counted)
    return Mean(bits.total, jnp.sum(jnp.where(counted, num_bytes, 0), dtype=jnp.int32))
