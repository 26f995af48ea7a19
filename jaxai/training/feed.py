"""What a call of the compiled step is fed: batches from the host, or the place in data that live on the device."""

from __future__ import annotations

import collections
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from jaxai.data.pipeline import Reader
from jaxai.parallel import Layout

AT_LEAST = 2**15
"""Places of the order that are sent at a time; sending costs as much as a short step does."""


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

    def went_back(self, step: int) -> None:
        """Says that the next state is one after `step` steps."""
        ...

    def batch(self, fed: Fed, number: Any, room: int, step: jax.Array) -> Any:
        """The batch after `step` steps, which is `number` of a call with room for `room`; traced, on each device its
        share."""
        ...


def open_feed(reader: Reader, layout: Layout, position: int, step: int, most: int) -> Feed:
    """The feed of batches from `position` on, after `step` steps, of which no call takes more than `most`."""
    if reader.pipeline.resident:
        return ResidentFeed(reader, layout, position, step, most)
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

    def went_back(self, step: int) -> None: ...

    def batch(self, fed: Fed, number: Any, room: int, step: jax.Array) -> Any:
        del step
        if room == 1:
            return fed.cut
        return jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, number, 0, False), fed.cut)


class ResidentFeed:
    """A whole dataset on the device: the host sends the order of some epochs at a time, and for a step nothing."""

    def __init__(self, reader: Reader, layout: Layout, position: int, step: int, most: int):
        self._reader, self._layout, self._position = reader, layout, position
        self._size = reader.pipeline.batch_size
        #: By how much the position is ahead of the examples that so many steps take.
        self._ahead = position - step * self._size
        self._data = layout.replicate(reader.whole())
        self._window = max(reader.num_examples, AT_LEAST) + most * self._size
        self._start, self._shared = position, None

    def take(self, num_steps: int, room: int) -> Fed:
        del room
        after = self._position + num_steps * self._size
        if self._shared is None or after > self._start + self._window:
            self._start = self._position
            order = self._reader.order(self._start, self._window)
            # Whole numbers on the device are of 32 bits, and wrap around; what is left of two of them does not.
            offset = np.array(self._ahead - self._start).astype(np.int32)
            self._shared = (self._data, *self._layout.replicate((order, offset)))
        self._position = after
        return Fed(self._shared, ())

    def went_back(self, step: int) -> None:
        self._ahead = self._position - step * self._size
        self._shared = None  # so that the next call is told

    def batch(self, fed: Fed, number: Any, room: int, step: jax.Array) -> Any:
        del number, room
        data, order, offset = fed.shared
        first = step * self._size + offset
        chosen = self._layout.own_share(jax.lax.dynamic_slice_in_dim(order, first, self._size))
        picked = {name: array.at[chosen].get(mode="promise_in_bounds") for name, array in data.items()}
        return {**picked, "index": chosen}
