"""Sentences of words with a tag each, such as the names in a text: for `TokenClassification`."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxai.core.errors import InputError, did_you_mean
from jaxai.core.fields import check_fields
from jaxai.data.source import Arrays
from jaxai.data.text.rows import check_length, open_texts, padded, read_examples, tell_replaced
from jaxai.data.text.texts import text_row
from jaxai.data.text.tokenizers import Tokenizer, open_tokenizer, special
from jaxai.data.text.utf8 import to_text

_log = logging.getLogger("jaxai")


@dataclasses.dataclass(frozen=True)
class TaggedWords:
    """One sentence a row: `TaggedWords(source, tokenizer=Bytes(), length=128, classes=("O", "B-PER", "I-PER"))`.

    Examples are `tokens`, `segments` (1, and 0 for padding) and `labels` [length]: at the first token of each word the
    number of its tag, -1 elsewhere. The tokenizer reads the words joined by spaces. Words that get no label, because
    `length` cuts them off or the tokenizer leaves them out, are counted in one line.
    """

    source: Any
    """A declaration or source of examples with a list of words and as long a list of tags, names or numbers."""
    _: dataclasses.KW_ONLY
    tokenizer: Any
    """Such as `Bytes()`."""
    length: int
    """Tokens of a row, the special ones among them."""
    classes: tuple[str, ...]
    """Names of the tags, in the order of their numbers."""
    words: str = "words"
    """Where the source has its words."""
    tags: str = "tags"
    """Where it has their tags."""
    specials: bool = False
    """Put `cls` before the text and `sep` after it, as BERT reads it."""

    def __post_init__(self):
        check_fields(self)
        check_length(self.length, 3 if self.specials else 1)
        if not self.classes:
            raise InputError("classes", "names none", 'such as ("O", "B-PER", "I-PER")')

    def open(self) -> Arrays:
        source, tokenizer = open_texts(self.source, self.words, self.tags), open_tokenizer(self.tokenizer)
        before, after = special(tokenizer, "cls", "sep") if self.specials else (None, None)
        rows, num_words, replaced = [], 0, 0
        for index, example in enumerate(read_examples(source)):
            words, count = self._words(example, index)
            tokens, labels = _label(words, self._numbers(example, index, len(words)), tokenizer)
            row = text_row(tokens, self.length, tokenizer.pad or 0, before, after)
            place = [-1] * self.specials
            rows.append(row | {"labels": padded([*place, *labels[: self.length - 2 * self.specials]], self.length, -1)})
            num_words, replaced = num_words + len(words), replaced + count
        tell_replaced((self.words,), replaced)
        arrays = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        missed = num_words - int(np.sum(arrays["labels"] >= 0))
        if missed:
            _log.warning("%s: %d of %d get no label, %d tokens a row", self.words, missed, num_words, self.length)
        return Arrays(arrays, classes=self.classes)

    def _words(self, example: Mapping[str, Any], index: int) -> tuple[list[str], int]:
        """The words of an example, and how often something in them was no UTF-8."""
        words = _list(example, self.words, index)
        if not words or not all(isinstance(word, (str, bytes)) for word in words):
            what = f"example {index}: {self.words!r} is {'not all text' if words else 'empty'}"
            raise InputError("source", what, "a list of words")
        decoded = [to_text(word) for word in words]
        return [word for word, _ in decoded], sum(count for _, count in decoded)

    def _numbers(self, example: Mapping[str, Any], index: int, num_words: int) -> list[int]:
        """The numbers of an example's tags."""
        tags = [to_text(tag)[0] if isinstance(tag, (str, bytes)) else tag for tag in _list(example, self.tags, index)]
        if len(tags) != num_words:
            raise InputError("source", f"example {index} has {num_words} words and {len(tags)} tags", "one for each")
        known = {name: number for number, name in enumerate(self.classes)}
        numbers = [known.get(tag, -1) if isinstance(tag, str) else int(tag) for tag in tags]
        for tag, number in zip(tags, numbers, strict=True):
            if not 0 <= number < len(self.classes):
                fix = did_you_mean(str(tag), self.classes)
                raise InputError("source", f"example {index}: {tag!r} is none of the {len(known)} classes", fix)
        return numbers


def _list(example: Mapping[str, Any], field: str, index: int) -> list[Any]:
    value = example.get(field)
    if not isinstance(value, (list, tuple, np.ndarray)):
        found = f"no {field!r}" if value is None else f"{type(value).__name__} as {field!r}"
        raise InputError("source", f"example {index} has {found}, not a list", did_you_mean(field, example))
    return list(value)


def _label(words: list[str], tags: list[int], tokenizer: Tokenizer) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of the words, and the tag of each word at its first token, -1 elsewhere, both [num_tokens]."""
    tokens, spans = tokenizer.spans(" ".join(words))
    word_of = np.concatenate([[*[number] * len(word), -1] for number, word in enumerate(words)]).astype(int)
    # A token that begins with the space before its word ends within the word.
    numbers, firsts = np.unique(word_of[spans[:, 1] - 1], return_index=True)
    labels = np.full(len(tokens), -1, np.int32)
    labels[firsts[numbers >= 0]] = np.array(tags)[numbers[numbers >= 0]]
    return tokens, labels
