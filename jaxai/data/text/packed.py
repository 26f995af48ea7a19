"""Short texts for language modelling, several in a row of tokens."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from jaxai.core.fields import check_fields
from jaxai.data.source import Arrays
from jaxai.data.text.rows import check_length, read_texts
from jaxai.data.text.tokenizers import open_tokenizer
from jaxai.data.text.windows import ended


@dataclasses.dataclass(frozen=True)
class Packed:
    """Whole texts, several a row: each in the first row that has room for it, in the order of the source.

    A text ends with `eos` where the tokenizer has it; one longer than a row is cut into pieces that overlap by one
    token. Empty texts are left out.

    Examples are `tokens`, `segments` (1 for the first text of a row, 2 for the next; 0 where there is none),
    `positions` (from 0 in each text) and `num_bytes` [length]: the bytes of UTF-8 that each token stands for.
    """

    source: Any
    """A declaration or source of texts."""
    _: dataclasses.KW_ONLY
    tokenizer: Any
    """Such as `Bytes()`."""
    length: int
    """Tokens of a row."""
    field: str = "text"
    """Where the source has its text."""

    def __post_init__(self):
        check_fields(self)
        check_length(self.length, 2)

    def open(self) -> Arrays:
        texts, tokenizer = read_texts(self.source, self.field), open_tokenizer(self.tokenizer)
        step = self.length - 1
        pieces = [
            (tokens[start : start + self.length], num_bytes[start : start + self.length])
            for tokens, num_bytes in (ended(text, tokenizer) for text in texts if text)
            for start in range(0, max(len(tokens) - 1, 1), step)
        ]
        rows, starts = first_fit([len(tokens) for tokens, _ in pieces], self.length)
        shape = (max(rows) + 1, self.length)
        made = {name: np.zeros(shape, np.int32) for name in ("tokens", "segments", "positions", "num_bytes")}
        made["tokens"][:] = tokenizer.pad or 0
        for row, start, (tokens, num_bytes) in zip(rows, starts, pieces, strict=True):
            place = (row, slice(start, start + len(tokens)))
            made["segments"][place] = made["segments"][row].max() + 1
            made["tokens"][place], made["num_bytes"][place] = tokens, num_bytes
            made["positions"][place] = np.arange(len(tokens))
        return Arrays(made)


def first_fit(sizes: list[int], length: int) -> tuple[list[int], list[int]]:
    """For each piece the first row of `length` that has room for it, and where in the row it begins."""
    free = np.full(len(sizes), length)
    rows, starts, num_rows = [], [], 0
    for size in sizes:
        row = int(np.argmax(free[: num_rows + 1] >= size))
        num_rows = max(num_rows, row + 1)
        rows.append(row)
        starts.append(length - int(free[row]))
        free[row] -= size
    return rows, starts
