"""What a loss needs that looks at the whole batch, wherever the batch is cut: the values of the other devices."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

import jax
import jax.numpy as jnp

from jaxai.core.errors import InputError
from jaxai.parallel.pmap import AXIS

_in_virtual_shards: ContextVar[bool] = ContextVar("in_virtual_shards", default=False)


@contextlib.contextmanager
def virtual_shards() -> Iterator[None]:
    """While a loss is traced that sees one virtual shard at a time: nothing then has the whole batch."""
    token = _in_virtual_shards.set(True)
    try:
        yield
    finally:
        _in_virtual_shards.reset(token)


def gather(x: jax.Array) -> jax.Array:
    """`x` [batch / devices, ...] of all devices, in the order of the batch [batch, ...].

    The identity where no mapped axis cuts the batch: on one device and under `Mesh`, where `x` is whole already.

    A device's loss is the sum over its own examples, and the gradient through gathered values is that of the sum of
    *all* devices' losses: the transpose of an all-gather sends every device's share of it back to where a value came
    from. So each loss counts once, and the sum of the devices' gradients is the gradient of the whole batch.

    Raises InputError under `reproducible=True`, where no device holds its share of the batch at once.
    """
    if _in_virtual_shards.get():
        what = "cannot go with a loss that compares the examples of a batch, which virtual shards cut"
        raise InputError("reproducible", what, "reproducible=False")
    return jax.lax.all_gather(x, AXIS, tiled=True) if _is_cut() else x


def own_rows(num: int) -> jax.Array:
    """Where this device's `num` examples are in what `gather` gives: int32 [num]."""
    first = jax.lax.axis_index(AXIS) * num if _is_cut() else 0
    return first + jnp.arange(num, dtype=jnp.int32)


def _is_cut() -> bool:
    """Whether the step that is being traced runs once a device, with the axis of `PMap` bound."""
    try:
        jax.lax.axis_index(AXIS)
    except NameError:  # how JAX says that no such axis is bound
        return False
    return True
