"""From a source to batches: order, per-process slices, padding, prefetching; TensorFlow is never imported.

The order is a pure function: batch k of a run holds positions k * batch_size onwards of an endless sequence of
epochs, each a permutation drawn from (seed, epoch). So the position of a run is one integer, reading may start
anywhere, and the number of workers changes nothing. Batches straddle epochs: no example is dropped or repeated.
What a source draws for an example, such as a crop, is a function of (seed, epoch, index).
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from jaxai.core.errors import InputError
from jaxai.core.fields import check_fields
from jaxai.data.source import Arrays, Cached, Source, Spec, example_spec, open_source, read

Batch = dict[str, np.ndarray]

WHOLE_EPOCH_BYTES = 2**26
"""Data of at most this many bytes is shuffled an epoch at a time; more would double too much memory."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pipeline:
    """How the examples of a source become batches."""

    source: Any
    """A declaration such as `Tfds("digits")`, or any object with `__len__` and `__getitem__`."""
    batch_size: int = 64
    """Examples in a batch, over all devices and processes."""
    shuffle: bool = True
    """Whether training draws a new order each epoch; evaluations never shuffle."""
    cache: bool = False
    """Keep decoded examples in memory once read."""
    workers: int = 0
    """Processes that read and decode ahead; 0 reads in threads of this one."""
    prefetch: int = 4
    """Batches read ahead where the source is not in memory."""
    resident: bool = False
    """Keep the training data on the device whole, so that only the order is sent there; for data in memory."""

    def __post_init__(self):
        check_fields(self)
        for name in ("batch_size", "prefetch"):
            if getattr(self, name) < 1:
                raise InputError(name, f"must be at least 1, is {getattr(self, name)}")
        if self.workers < 0:
            raise InputError("workers", f"must not be negative, is {self.workers}")

    def open(self, field: str, *, seed: int = 0, process: int = 0, num_processes: int = 1) -> Reader:
        """Opens the source for one of `num_processes`; `field` names it in errors."""
        if self.batch_size % num_processes:
            what = f"{self.batch_size} does not divide by the {num_processes} processes"
            raise InputError(f"{field}.batch_size", what, _nearest_multiple(self.batch_size, num_processes))
        source = open_source(self.source, f"{field}.source")
        spec = example_spec(source, field)
        if "index" in spec or "mask" in spec:
            name = "index" if "index" in spec else "mask"
            raise InputError(field, f"has a field {name!r}, a name the batch needs for itself", "rename it")
        if self.cache and hasattr(source, "draw"):
            raise InputError(f"{field}.cache", "would keep one crop of each example", "leave it at False")
        if self.cache and not hasattr(source, "batch"):
            source = Cached(source, field)
        if self.resident and num_processes > 1:
            raise InputError(f"{field}.resident", f"needs one process, not {num_processes}", "leave it at False")
        if self.resident and not hasattr(source, "batch"):
            raise InputError(f"{field}.resident", "the source is not in memory", "add cache=True")
        if self.resident and hasattr(source, "cut"):
            raise InputError(f"{field}.resident", "its batches are of one length", "leave it at False")
        return Reader(self, field, source, spec, seed, process, num_processes)


