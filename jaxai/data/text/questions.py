"""Questions about a text in which their answers stand (Rajpurkar et al. 2016): for `QuestionAnswering`."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np

from jaxai.core.errors import InputError
from jaxai.core.fields import check_fields
from jaxai.data.source import Arrays
from jaxai.data.text.rows import Example, Row, check_length, open_texts, padded, read_examples
from jaxai.data.text.tokenizers import Tokenizer, open_tokenizer, special

_log = logging.getLogger("jaxai")


@dataclasses.dataclass(frozen=True)
class Questions:
    """`cls` question `sep` context `sep`: `Questions(source, tokenizer=WordPiece(file="vocab.txt"), length=384)`.

    Examples are `tokens`, `segments` (1, and 0 for padding), `types` (0 for the question, 1 for the context), `context`
    (1 where an answer can lie), all [length], and `start` and `end`, the first and the last token that the answer has
    a part in. A context is cut at its end to fit.
    """

    source: Any
    """A declaration or source of questions, contexts and answers."""
    _: dataclasses.KW_ONLY
    tokenizer: Any
    """Such as `Bytes()`."""
    length: int
    """Tokens of a row, the three special ones among them."""
    question: str = "question"
    """Where the source has the question."""
    context: str = "context"
    """Where it has the text that answers it."""
    answer: str = "answer"
    """Where it has the answer, in the very words of the context."""
    answer_start: str = "answer_start"
    """Where it has the number of the context's character at which the answer begins, from 0."""
    beyond: Literal["refuse", "leave_out"] = "refuse"
    """What to do about examples whose answer is cut off, wholly or in part."""

    def __post_init__(self):
        check_fields(self)
        check_length(self.length, 5)

    def open(self) -> AnsweredQuestions:
        fields = (self.question, self.context, self.answer)
        source, tokenizer = open_texts(self.source, *fields), open_tokenizer(self.tokenizer)
        examples = read_examples(source, *fields)
        rows = [self._row(example, index, tokenizer) for index, example in enumerate(examples)]
        kept = [index for index, row in enumerate(rows) if row["end"] < self.length - 1]
        if len(kept) < len(rows):
            what = f"{len(rows) - len(kept)} of {len(rows)} examples have answers beyond {self.length} tokens"
            if self.beyond == "refuse" or not kept:
                fix = f'length={max(int(row["end"]) for row in rows) + 2}, or beyond="leave_out"'
                raise InputError("length", what, fix)
            _log.warning("%s: %s, left out", self.answer, what)
        arrays = {name: np.stack([rows[index][name] for index in kept]) for name in rows[0]}
        return AnsweredQuestions(
            spans=arrays.pop("spans"),
            arrays=arrays,
            contexts=[examples[index][self.context] for index in kept],
            answers=[examples[index][self.answer] for index in kept],
        )

    def _row(self, example: Example, index: int, tokenizer: Tokenizer) -> Row:
        (cls, sep), length = special(tokenizer, "cls", "sep"), self.length
        question, (tokens, spans) = tokenizer.encode(example[self.question]), tokenizer.spans(example[self.context])
        for field, found in ((self.question, question), (self.context, tokens)):
            if not len(found):
                raise InputError("source", f"example {index}: {field!r} is empty", "leave it out")
        first, last = self._answer(example, index, spans)
        begin = len(question) + 2
        row = np.concatenate([[cls], question, [sep], tokens[: max(length - begin - 1, 0)], [sep]])
        places = np.arange(length)
        end = len(row) - 1
        return {
            "tokens": padded(row, length, tokenizer.pad or 0),
            "segments": (places <= end).astype(np.int32),
            "types": ((places >= begin) & (places <= end)).astype(np.int32),
            "context": ((places >= begin) & (places < end)).astype(np.int32),
            "start": np.int32(begin + first),
            "end": np.int32(begin + last),
            "spans": np.stack([padded([*[0] * begin, *side], length, 0) for side in spans.T], axis=1),
        }

    def _answer(self, example: Example, index: int, spans: np.ndarray) -> tuple[int, int]:
        """The first and the last token of the context that stand for a part of the answer."""
        answer, start = example[self.answer], example.get(self.answer_start)
        if not isinstance(start, (int, np.integer)):
            raise InputError("source", f"example {index} has no whole number {self.answer_start!r}")
        end = start + len(answer)
        if not answer or start < 0 or example[self.context][start:end] != answer:
            what = f"example {index}: the answer {answer!r} does not stand at character {start} of {self.context!r}"
            raise InputError("source", what)
        within = np.flatnonzero((spans[:, 0] < end) & (spans[:, 1] > start))
        if not len(within):
            raise InputError("source", f"example {index}: the answer {answer!r} has no token", "leave it out")
        return int(within[0]), int(within[-1])


@dataclasses.dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class AnsweredQuestions(Arrays):
    """The opened source."""

    contexts: list[str]
    """Of each example."""
    answers: list[str]
    """Of each example."""
    spans: np.ndarray
    """The characters of its context that each token stands for: the first, and the one after the last; int32 [example,
    length, 2]."""

    def texts(self, indices: Iterable[int], places: Iterable[tuple[int, int]]) -> list[str]:
        """What the contexts of examples hold from a first token to a last, as `QuestionAnswering` predicts them."""
        return [
            self.contexts[index][self.spans[index, first, 0] : self.spans[index, last, 1]].strip()
            for index, (first, last) in zip(indices, places, strict=True)
        ]
