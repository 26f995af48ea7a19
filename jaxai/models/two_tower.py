"""A recommender of two towers: one makes a vector of a user, the other of an item (Yi et al. 2019)."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxai.models.attention import Dropout
from jaxai.models.layers import kernel_init
from jaxai.models.text import TokenEmbed


class TwoTower(nn.Module):
    """Users by their number and what they took last, items by their number and their text.

    Both read one table of items. What an item's number does not say, being new or rare, its text may. The product of
    the two vectors is the score.
    """

    num_users: int
    """Users there are."""
    num_items: int
    """Items there are."""
    text: nn.Module
    """Encoder of the text of an item: `text(tokens, train) -> features [batch, feature]`, such as `TextEncoder`."""
    dim: int = 64
    """Features of the tables and of a vector."""
    hidden: int = 128
    """Width of each tower's hidden layer."""
    dropout: float = 0.0
    """Share dropped of what each tower reads, in training."""

    def setup(self):
        self.users, self.items = TokenEmbed(self.num_users, self.dim), TokenEmbed(self.num_items, self.dim)
        self.query_tower, self.candidate_tower = (_Tower(self.hidden, self.dim, self.dropout) for _ in range(2))

    def __call__(
        self, inputs: jax.Array, history: jax.Array, items: jax.Array, texts: jax.Array, train: bool = False
    ) -> tuple[jax.Array, jax.Array]:
        """Vectors of users and of items, both [batch, dim]; see `encode_query` and `encode_candidate`."""
        return self.encode_query(inputs, history, train), self.encode_candidate(items, texts, train)

    def encode_query(self, inputs: jax.Array, history: jax.Array, train: bool = False) -> jax.Array:
        """[batch, dim] of the numbers of users [batch] and of items that each took, [batch, length], -1 where none."""
        real = (history >= 0)[..., None]
        taken = jnp.where(real, self.items(jnp.maximum(history, 0)), 0)
        mean = jnp.sum(taken, axis=1) / jnp.maximum(jnp.sum(real, axis=1), 1)
        return self.query_tower(jnp.concatenate([self.users(inputs), mean], axis=1), train)

    def encode_candidate(self, inputs: jax.Array, texts: jax.Array, train: bool = False) -> jax.Array:
        """[batch, dim] of the numbers of items [batch] and the tokens of their texts [batch, length]."""
        return self.candidate_tower(jnp.concatenate([self.items(inputs), self.text(texts, train)], axis=1), train)


class _Tower(nn.Module):
    hidden: int
    dim: int
    dropout: float

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[batch, dim] of [batch, feature]."""
        x = Dropout(self.dropout)(x, train)
        x = nn.relu(nn.Dense(self.hidden, kernel_init=kernel_init("relu"), name="dense")(x))
        return nn.Dense(self.dim, name="head")(x)
