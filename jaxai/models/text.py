"""What the models of text share: the table of tokens, and the check of what comes in."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer

from jaxai.core.errors import InputError


class TokenEmbed(nn.Module):
    """A table of one vector a token, which may also give logits (Press and Wolf 2017)."""

    vocab_size: int
    """Tokens there are."""
    dim: int
    """Features of a token."""
    init: Initializer = nn.initializers.normal(0.02)
    """How it starts."""

    def setup(self):
        self.embedding = self.param("embedding", self.init, (self.vocab_size, self.dim))

    def __call__(self, tokens: jax.Array) -> jax.Array:
        """[batch, length, dim] of token numbers [batch, length]; one beyond the vocabulary gives nan."""
        return jnp.take(self.embedding, tokens, axis=0, mode="fill")

    def attend(self, x: jax.Array) -> jax.Array:
        """Logits [..., vocab_size] of `x` [..., dim]."""
        # One that reads the table as it lies: of its transpose XLA makes a copy at each token of a generation on CPUs.
        return jnp.einsum("...d,vd->...v", x, self.embedding.astype(x.dtype))


def check_tokens(tokens: jax.Array, model: str, max_length: int | None = None) -> None:
    """Refuse what is not token numbers [batch, length], or more of them than the model has positions."""
    if tokens.ndim != 2 or not jnp.issubdtype(tokens.dtype, jnp.integer):
        what = f"{tokens.dtype} of shape {tokens.shape}"
        raise InputError(f"{model} inputs", what, "needs token numbers [batch, length]")
    if max_length is not None and tokens.shape[1] > max_length:
        what = f"sequences of {tokens.shape[1]} tokens, but it has {max_length} positions"
        raise InputError(f"{model} inputs", what, f"max_length of at least {tokens.shape[1]}")
