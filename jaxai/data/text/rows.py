"""What sources of text have in common: texts read out of any source, once, and rows of tokens made of them."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jaxai.core.errors import InputError, did_you_mean
from jaxai.data.source import Arrays, Source, open_source
from jaxai.data.text.utf8 import to_text
from jaxai.data.tfds import Tfds

CHUNK = 4096
"""Examples read at once."""

Example = Mapping[str, Any]
Row = dict[str, Any]

_log = logging.getLogger("jaxai")


def open_texts(source: Any, *fields: str) -> Source:
    """Opens a source whose examples hold text; a `Tfds` that names no fields is asked for these and its numbers."""
    return open_source(_Asked(source, fields) if isinstance(source, Tfds) else source)


def read_examples(source: Source, *fields: str) -> list[dict[str, Any]]:
    """All examples, with `fields` as text; what was not valid UTF-8 in them is told of in one line."""
    examples, replaced = [], 0
    for index, example in enumerate(_examples(source)):
        decoded = dict(example)
        for field in fields:
            decoded[field], count = to_text(text_of(example, field, index))
            replaced += count
        examples.append(decoded)
    tell_replaced(fields, replaced)
    return examples


def tell_replaced(fields: Sequence[str], count: int) -> None:
    """Says in one line how often something in `fields` was no UTF-8."""
    if count:
        _log.warning("%s: invalid UTF-8 in %d places, replaced by U+FFFD", ", ".join(fields), count)


def read_texts(source: Any, field: str) -> list[str]:
    """The texts of a declaration or source under `field`; raises InputError where all are empty."""
    texts = [example[field] for example in read_examples(open_texts(source, field), field)]
    if not any(texts):
        raise InputError("source", f"{field!r} is empty in all {len(texts)} examples")
    return texts


def text_of(example: Example, field: str, index: int) -> str | bytes:
    """What an example holds under `field`, which has to be text."""
    value = example.get(field)
    if not isinstance(value, (str, bytes)):
        found = f"no {field!r}" if value is None else f"{type(value).__name__} as {field!r}"
        raise InputError("source", f"example {index} has {found}, not text", did_you_mean(field, example))
    return value


def make_rows(source: Source, row: Callable[[Example], Row], *fields: str) -> Source:
    """`row` of every example: arrays in memory, or made at each reading where the source draws its examples.

    An InputError of `row` is made to name the example.
    """
    if hasattr(source, "draw"):
        return Rows(source=source, row=row)
    rows = []
    for index, example in enumerate(read_examples(source, *fields)):
        try:
            rows.append(row(example))
        except InputError as error:
            raise InputError("source", f"example {index}: {error.what}", error.fix) from error
    arrays = {name: np.stack([made[name] for made in rows]) for name in rows[0]}
    return Arrays(arrays, classes=getattr(source, "classes", None))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows of a source that draws what training sees."""

    source: Any
    """The opened source of text."""
    row: Callable[[Example], Row]
    """Makes a row of an example."""

    def __len__(self) -> int:
        return len(self.source)

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Names of the labels, where the source knows them."""
        return getattr(self.source, "classes", None)

    def __getitem__(self, index: int) -> Row:
        return self.row(self.source[index])

    def draw(self, index: int, random: np.random.Generator) -> Row:
        """The row of what the source draws."""
        return self.row(self.source.draw(index, random))


def padded(values: Sequence[int] | np.ndarray, length: int, fill: int) -> np.ndarray:
    """The first `length` values, and `fill` up to there, [length] int32."""
    row = np.full(length, fill, np.int32)
    values = values[:length]
    row[: len(values)] = values
    return row


def numbers(example: Example) -> Row:
    """The numbers and arrays of numbers in an example, such as its label."""
    arrays = {name: np.asarray(value) for name, value in example.items() if not isinstance(value, (str, bytes, list))}
    return {name: example[name] for name, array in arrays.items() if array.dtype.kind in "biuf"}


def check_length(length: int, least: int = 1) -> None:
    """Refuses a row that is too short for what belongs into it."""
    if length < least:
        raise InputError("length", f"must be at least {least}, is {length}")


def _examples(source: Source) -> Iterator[Example]:
    many = getattr(source, "__getitems__", None)
    for start in range(0, len(source), CHUNK):
        indices = range(start, min(start + CHUNK, len(source)))
        yield from many(list(indices)) if many is not None else (source[index] for index in indices)


@dataclasses.dataclass(frozen=True)
class _Asked:
    """A prepared dataset that is to give fields of text too."""

    source: Tfds
    fields: tuple[str, ...]

    def open(self) -> Source:
        return self.source.open(*self.fields)
