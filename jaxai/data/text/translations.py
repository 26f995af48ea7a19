"""Pairs of texts of which one is made of the other: translations, questions with their answers, summaries."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from jaxai.core.errors import InputError
from jaxai.core.fields import check_fields
from jaxai.data.source import Source
from jaxai.data.text.rows import Example, Row, check_length, make_rows, numbers, open_texts
from jaxai.data.text.texts import text_row
from jaxai.data.text.tokenizers import Tokenizer, open_tokenizer


@dataclasses.dataclass(frozen=True)
class Translations:
    """Two texts an example: `Translations(Tfds("kjv_spanish"), source_field="english", target_field="spanish", ...)`.

    Examples are `tokens` and `segments` [length] of the first text, `target_tokens` and `target_segments` [length] of
    the second, which begins with `bos` and ends with `eos` (`cls` and `sep` where the tokenizer has not those), padded
    at the end (segment 0), and the numbers that the source has. What is longer is cut; an empty text is an error.
    """

    source: Any
    """A declaration or source of pairs of texts."""
    _: dataclasses.KW_ONLY
    tokenizer: Any
    """Of both, such as `Bytes()`."""
    length: int
    """Tokens of a row, the special ones among them."""
    source_field: str
    """Where the source has the first text."""
    target_field: str
    """Where it has the second."""
    specials: bool = False
    """Whether the first text too begins with `bos` and ends with `eos`."""

    def __post_init__(self):
        check_fields(self)
        check_length(self.length, 3)

    def open(self) -> Source:
        fields = (self.source_field, self.target_field)
        source, tokenizer = open_texts(self.source, *fields), open_tokenizer(self.tokenizer)
        return make_rows(source, functools.partial(_row, declared=self, tokenizer=tokenizer), *fields)


def _row(example: Example, *, declared: Translations, tokenizer: Tokenizer) -> Row:
    ends = beginning_and_end(tokenizer)
    row = numbers(example)
    for field, prefix, (before, after) in (
        (declared.source_field, "", ends if declared.specials else (None, None)),
        (declared.target_field, "target_", ends),
    ):
        tokens = tokenizer.encode(example[field])
        if not len(tokens):
            raise InputError("source", f"{field!r} is empty", "leave it out")
        made = text_row(tokens, declared.length, tokenizer.pad or 0, before, after)
        row |= {f"{prefix}{name}": value for name, value in made.items()}
    return row


def beginning_and_end(tokenizer: Tokenizer) -> tuple[int, int]:
    """The tokens with which a text begins and ends, which some vocabularies call `cls` and `sep`."""
    before = tokenizer.cls if tokenizer.bos is None else tokenizer.bos
    after = tokenizer.sep if tokenizer.eos is None else tokenizer.eos
    if before is None or after is None:
        raise InputError("tokenizer", "has no tokens with which a text begins and ends", "train one, or Bytes()")
    return before, after
