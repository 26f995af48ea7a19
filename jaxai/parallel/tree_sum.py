"""One order of summation, whatever the number of devices: the same bits on 1, 2, 4 and 8.

A batch is cut into virtual shards, always as many. Each is computed by itself, and their results are added along one
binary tree over their numbers: its lower levels lie within a device, its upper ones between devices, where each adds
what its partner holds. Addition commutes, so both partners get the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxai.core.errors import InputError
from jaxai.parallel.gather import virtual_shards

MAX_SHARDS = 16


def num_virtual_shards(batch_size: int, num_devices: int, field: str) -> int:
    """Into how many virtual shards a batch is cut: a function of its size alone, a power of two, at most 16.

    Raises InputError unless that is at least two a device: XLA compiles a lone shard into other code.
    """
    shards = math.gcd(batch_size, MAX_SHARDS)
    if shards % num_devices or shards < 2 * num_devices:
        multiple = 2 * num_devices
        if multiple > MAX_SHARDS or multiple & (multiple - 1):
            what = f"{num_devices} devices do not share {MAX_SHARDS} virtual shards"
            raise InputError("reproducible", what, "1, 2, 4 or 8 devices")
        what = f"{batch_size} does not make two equal virtual shards on each of {num_devices} devices"
        raise InputError(f"{field}.batch_size", what, f"reproducible=True wants a multiple of {multiple}")
    return shards


def tree_sum(fn: Callable[[Any], Any], batch: Any, num_shards: int, axis: str | None, num_devices: int) -> Any:
    """The sum of `fn(shard)` over all virtual shards; `batch` is this device's share, [batch / devices, ...]."""
    local = num_shards // num_devices
    parts = jax.tree.map(lambda x: x.reshape(local, -1, *x.shape[1:]), batch)
    # A loop, whose body is compiled alike whatever the number of rounds. Unrolled, shards are compiled into each other,
    # walls or not, and the last bit of larger convolutions depends on how many there are.
    with virtual_shards():
        stacked = _wall(jax.lax.map(lambda part: _wall(fn(_wall(part))), parts))
    results = [jax.tree.map(lambda x, i=i: x[i], stacked) for i in range(local)]
    while len(results) > 1:
        results = [_wall(_add(a, b)) for a, b in zip(results[::2], results[1::2], strict=True)]
    total, hop = results[0], 1
    while hop < num_devices:
        partners = [(device, device ^ hop) for device in range(num_devices)]
        theirs = jax.tree.map(lambda x, p=partners: jax.lax.ppermute(x, axis, p), total)
        total, hop = _wall(_add(total, theirs)), 2 * hop
    return total


def _add(first: Any, second: Any) -> Any:
    return jax.tree.map(jnp.add, first, second)


def _wall(tree: Any) -> Any:
    return jax.lax.optimization_barrier(tree)
