"""Text for language modelling as one stream: windows that overlap by one token."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from jaxai.core.errors import InputError
from jaxai.core.fields import check_fields
from jaxai.data.source import Arrays
from jaxai.data.text.rows import check_length, read_texts
from jaxai.data.text.tokenizers import Tokenizer, open_tokenizer


@dataclasses.dataclass(frozen=True)
class Windows:
    """All texts, one after another, in windows: `Windows(TextFiles(files=("my.txt",)), tokenizer=Bytes(), length=256)`.

    The last token of a window is the first of the next, so that every token but the first is predicted once. A text
    ends with `eos` where the tokenizer has it. What is left at the end, less than a window, is not read.

    Examples are `tokens` and `num_bytes` [length]: the bytes of UTF-8 that each token stands for.
    """

    source: Any
    """A declaration or source of texts."""
    _: dataclasses.KW_ONLY
    tokenizer: Any
    """Such as `Bytes()`."""
    length: int
    """Tokens of a window."""
    field: str = "text"
    """Where the source has its text."""

    def __post_init__(self):
        check_fields(self)
        check_length(self.length, 2)

    def open(self) -> Arrays:
        texts, tokenizer = read_texts(self.source, self.field), open_tokenizer(self.tokenizer)
        parts = [ended(text, tokenizer) for text in texts]
        tokens, num_bytes = (np.concatenate(part) for part in zip(*parts, strict=True))
        if len(tokens) < self.length:
            what = f"{len(tokens)} tokens, fewer than a window of {self.length}"
            raise InputError("source", f"has {what}", f"length of at most {len(tokens)}")
        return Arrays({"tokens": windows(tokens, self.length), "num_bytes": windows(num_bytes, self.length)})


def ended(text: str, tokenizer: Tokenizer) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of a text, with `eos` where the tokenizer has it, and the bytes they stand for, both [num_tokens]."""
    tokens, num_bytes = tokenizer.sizes(text)
    if tokenizer.eos is None:
        return tokens, num_bytes
    return np.append(tokens, np.int32(tokenizer.eos)), np.append(num_bytes, np.int32(0))


def windows(stream: np.ndarray, length: int) -> np.ndarray:
    """Views [num_windows, length] of a stream, that overlap by one."""
    return np.lib.stride_tricks.sliding_window_view(stream, length)[:: length - 1]
