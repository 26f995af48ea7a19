"""Parts of a dataset: chosen rows, and few labels among many examples."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from jaxai.core.errors import InputError
from jaxai.core.fields import check_fields
from jaxai.data.source import Arrays, Source, open_source, read

CHUNK = 4096
"""Examples read at once, so that little is held twice."""


@dataclasses.dataclass(frozen=True)
class Subset:
    """Some rows of a dataset, in this order: `Subset(Tfds("digits"), (0, 5, 7))`."""

    source: Any
    """A declaration or source."""
    indices: tuple[int, ...]
    """Rows of the source; a row may come twice."""

    def __post_init__(self):
        check_fields(self)

    def open(self) -> Source:
        source = _open(self.source, "Subset")
        total = len(source)
        for i, index in enumerate(self.indices):
            if not 0 <= index < total:
                raise InputError(f"indices.{i}", f"{index} is no row of a dataset of {total}", f"0 to {total - 1}")
        rows = np.array(self.indices, np.int64)
        if isinstance(source, Arrays):
            return Arrays(source.batch(rows), classes=source.classes)
        return BatchView(source, rows) if hasattr(source, "batch") else View(source, rows)


@dataclasses.dataclass(frozen=True)
class View:
    """Rows of an opened source."""

    source: Any
    rows: np.ndarray
    """[example] int64."""

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        return self.source[int(self.rows[index])]

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Names of the labels, where the source knows them."""
        return getattr(self.source, "classes", None)

    def where(self, index: int) -> str:
        """The file of an example, for errors."""
        row = int(self.rows[index])
        return self.source.where(row) if hasattr(self.source, "where") else f"the picture of example {row}"

    @property
    def damaged(self) -> set[int]:
        """Examples that an evaluation leaves out."""
        return set(np.flatnonzero(np.isin(self.rows, list(getattr(self.source, "damaged", ())))).tolist())


class BatchView(View):
    """Rows of a source that reads whole batches."""

    def batch(self, indices: np.ndarray) -> Any:
        return self.source.batch(self.rows[indices])


@dataclasses.dataclass(frozen=True)
class PartlyLabelled:
    """Few labels among many examples, for semi-supervised learning: `PartlyLabelled(Tfds("digits"), per_class=4)`.

    The first rows are those of the source, in its order; all but the chosen ones have the label -1. After them the
    chosen ones are repeated, all as often as each other or once more, until they are `labelled_share` of the rows. The
    dataset is read into memory when it is opened.
    """

    source: Any
    """A declaration or source whose examples have an integer `label`."""
    _: dataclasses.KW_ONLY
    per_class: int = 10
    """Labelled examples of each class, chosen at random by `seed`; fewer are always among those of more."""
    seed: int = 0
    """Chooses the labelled examples."""
    labelled_share: float | None = 1 / 8
    """Share of an epoch's rows that are labelled; None repeats none."""
    unlabelled: bool = True
    """Without them only the chosen examples are left, each once: the supervised baseline."""

    def __post_init__(self):
        check_fields(self)
        if self.per_class < 1:
            raise InputError("per_class", f"must be at least 1, is {self.per_class}")
        if self.labelled_share is not None and not 0 < self.labelled_share < 1:
            raise InputError("labelled_share", f"{self.labelled_share} is not between 0 and 1")

    def open(self) -> Arrays:
        source = _open(self.source, "PartlyLabelled")
        chunks = [np.arange(i, min(i + CHUNK, len(source))) for i in range(0, len(source), CHUNK)]
        parts = [read(source, chunk) for chunk in chunks]
        examples = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        if getattr(source, "damaged", ()):
            raise InputError("source", f"has {len(source.damaged)} damaged examples", "repair or delete them")
        label = examples.get("label")
        if label is None or label.ndim != 1 or label.dtype.kind not in "iu":
            found = "no 'label'" if label is None else f"'label' {label.dtype}{list(label.shape[1:])}"
            raise InputError("source", f"has {found}", "needs one integer an example")
        chosen = self.choose(label)
        if not self.unlabelled:
            rows = np.sort(chosen)
            return Arrays({name: array[rows] for name, array in examples.items()}, getattr(source, "classes", None))
        masked = np.full(len(label), -1, np.int32)
        masked[chosen] = label[chosen]
        rows = np.concatenate([np.arange(len(label)), np.resize(chosen, self._num_repeats(len(label), len(chosen)))])
        examples["label"] = masked
        return Arrays({name: array[rows] for name, array in examples.items()}, getattr(source, "classes", None))

    def choose(self, label: np.ndarray) -> np.ndarray:
        """The rows [class * per_class] that keep their label, of labels [example]: one of each class in turn."""
        chosen = []
        for number in np.unique(label[label >= 0]):
            rows = np.flatnonzero(label == number)
            if len(rows) < self.per_class:
                what = f"{self.per_class} examples of class {number}, which has {len(rows)}"
                raise InputError("per_class", what, f"at most {len(rows)}")
            bits = np.random.Philox(np.random.SeedSequence([self.seed, int(number)]))
            chosen.append(rows[np.random.RandomState(bits).permutation(len(rows))[: self.per_class]])
        if not chosen:
            raise InputError("source", "has no labelled example")
        return np.stack(chosen, axis=1).reshape(-1)

    def _num_repeats(self, num_examples: int, num_chosen: int) -> int:
        """How many rows more make the labelled ones `labelled_share` of all."""
        if self.labelled_share is None:
            return 0
        num_unlabelled = num_examples - num_chosen
        wanted = round(num_unlabelled * self.labelled_share / (1 - self.labelled_share))
        return max(0, wanted - num_chosen)


def _open(source: Any, name: str) -> Any:
    """The opened source, refused where choosing rows of it would lose its random crops."""
    opened = open_source(source)
    if hasattr(opened, "draw"):
        raise InputError("source", "draws examples at random", f"put it around the rows: RandomCropped({name}(...))")
    return opened
