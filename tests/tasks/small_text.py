"""Models of text so small that what they give can be written down."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxai.models.text import TokenEmbed


class Table(nn.Module):
    """Looks up what it gives for each token, and nothing else."""

    vocab_size: int
    num_classes: int

    @nn.compact
    def __call__(self, inputs, train=False, *, segments=None, positions=None, types=None):
        return self.param("table", nn.initializers.normal(1.0), (self.vocab_size, self.num_classes))[inputs]


class Encoder(nn.Module):
    """Adds to each token what its text is on average, and a vector of its type."""

    vocab_size: int = 11
    dim: int = 6
    depth: int = 1
    num_classes: int = 0
    pool: str = "none"
    dropout: float = 0.0

    @nn.compact
    def __call__(self, inputs, train=False, *, segments=None, positions=None, types=None):
        x = TokenEmbed(self.vocab_size, self.dim, nn.initializers.normal(1.0), name="tokens")(inputs)
        types = jnp.zeros_like(inputs) if types is None else types
        x = x + nn.Embed(2, self.dim, name="types")(types)
        shown = jnp.ones(inputs.shape) if segments is None else (segments > 0).astype(jnp.float32)
        for i in range(self.depth):
            mean = jnp.sum(x * shown[..., None], axis=1) / jnp.sum(shown, axis=1)[:, None]
            x = x + jnp.tanh(nn.Dense(self.dim, name=f"block{i}")(x + mean[:, None]))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        x = x[:, 0] if self.pool == "token" else x
        return nn.Dense(self.num_classes, name="head")(x) if self.num_classes else x


def jit(fn):
    """Compiled without what takes long."""
    return jax.jit(fn, compiler_options={"xla_backend_optimization_level": 0})
