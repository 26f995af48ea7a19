"""Texts as numbers of whole words: the vocabulary of a corpus, and each word with those around it."""

from __future__ import annotations

import collections
import dataclasses
import functools
import re
from typing import Any

import numpy as np

from jaxai.core.errors import InputError
from jaxai.core.fields import check_fields
from jaxai.data.text.rows import read_texts

_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """The words of texts, in small letters, the most frequent first: `Vocabulary(Tfds("shakespeare"), least=5)`."""

    source: Any
    """A declaration or source of texts."""
    _: dataclasses.KW_ONLY
    field: str = "text"
    """Where the source has its text."""
    least: int = 5
    """How often a word must occur; rarer ones are left out of the texts."""

    def __post_init__(self):
        check_fields(self)
        if self.least < 1:
            raise InputError("least", f"must be at least 1, is {self.least}")

    def open(self) -> Words:
        return _count(self)


@dataclasses.dataclass(frozen=True, eq=False)
class Words:
    """An opened vocabulary."""

    words: tuple[str, ...]
    """The most frequent first; equally frequent ones by the alphabet."""
    counts: np.ndarray
    """How often each occurs, int32 [word]."""

    @functools.cached_property
    def numbers(self) -> dict[str, int]:
        """The number of each word."""
        return {word: number for number, word in enumerate(self.words)}


@dataclasses.dataclass(frozen=True)
class WordWindows:
    """Each word of the texts with the words around it, for `SkipGram`.

    Examples are `center`, the number of a word, and `context` [2 window], from the first word before it to the last
    after it, -1 beyond the ends of its text. Words that the vocabulary does not have are left out before.
    """

    source: Any
    """A declaration or source of texts."""
    _: dataclasses.KW_ONLY
    vocabulary: Vocabulary
    """The words that count; of the training texts."""
    window: int = 5
    """Words to either side."""

    def __post_init__(self):
        check_fields(self)
        if self.window < 1:
            raise InputError("window", f"must be at least 1, is {self.window}")

    def open(self) -> Windowed:
        numbers, gap = self.vocabulary.open().numbers, [-1] * self.window
        row = list(gap)
        for text in read_texts(self.source, self.vocabulary.field):
            row += [numbers[word] for word in words_of(text) if word in numbers] + gap
        tokens = np.array(row, np.int32)
        return Windowed(tokens=tokens, centers=np.flatnonzero(tokens >= 0), window=self.window)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Windowed:
    """The opened windows."""

    tokens: np.ndarray
    """All texts, `window` times -1 around each, int32 [place]."""
    centers: np.ndarray
    """The places of words, int64 [example]."""
    window: int
    """Words to either side."""

    def __len__(self) -> int:
        return len(self.centers)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return {name: values[0] for name, values in self.batch(np.array([index])).items()}

    def batch(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        offsets = np.concatenate([np.arange(-self.window, 0), np.arange(1, self.window + 1)])
        places = self.centers[indices]
        return {"center": self.tokens[places], "context": self.tokens[places[:, None] + offsets]}


def words_of(text: str) -> list[str]:
    """The words of a text, in small letters; an apostrophe between letters belongs to its word."""
    return _WORD.findall(text.lower())


@functools.lru_cache(maxsize=4)
def _count(declared: Vocabulary) -> Words:
    counted = collections.Counter(
        word for text in read_texts(declared.source, declared.field) for word in words_of(text)
    )
    kept = sorted((-count, word) for word, count in counted.items() if count >= declared.least)
    if not kept:
        raise InputError("least", f"no word occurs {declared.least} times", "fewer")
    return Words(tuple(word for _, word in kept), np.array([-count for count, _ in kept], np.int32))
