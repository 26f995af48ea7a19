"""Texts to classify or to embed, one a row of tokens."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np

from jaxai.core.errors import InputError
from jaxai.core.fields import check_fields
from jaxai.data.source import Source
from jaxai.data.text.rows import Example, Row, check_length, make_rows, numbers, open_texts, padded
from jaxai.data.text.tokenizers import Tokenizer, open_tokenizer, special


@dataclasses.dataclass(frozen=True)
class Texts:
    """One text a row, cut to `length`: `Texts(Tfds("tweets"), tokenizer=WordPiece(file="bert_uncased"), length=64)`.

    Examples are `tokens` [length], padded at the end, `segments` (1, and 0 for padding), what is asked for below, and
    the numbers that the source has, such as `label`. An empty text is an error.
    """

    source: Any
    """A declaration or source of texts."""
    _: dataclasses.KW_ONLY
    tokenizer: Any
    """Such as `Bytes()`."""
    length: int
    """Tokens of a row, the special ones among them."""
    field: str = "text"
    """Where the source has its text."""
    specials: bool = False
    """Put `cls` before the text and `sep` after it, as BERT reads it; adds `types`, 0 throughout."""
    words: bool = False
    """Add `words`, the number of the word a token belongs to, or -1."""

    def __post_init__(self):
        check_fields(self)
        check_length(self.length, 3 if self.specials else 1)

    def open(self) -> Source:
        source, tokenizer = open_texts(self.source, self.field), open_tokenizer(self.tokenizer)
        before, after = special(tokenizer, "cls", "sep") if self.specials else (None, None)
        make = functools.partial(_row, declared=self, tokenizer=tokenizer, before=before, after=after)
        return make_rows(source, make, self.field)


def _row(example: Example, *, declared: Texts, tokenizer: Tokenizer, before: int | None, after: int | None) -> Row:
    text, length = example[declared.field], declared.length
    tokens, words = tokenizer.words(text) if declared.words else (tokenizer.encode(text), None)
    if not len(tokens):
        raise InputError("source", f"{declared.field!r} is empty", "leave it out")
    row = {**numbers(example), **text_row(tokens, length, tokenizer.pad or 0, before, after)}
    if before is not None:
        row["types"] = np.zeros(length, np.int32)
    if words is not None:
        row["words"] = text_row(words, length, -1, *((-1, -1) if before is not None else (None, None)))["tokens"]
    return row


def text_row(tokens: np.ndarray, length: int, pad: int, before: int | None, after: int | None) -> Row:
    """`tokens` and `segments` [length] of a text, cut so that there is room for what comes before and after it."""
    start, end = ([] if token is None else [token] for token in (before, after))
    kept = [*start, *tokens[: length - len(start) - len(end)], *end]
    return {"tokens": padded(kept, length, pad), "segments": padded([1] * len(kept), length, 0)}
