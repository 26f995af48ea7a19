"""word2vec: two vectors a word, one as it stands and one as a neighbour (Mikolov et al. 2013)."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxai.models.text import TokenEmbed


class Word2Vec(nn.Module):
    """Tables of words and of contexts, which start as in the published code: uniform and small, and at zero."""

    vocab_size: int
    """Words there are."""
    dim: int = 100
    """Features of a word."""

    @nn.compact
    def __call__(self, inputs: jax.Array, contexts: jax.Array, train: bool = False) -> jax.Array:
        """Scores [batch, num] of words [batch] and `contexts` [batch, num]: the products of their vectors."""
        del train
        start = nn.initializers.variance_scaling(1 / (12 * self.dim), "fan_out", "uniform")  # within +-0.5 / dim
        words = TokenEmbed(self.vocab_size, self.dim, init=start, name="tokens")(inputs)
        others = TokenEmbed(self.vocab_size, self.dim, init=nn.initializers.zeros, name="contexts")(contexts)
        return jnp.einsum("bf,bnf->bn", words, others)
