"""From text to token numbers and back: bytes, and the subwords of the `tokenizers` library (extra `text`).

What experiments name are declarations, cheap to make and to print; `open()` reads the files.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from jaxai.core.errors import InputError
from jaxai.core.fields import check_fields
from jaxai.data.text.utf8 import to_text, widths

_WORD = re.compile(r"\w+|[^\w\s]")


class Tokenizer(Protocol):
    """An opened tokenizer. Special tokens are never made of text, even where the text spells one, nor decoded.

    What is not valid in `text` is replaced by U+FFFD.
    """

    vocab_size: int
    """Tokens there are, the special ones among them."""
    pad: int | None
    bos: int | None
    eos: int | None
    unk: int | None
    cls: int | None
    sep: int | None
    mask: int | None

    def encode(self, text: str | bytes) -> np.ndarray:
        """Token numbers [num_tokens] int32."""
        ...

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text of token numbers, without special tokens."""
        ...

    def words(self, text: str | bytes) -> tuple[np.ndarray, np.ndarray]:
        """Token numbers, and the number of the word each belongs to, from 0; -1 for white space of its own."""
        ...

    def spans(self, text: str | bytes) -> tuple[np.ndarray, np.ndarray]:
        """Token numbers, and [num_tokens, 2] the characters each stands for: the first, and the one after the last."""
        ...

    def sizes(self, text: str | bytes) -> tuple[np.ndarray, np.ndarray]:
        """Token numbers, and the bytes of UTF-8 each stands for, whose sum is that of the text."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bytes:
    """The bytes of UTF-8, and six special tokens."""

    def open(self) -> ByteTokenizer:
        return ByteTokenizer()


@dataclasses.dataclass(frozen=True, kw_only=True)
class BPE:
    """Byte-pair encoding (Sennrich et al. 2016), of bytes as GPT-2's: `BPE(file="tokenizer.json")`."""

    file: str
    """A `tokenizer.json`; or GPT-2's `vocab.bpe`, with `encoder.json` beside it (`merges.txt`, with `vocab.json`); or
    `gpt2`, which is fetched."""

    def __post_init__(self):
        check_fields(self)

    def open(self) -> Tokenizer:
        from jaxai.data.text import library

        return library.open_bpe(self.file)


@dataclasses.dataclass(frozen=True, kw_only=True)
class WordPiece:
    """Words in pieces, the longest first (Wu et al. 2016), as BERT's: `WordPiece(file="vocab.txt")`."""

    file: str
    """A `tokenizer.json`; or BERT's `vocab.txt`; or `bert_uncased`, which is fetched."""
    lowercase: bool = True
    """Whether text loses capitals and accents before a `vocab.txt`; a `tokenizer.json` says itself."""

    def __post_init__(self):
        check_fields(self)

    def open(self) -> Tokenizer:
        from jaxai.data.text import library

        return library.open_wordpiece(self.file, self.lowercase)


class ByteTokenizer:
    """The opened `Bytes`."""

    vocab_size = 262
    pad, bos, eos, cls, sep, mask = range(256, 262)
    unk = None

    def encode(self, text: str | bytes) -> np.ndarray:
        return np.frombuffer(to_text(text)[0].encode(), np.uint8).astype(np.int32)

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        ids = np.asarray(ids, np.int64)
        return ids[(ids >= 0) & (ids < 256)].astype(np.uint8).tobytes().decode(errors="replace")

    def words(self, text: str | bytes) -> tuple[np.ndarray, np.ndarray]:
        """A word is a run of letters, digits and underscores, or another mark that is no white space."""
        text = to_text(text)[0]
        numbers = np.full(len(text), -1, np.int32)
        for number, match in enumerate(_WORD.finditer(text)):
            numbers[match.start() : match.end()] = number
        return self.encode(text), np.repeat(numbers, widths(text))

    def spans(self, text: str | bytes) -> tuple[np.ndarray, np.ndarray]:
        text = to_text(text)[0]
        first = np.repeat(np.arange(len(text), dtype=np.int32), widths(text))
        return self.encode(text), np.stack([first, first + 1], axis=1)

    def sizes(self, text: str | bytes) -> tuple[np.ndarray, np.ndarray]:
        ids = self.encode(text)
        return ids, np.ones_like(ids)


def open_tokenizer(tokenizer: Any) -> Tokenizer:
    """The opened tokenizer of a declaration, whose errors name the field `tokenizer`."""
    if isinstance(tokenizer, type) or not hasattr(tokenizer, "open"):
        raise InputError("tokenizer", f"{tokenizer!r} is no tokenizer", "such as jaxai.data.text.Bytes()")
    try:
        return tokenizer.open()
    except InputError as error:
        raise InputError(f"tokenizer.{error.field}", error.what, error.fix) from error


def tokenizer_of(source: Any) -> Any:
    """The tokenizer that a declaration of text names, itself or in what it is made of; None where there is none."""
    while source is not None and not hasattr(source, "tokenizer"):
        source = next(iter(getattr(source, "sources", ())), getattr(source, "source", None))
    return None if source is None else source.tokenizer


def special(tokenizer: Tokenizer, *names: str) -> list[int]:
    """The numbers of special tokens; raises InputError for the first that the tokenizer does not have."""
    numbers = []
    for name in names:
        number = getattr(tokenizer, name)
        if number is None:
            raise InputError("tokenizer", f"has no token {name!r}, which is needed here", "train one, or Bytes()")
        numbers.append(number)
    return numbers
