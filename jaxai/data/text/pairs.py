"""Pairs of sentences for next-sentence prediction (Devlin et al. 2019)."""

from __future__ import annotations

import dataclasses
import re
from typing import Any, Literal

import numpy as np

from jaxai.core.errors import InputError
from jaxai.core.fields import check_fields
from jaxai.data.text.rows import check_length, padded, read_texts
from jaxai.data.text.tokenizers import open_tokenizer, special

# A mark that ends a sentence, or a closing quotation mark or bracket after it; or the end of a line.
_END = re.compile(r"(?<=[.!?])\s+|(?<=[.!?]['\")\u2019\u201d])\s+|\s*\n\s*")


@dataclasses.dataclass(frozen=True)
class SentencePairs:
    """`cls` A `sep` B `sep`, where B follows A or, in half of the cases, is from elsewhere.

    An example is a run of sentences as long as fits in `length`, cut in two between any of its sentences; where it is
    cut, whether B is the rest, and where it is from if not, is drawn anew each epoch. Evaluations see one such draw.

    Examples are `tokens`, `segments` (1, and 0 for padding), `types` (0 for A, 1 for B), `words` (the number of the
    word a token belongs to, or -1), all [length], and `label`: 0 where B follows A, 1 where it does not.
    """

    source: Any
    """A declaration or source of texts."""
    _: dataclasses.KW_ONLY
    tokenizer: Any
    """Such as `WordPiece(file="vocab.txt")`."""
    length: int
    """Tokens of a row, the three special ones among them."""
    field: str = "text"
    """Where the source has its text."""
    sentences: Literal["within", "whole"] = "within"
    """Whether each text is a document, to be cut into sentences (at a full stop, a question or exclamation mark, or a
    new line), or a whole sentence, of a document that is the source in its order."""

    def __post_init__(self):
        check_fields(self)
        check_length(self.length, 5)

    def open(self) -> DrawnPairs:
        texts, tokenizer = read_texts(self.source, self.field), open_tokenizer(self.tokenizer)
        cls, sep = special(tokenizer, "cls", "sep")
        documents = [texts] if self.sentences == "whole" else [_END.split(text) for text in texts]
        most = (self.length - 3) // 2  # so that any two fit
        encoded = [
            [(ids[:most], words[:most]) for ids, words in map(tokenizer.words, document) if len(ids)]
            for document in documents
        ]
        ends = np.cumsum([len(document) for document in encoded])
        sentences = [sentence for document in encoded for sentence in document]
        runs = _runs([len(ids) for ids, _ in sentences], ends, self.length - 3)
        if len(runs) < 2:
            raise InputError("source", f"has {len(sentences)} sentences, too few for pairs", "more text")
        first_words = _before([int(words.max()) + 1 for _, words in sentences])
        return DrawnPairs(
            tokens=np.concatenate([ids for ids, _ in sentences]),
            words=np.concatenate(
                [np.where(words >= 0, words + n, -1) for (_, words), n in zip(sentences, first_words, strict=False)]
            ),
            starts=_before([len(ids) for ids, _ in sentences]),
            first_words=first_words,
            document_ends=np.repeat(ends, [len(document) for document in encoded]),
            runs=runs,
            length=self.length,
            pad=tokenizer.pad or 0,
            cls=cls,
            sep=sep,
        )


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class DrawnPairs:
    """The opened source."""

    tokens: np.ndarray
    """Of all sentences, one after another, [num_tokens]."""
    words: np.ndarray
    """The number of the word each belongs to, from the first sentence on, or -1, [num_tokens]."""
    starts: np.ndarray
    """Where each sentence begins among the tokens, [num_sentences + 1]."""
    first_words: np.ndarray
    """The number of its first word, [num_sentences + 1]."""
    document_ends: np.ndarray
    """The sentence after the last of its document, [num_sentences]."""
    runs: list[tuple[int, int]]
    """The sentences of each example: the first, and the one after the last."""
    length: int
    pad: int
    cls: int
    sep: int

    def __len__(self) -> int:
        return len(self.runs)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.draw(index, np.random.Generator(np.random.Philox(index)))

    def draw(self, index: int, random: np.random.Generator) -> dict[str, Any]:
        """A pair of the run `index`."""
        start, end = self.runs[index]
        # Only raw doubles are drawn: numpy may change how it makes other numbers of them.
        cut, follows, elsewhere = random.random(3)
        middle = start + 1 + int(cut * (end - start - 1))
        other = int(elsewhere * (len(self.starts) - 1 - (end - start)))
        other += (end - start) * (other >= start)
        # Both go on as far as there is room: where B ends must not tell where it is from.
        second = middle if follows < 0.5 else other
        pair = self._row((start, middle), (second, int(self.document_ends[second])))
        return pair | {"label": np.int32(follows >= 0.5)}

    def _row(self, first: tuple[int, int], second: tuple[int, int]) -> dict[str, np.ndarray]:
        a, a_words = self._part(first, self.length, 0)
        num_words = int(self.first_words[first[1]] - self.first_words[first[0]])
        b, b_words = self._part(second, self.length - 3 - len(a), num_words)
        places, used = np.arange(self.length), 3 + len(a) + len(b)
        none = [-1]
        return {
            "tokens": padded(np.concatenate([[self.cls], a, [self.sep], b, [self.sep]]), self.length, self.pad),
            "segments": (places < used).astype(np.int32),
            "types": ((places >= len(a) + 2) & (places < used)).astype(np.int32),
            "words": padded(np.concatenate([none, a_words, none, b_words, none]), self.length, -1),
        }

    def _part(self, sentences: tuple[int, int], most: int, first_word: int) -> tuple[np.ndarray, np.ndarray]:
        """At most so many tokens of sentences, and the numbers of their words, from `first_word` on."""
        start, end = int(self.starts[sentences[0]]), int(self.starts[sentences[1]])
        place = slice(start, min(end, start + most))
        words = self.words[place]
        return self.tokens[place], np.where(words >= 0, words + (first_word - self.first_words[sentences[0]]), -1)


def _before(counts: list[int]) -> np.ndarray:
    """How much comes before each of a list, and the sum of all, [len + 1]."""
    return np.concatenate([[0], np.cumsum(counts)])


def _runs(sizes: list[int], document_ends: np.ndarray, room: int) -> list[tuple[int, int]]:
    """Runs of two sentences or more of one document, each as long as fits in `room` tokens.

    Where one sentence is left over at the end, the last run begins one sentence earlier, within the run before it.
    """
    runs, start = [], 0
    for document_end in document_ends.tolist():
        document_start = start
        while start < document_end:
            end = start + 1
            used = sizes[start]
            while end < document_end and used + sizes[end] <= room:
                used += sizes[end]
                end += 1
            if end - start == 1 and start > document_start:
                start -= 1
            if end - start > 1:
                runs.append((start, end))
            start = end
    return runs
