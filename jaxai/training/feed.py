"""What a call of the compiled step is fed: batches from the host, or the place in data that live on the device."""

from __future__ import annotations

import collections
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from jaxai.data.pipeline import Reader
from jaxai.parallel import Layout


class Fed(NamedTuple):
    """The data of one call."""

    shared: Any
    """Arrays that every device has whole."""
    cut: Any
    """Arrays [batch, ...], or [step, batch, ...] for several steps, that are cut over the devices."""


class Feed(Protocol):
    """Gives the data of one call after the other, and says inside the compiled step which batch they are."""

    def take(self, num_steps: int, room: int) -> Fed:
        """The data of the next `num_steps` steps, in arrays that hold `room` of them."""
        ...

    def batch(self, fed: Fed, number: Any, room: int) -> Any:
        """Batch `number` of a call with room for `room`; traced, on each device its share."""
        ...


def open_feed(reader: Reader, layout: Layout, position: int, most: int) -> Feed:
    """The feed of batches from `position` on, of which no call takes more than `most`."""
    if reader.pipeline.resident:
        return ResidentFeed(reader, layout, position, most)
    return HostFeed(reader, layout, position)


class HostFeed:
    """Batches that the host reads; the next is sent to the device while a step runs."""

    def __init__(self, reader: Reader, layout: Layout, position: int):
        self._batches = reader.batches(position)
        self._send = layout.send
        self._ahead: collections.deque[Fed] = collections.deque()
        # On CPU the host's memory is the device's, and nothing is to be gained.
        self._reads_ahead = layout.devices[0].platform != "cpu"

    def take(self, num_steps: int, room: int) -> Fed:
        if room > 1:
            batches = [next(self._batches) for _ in range(num_steps)]
            batches += batches[-1:] * (room - num_steps)
            return Fed((), self._send({name: np.stack([b[name] for b in batches]) for name in batches[0]}, 1))
        if not self._reads_ahead:
            return Fed((), self._send(next(self._batches), 0))
        while len(self._ahead) < 2:
            self._ahead.append(Fed((), self._send(next(self._batches), 0)))
        return self._ahead.popleft()

    def batch(self, fed: Fed, number: Any, room: int) -> Any:
        return (
            fed.cut if room == 1 else jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, number, 0, False), fed.cut)
        )


class ResidentFeed:
    """A whole dataset on the device: the host sends the order of an epoch once, and of a call only where it begins."""

    def __init__(self, reader: Reader, layout: Layout, position: int, most: int):
        self._reader, self._layout, self._position = reader, layout, position
        self._size, self._num_examples = reader.pipeline.batch_size, reader.num_examples
        self._data = layout.share(reader.whole())
        # An epoch, and what a call that begins in it may take of the next.
        self._window = self._num_examples + most * self._size
        self._epoch, self._order = -1, None

    def take(self, num_steps: int, room: int) -> Fed:
        del room
        epoch, offset = divmod(self._position, self._num_examples)
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = self._layout.share(self._reader.order(epoch * self._num_examples, self._window))
        self._position += num_steps * self._size
        return Fed((self._data, self._order, np.int32(offset)), ())

    def batch(self, fed: Fed, number: Any, room: int) -> Any:
        del room
        data, order, offset = fed.shared
        chosen = self._layout.own_share(jax.lax.dynamic_slice_in_dim(order, offset + number * self._size, self._size))
        picked = {name: array.at[chosen].get(mode="promise_in_bounds") for name, array in data.items()}
        return {**picked, "index": chosen}
