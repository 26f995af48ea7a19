"""The heads that BERT is pre-trained with (Devlin et al. 2018), which fine-tuning throws away."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

KERNEL = nn.initializers.normal(0.02)


class MaskedHead(nn.Module):
    """Which token was masked: dense, GELU, normalization, and the table of the encoder's tokens with a bias."""

    @nn.compact
    def __call__(self, inputs: jax.Array, train: bool = False, *, table: jax.Array) -> jax.Array:
        """Logits [..., vocab_size] of an encoder's `inputs` [..., dim], and its `table` [vocab_size, features]."""
        del train
        x = nn.Dense(table.shape[-1], kernel_init=KERNEL, name="dense")(inputs)
        x = nn.LayerNorm(epsilon=1e-12, name="norm")(jax.nn.gelu(x, approximate=False))
        logits = x @ table.T.astype(x.dtype)
        bias = self.param("bias", nn.initializers.zeros, (table.shape[0],))
        return logits + jnp.broadcast_to(bias, logits.shape)


class NextSentenceHead(nn.Module):
    """Whether the second sentence follows the first, of the first token alone: BERT's pooler and two logits."""

    @nn.compact
    def __call__(self, inputs: jax.Array, train: bool = False) -> jax.Array:
        """Logits [batch, 2] of an encoder's `inputs` [batch, length, dim]: it follows, or it does not."""
        del train
        pooled = jnp.tanh(nn.Dense(inputs.shape[-1], kernel_init=KERNEL, name="pooler")(inputs[:, 0]))
        return nn.Dense(2, kernel_init=KERNEL, name="dense")(pooled)
