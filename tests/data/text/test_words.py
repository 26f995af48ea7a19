"""Texts as whole words: counted, numbered, and each with those around it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from jaxai.core.errors import InputError
from jaxai.data.text.words import Vocabulary, WordWindows, words_of


@dataclasses.dataclass(frozen=True)
class Lines:
    """Texts in memory."""

    texts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: int) -> dict[str, str]:
        return {"text": self.texts[index]}


TEXTS = Lines(("To be, or not to be: that is", "the question. To be", "Ne'er!"))


def test_words_are_letters_and_apostrophes_within_them():
    assert words_of("'Tis ne'er 3rd élan_x -- O'er, lovers'") == ["tis", "ne'er", "rd", "élan", "x", "o'er", "lovers"]


def test_a_vocabulary_counts_and_puts_the_frequent_first():
    opened = Vocabulary(TEXTS, least=1).open()
    assert opened.words[:3] == ("be", "to", "is")
    assert opened.counts[:3].tolist() == [3, 3, 1]
    assert opened.numbers["question"] == opened.words.index("question")
    assert Vocabulary(TEXTS, least=2).open().words == ("be", "to")
    with pytest.raises(InputError, match="least: no word occurs 4 times"):
        Vocabulary(TEXTS, least=4).open()
    with pytest.raises(InputError, match="least: must be at least 1"):
        Vocabulary(TEXTS, least=0)


def test_windows_stay_within_a_text_and_skip_unknown_words():
    windows = WordWindows(TEXTS, vocabulary=Vocabulary(TEXTS, least=2), window=2).open()
    # be = 0, to = 1: "to be to be", then "to be"
    assert len(windows) == 6
    batch = windows.batch(np.arange(6))
    np.testing.assert_array_equal(batch["center"], [1, 0, 1, 0, 1, 0])
    np.testing.assert_array_equal(
        batch["context"],
        [[-1, -1, 0, 1], [-1, 1, 1, 0], [1, 0, 0, -1], [0, 1, -1, -1], [-1, -1, 0, -1], [-1, 1, -1, -1]],
    )
    assert windows[3]["context"].tolist() == [0, 1, -1, -1]
