"""Edits that turn one row of tokens into another, within the step: error rates of transcripts as mergeable sums."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jaxai.metrics.mean import Mean


def edit_distance(first: jax.Array, num_first: jax.Array, second: jax.Array, num_second: jax.Array) -> jax.Array:
    """The fewest insertions, deletions and substitutions between two (Levenshtein 1966): int32 [batch].

    Of tokens [batch, length], each with its own length, the first `num_first` and `num_second` [batch] count.
    """
    places = jnp.arange(second.shape[1] + 1, dtype=jnp.int32)[None]

    def step(row: jax.Array, now: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        number, token = now
        above = jnp.minimum(row[:, 1:] + 1, row[:, :-1] + (token[:, None] != second))
        # Insertions go from left to right: each costs one more than the best so far.
        new = jnp.concatenate([row[:, :1] + 1, above], axis=1)
        new = jax.lax.cummin(new - places, axis=1) + places
        return jnp.where((number < num_first)[:, None], new, row), None

    rows = jnp.broadcast_to(places, (len(second), places.shape[1]))
    row, _ = jax.lax.scan(step, rows, (jnp.arange(first.shape[1]), first.T))
    return jnp.take_along_axis(row, num_second[:, None], axis=1)[:, 0]


def token_error_rate(
    tokens: jax.Array, num: jax.Array, target: jax.Array, num_target: jax.Array, weights: jax.Array
) -> Mean:
    """Edits of `tokens` [batch, length] into `target` [batch, length], divided by the tokens of all targets.

    An example of `weights` [batch] other than 0 counts once.
    """
    edits = edit_distance(tokens, num, target, num_target)
    counted = weights != 0
    return Mean(jnp.sum(jnp.where(counted, edits, 0)), jnp.sum(jnp.where(counted, num_target, 0)))


def words_of(tokens: jax.Array, num: jax.Array, space: int) -> tuple[jax.Array, jax.Array]:
    """A number for each word, uint32 [batch, length], and how many words [batch] `space` cuts `tokens` into.

    The same words have the same number; two others share one with a probability of about 2^-32.
    """
    length = tokens.shape[1]
    place = jnp.broadcast_to(jnp.arange(length, dtype=jnp.int32)[None], tokens.shape)
    inside = (tokens != space) & (place < num[:, None])
    starts = inside & ~jnp.pad(inside[:, :-1], ((0, 0), (1, 0)))
    first = jax.lax.cummax(jnp.where(starts, place, 0), axis=1)
    powers = np.cumprod(np.full(length, 0x9E3779B1, np.uint32), dtype=np.uint32)
    shares = (tokens.astype(jnp.uint32) + 1) * jnp.take(powers, place - first)
    word = jnp.where(inside, jnp.cumsum(starts, axis=1) - 1, length)
    add = lambda where, values: jnp.zeros(length, jnp.uint32).at[where].add(values, mode="drop")  # noqa: E731
    return jax.vmap(add)(word, shares), jnp.sum(starts, axis=1, dtype=jnp.int32)