@dataclasses.dataclass(frozen=True)
class Reader:
    """An open pipeline: batches as a pure function of their number."""

    pipeline: Pipeline
    field: str
    source: Source
    spec: Spec
    seed: int
    process: int
    num_processes: int
    _epochs: dict[int, Batch] = dataclasses.field(default_factory=dict, init=False, repr=False, compare=False)
    _arranged: dict[int, np.ndarray] = dataclasses.field(default_factory=dict, init=False, repr=False, compare=False)

    @functools.cached_property
    def num_examples(self) -> int:
        return len(self.source)

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Names of the classes, where the source knows them."""
        return getattr(self.source, "classes", None)

    @property
    def in_memory(self) -> bool:
        """Whether a batch is one indexing of arrays, for which reading ahead costs more than it gives."""
        return hasattr(self.source, "batch")

    def batch(self, number: int) -> Batch:
        """Training batch `number` of a run that began at its first example."""
        return self.at(number * self.pipeline.batch_size)

    def at(self, position: int) -> Batch:
        """The share, of this process, of the batch that begins at `position` of the endless sequence of examples.

        Holds the examples' `index` [batch] in the source.
        """
        size = self.pipeline.batch_size // self.num_processes
        start = position + self.process * size
        if hasattr(self.source, "draw"):
            return self._draw(start, size)
        epoch, offset = divmod(start, self.num_examples)
        if offset + size <= self.num_examples and self._is_small and getattr(self.source, "full", True):
            return {name: array[offset : offset + size] for name, array in self._whole_epoch(epoch).items()}
        batch, cut = self._read(self.order(start, size)), getattr(self.source, "cut", None)
        # By the examples of all processes, so that they cut alike.
        return batch if cut is None else cut(batch, self.order(position, self.pipeline.batch_size))

    def whole(self) -> Batch:
        """All examples, in the order of the source."""
        data = self._read(np.arange(self.num_examples, dtype=np.int32))
        del data["index"]
        return data

    def batches(self, position: int = 0) -> Iterator[Batch]:
        """Training batches from `position` on, without end."""
        if self.in_memory:
            return map(self.at, itertools.count(position, self.pipeline.batch_size))
        import grain  # half a second, for sources that are read ahead only

        dataset = grain.MapDataset.source(_Batches(self, position))
        threads = 1 if self.pipeline.workers else 2
        options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=self.pipeline.prefetch)
        ahead = dataset.to_iter_dataset(options)
        if self.pipeline.workers:
            _parse_no_flags()
            ahead = ahead.mp_prefetch(grain.MultiprocessingOptions(num_workers=self.pipeline.workers))
        return iter(ahead)

    def evaluation(self) -> Iterator[Batch]:
        """Every example once, in order; `mask` [batch] is 0 where the last one is padded, and for damaged examples."""
        size, total = self.pipeline.batch_size, self.num_examples
        share, cut = size // self.num_processes, getattr(self.source, "cut", None)
        for start in range(0, total, size):
            numbers = np.arange(start + self.process * share, start + (self.process + 1) * share, dtype=np.int64)
            mask = (numbers < total).astype(np.float32)
            indices = np.minimum(numbers, total - 1).astype(np.int32)
            batch = self._read(indices)
            if cut is not None:
                batch = cut(batch, np.arange(start, min(start + size, total)))
            damaged = list(getattr(self.source, "damaged", ()))
            yield {**batch, "mask": np.where(np.isin(indices, damaged), np.float32(0), mask) if damaged else mask}

    @functools.cached_property
    def _is_small(self) -> bool:
        """Whether an epoch, once in memory, is put in order at once, so that batches are slices of it."""
        if not isinstance(self.source, (Arrays, Cached)):
            return False
        bytes_each = sum(dtype.itemsize * math.prod(shape) for shape, dtype in self.spec.values())
        return bytes_each * self.num_examples <= WHOLE_EPOCH_BYTES

    def _whole_epoch(self, epoch: int) -> Batch:
        """All examples in the order of `epoch`."""
        found = self._epochs.get(epoch)
        if found is None:
            self._epochs.clear()
            found = self._epochs[epoch] = self._read(self._epoch(epoch))
        return found

    def _read(self, indices: np.ndarray) -> Batch:
        if isinstance(self.source, (Arrays, Cached)):
            # Checked when they were made; checking again would cost more than the reading.
            return {**self.source.batch(indices), "index": indices}
        return {**read(self.source, indices, self.field, self.spec), "index": indices}

    def _draw(self, start: int, size: int) -> Batch:
        """The examples at positions `start` onwards, as the source draws them in their epochs."""
        parts = [
            {**read(_Drawn(self.source, self.seed, epoch), indices, self.field, self.spec), "index": indices}
            for epoch, indices in self._parts(start, size)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def order(self, start: int, size: int) -> np.ndarray:
        """The examples [size] int32 at positions `start` onwards of the endless sequence."""
        parts = [indices for _, indices in self._parts(start, size)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _parts(self, start: int, size: int) -> Iterator[tuple[int, np.ndarray]]:
        """The same, by epoch."""
        while size:
            epoch, offset = divmod(start, self.num_examples)
            part = self._epoch(epoch)[offset : offset + size]
            yield epoch, part
            start, size = start + len(part), size - len(part)

    def _epoch(self, epoch: int) -> np.ndarray:
        if not self.pipeline.shuffle:
            return np.arange(self.num_examples, dtype=np.int32)
        order, arrange = _permutation(self.num_examples, self.seed, epoch), getattr(self.source, "arrange", None)
        return order if arrange is None else self._arrange(arrange, order, epoch)

    def _arrange(self, arrange: Callable[..., np.ndarray], order: np.ndarray, epoch: int) -> np.ndarray:
        """The order as the source wants it for batches; that of two epochs is kept, as a batch may straddle them."""
        found = self._arranged.get(epoch)
        if found is None:
            for other in [other for other in self._arranged if abs(other - epoch) > 1]:
                del self._arranged[other]
            begun = -epoch * self.num_examples % self.pipeline.batch_size
            # A third number, as two alone are what shuffles the epoch.
            random = np.random.RandomState(np.random.Philox(np.random.SeedSequence([self.seed, epoch, 1])))
            found = arrange(order, begun, self.pipeline.batch_size, random)
            self._arranged[epoch] = found
        return found


def _parse_no_flags() -> None:
    """Grain's workers read absl flags, which only an absl program has parsed; this leaves them at their defaults."""
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()


class _Batches:
    """The endless sequence of batches from `position` on, in the form that grain reads ahead from."""

    def __init__(self, reader: Reader, position: int):
        self.reader, self.position = reader, position

    def __len__(self) -> int:
        return 2**62

    def __getitem__(self, index: int) -> Batch:
        return self.reader.at(self.position + int(index) * self.reader.pipeline.batch_size)


@dataclasses.dataclass(frozen=True)
class _Drawn:
    """A source as one epoch sees it, that draws what it gives."""

    source: Any
    seed: int
    epoch: int

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Any:
        # A key of its own, as [seed, epoch, 0] would give the numbers that shuffle the epoch.
        bits = np.random.Philox(np.random.SeedSequence([self.seed, self.epoch], spawn_key=(index,)))
        return self.source.draw(index, np.random.Generator(bits))


@functools.lru_cache(maxsize=4)
def _permutation(num_examples: int, seed: int, epoch: int) -> np.ndarray:
    """The order of one epoch. `RandomState` is numpy's frozen generator: its streams never change between versions."""
    bits = np.random.Philox(np.random.SeedSequence([seed, epoch]))
    return np.random.RandomState(bits).permutation(num_examples).astype(np.int32)


def _nearest_multiple(number: int, of: int) -> str:
    below, above = number // of * of, -(-number // of) * of
    return f"nearest: {', '.join(str(n) for n in sorted({below, above}) if n)}"
