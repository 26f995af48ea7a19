"""A whole dataset on the device: the host sends the order of an epoch once, and of a batch only where it begins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np


def batches(
    data: dict[str, np.ndarray], order: Callable[[int, int], np.ndarray], batch_size: int, position: int
) -> Iterator[dict[str, Any]]:
    """The endless sequence of batches of `data` from `position` on, gathered on the device.

    `order(start, size)` gives the examples [size] int32 at positions `start` onwards of the endless sequence.
    """
    num_examples = len(next(iter(data.values())))
    # An epoch and what a batch that begins in it may take of the next.
    window = num_examples + batch_size
    # Without a device they are not bound to one, and may be cut over several.
    resident = jax.device_put(data)

    @jax.jit
    def gather(resident: Any, indices: jax.Array, offset: jax.Array) -> Any:
        chosen = jax.lax.dynamic_slice_in_dim(indices, offset, batch_size)
        picked = {name: array.at[chosen].get(mode="promise_in_bounds") for name, array in resident.items()}
        return {**picked, "index": chosen}

    epoch, indices = -1, None
    while True:
        found, offset = divmod(position, num_examples)
        if found != epoch:
            epoch, indices = found, jax.device_put(order(found * num_examples, window))
        yield gather(resident, indices, np.int32(offset))
        position += batch_size
