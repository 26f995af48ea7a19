"""Random keys as a function of (seed, stream name, step, example index): nothing random is ever stored.

Adding a stream changes no other; resuming is exact by construction; and because an example's keys come from its index,
the same example is augmented alike on one device and on eight.
"""

from __future__ import annotations

import zlib

import jax


def stream(key: jax.Array, name: str) -> jax.Array:
    """The independent key of the stream called `name`, derived from `key`."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


def step_key(seed: int, name: str, step: jax.Array | int) -> jax.Array:
    """The key of stream `name` at `step` of the run with `seed`."""
    return jax.random.fold_in(stream(jax.random.key(seed), name), step)


def example_keys(key: jax.Array, index: jax.Array) -> jax.Array:
    """One key an example, [batch], from its global `index` [batch]."""
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, index)


def batch_key(key: jax.Array, index: jax.Array) -> jax.Array:
    """One key for a batch, from the index of its first example: differs between the devices' shares of a batch."""
    return jax.random.fold_in(key, index[0])
