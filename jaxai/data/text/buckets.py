"""Batches of texts of similar length, so that little of them is padding."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from jaxai.core.errors import InputError
from jaxai.core.fields import check_fields
from jaxai.data.source import Arrays, open_source

POOL = 64
"""Batches whose examples are sorted together: more leaves less padding, fewer more chance in what shares a batch."""


@dataclasses.dataclass(frozen=True)
class Buckets:
    """Cuts each batch to the least of a few lengths: `Buckets(Texts(...), lengths=(32, 64, 128))`.

    Training shuffles so that texts of similar length share a batch; the order is a function of the seed, the epoch and
    the batch size, and holds every example once an epoch. Evaluations keep the order of the source. Each length is
    compiled once.
    """

    source: Any
    """A declaration or source of rows in memory that has `segments`, such as `Texts`, `Translations` or `Packed`."""
    _: dataclasses.KW_ONLY
    lengths: tuple[int, ...]
    """Lengths to cut to, ascending; the last has to hold the longest text."""

    def __post_init__(self):
        check_fields(self)
        if not self.lengths or self.lengths[0] < 1 or list(self.lengths) != sorted(set(self.lengths)):
            raise InputError("lengths", f"{self.lengths} do not ascend from 1 or more", "such as (32, 64, 128)")

    def open(self) -> Bucketed:
        source = open_source(self.source)
        if not isinstance(source, Arrays):
            raise InputError("source", f"{type(source).__name__} is not rows in memory", "Buckets(Texts(...), ...)")
        segments = [array for name, array in source.arrays.items() if name in ("segments", "target_segments")]
        if "segments" not in source.arrays:
            raise InputError("source", f"has no 'segments', only {sorted(source.arrays)}", "such as Texts(...)")
        places = np.arange(1, segments[0].shape[1] + 1, dtype=np.int32)
        sizes = np.max([np.max((array > 0) * places, axis=1) for array in segments], axis=0)
        if sizes.max() > self.lengths[-1]:
            what = f"the longest text has {sizes.max()} tokens, the last bucket {self.lengths[-1]}"
            raise InputError("lengths", what, f"end with {sizes.max()} or more")
        return Bucketed(source, sizes, np.array(self.lengths))


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Bucketed:
    """The opened source."""

    source: Arrays
    """Rows of one length."""
    sizes: np.ndarray
    """Tokens up to the last that is no padding, [example]."""
    lengths: np.ndarray
    """What batches may be cut to, ascending."""

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return self.source[index]

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Names of the labels, where the source knows them."""
        return self.source.classes

    def batch(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        return self.source.batch(indices)

    def arrange(self, order: np.ndarray, begun: int, batch_size: int, random: np.random.RandomState) -> np.ndarray:
        """The examples [num_examples] of an epoch, shuffled in `order`, so that those of a batch are of similar length.

        The first `begun` of them complete the batch that the epoch before began.
        """
        whole = (len(order) - begun) // batch_size * batch_size
        if whole <= 0:
            return order
        head, body, tail = np.split(order, [begun, begun + whole])
        pools = [body[start : start + POOL * batch_size] for start in range(0, whole, POOL * batch_size)]
        body = np.concatenate([pool[np.argsort(self.sizes[pool], kind="stable")] for pool in pools])
        batches = body.reshape(-1, batch_size)
        return np.concatenate([head, batches[random.permutation(len(batches))].reshape(-1), tail])

    def cut(self, batch: dict[str, np.ndarray], indices: np.ndarray) -> dict[str, np.ndarray]:
        """`batch` with its rows cut to the least length that holds all texts of `indices`."""
        full = self.source.arrays["segments"].shape[1]
        length = self.lengths[np.searchsorted(self.lengths, self.sizes[indices].max())]
        return {name: x[:, :length] if x.ndim > 1 and x.shape[1] == full else x for name, x in batch.items()}
