"""Error rates in closed form, and BLEU and chrF by hand."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest

from jaxai.core.errors import InputError
from jaxai.metrics.text import bleu, character_error_rate, chrf, edit_distance, word_error_rate


@pytest.mark.parametrize(
    ("first", "second", "distance"),
    [
        ("kitten", "sitting", 3),
        ("intention", "execution", 5),
        ("", "abc", 3),
        ("abc", "", 3),
        ("", "", 0),
        ("saturday", "sunday", 3),
        ("abc", "abc", 0),
        ("ab", "ba", 2),
    ],
)
def test_edit_distances_of_text_books(first, second, distance):
    assert edit_distance(first, second) == distance


def recursive(a, b):
    """The definition."""
    if not a or not b:
        return len(a) + len(b)
    return min(recursive(a[1:], b) + 1, recursive(a, b[1:]) + 1, recursive(a[1:], b[1:]) + (a[0] != b[0]))


def test_edit_distance_is_its_definition():
    rng = np.random.default_rng(0)
    for _ in range(40):
        a, b = (list(rng.integers(0, 3, rng.integers(0, 6))) for _ in range(2))
        assert edit_distance(a, b) == recursive(a, b)


def test_error_rates_divide_by_all_of_the_references():
    references = ["the cat sat on the mat", "yes"]
    assert word_error_rate(["the cat sat on mat", "yes no"], references) == pytest.approx(2 / 7)
    assert character_error_rate(["the cat sat on the mat", "yep"], references) == pytest.approx(1 / 25)
    assert word_error_rate(["a b c"], ["d"]) == 3
    assert math.isnan(word_error_rate(["a"], [""]))
    with pytest.raises(InputError, match="references: there are 1 for 2 hypotheses"):
        word_error_rate(["a", "b"], ["a"])


def test_bleu_and_chrf_by_hand():
    texts = ["The dog bit the man.", "It was not unexpected."]
    assert bleu(texts, texts) == pytest.approx(100)
    assert chrf(texts, texts) == pytest.approx(100)
    # The geometric mean of the shares of common 1- to 4-grams; then the penalty of what is too short.
    assert bleu(["a b c d e"], ["a b c d f"]) == pytest.approx(100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25)
    assert bleu(["a b c d"], ["a b c d e"]) == pytest.approx(100 * math.exp(1 - 5 / 4))
    # F2 of mean precision and recall over 1- to 6-grams of characters, of which the shorter text has three.
    precision, recall = np.mean([3 / 3, 2 / 2, 1 / 1]), np.mean([3 / 4, 2 / 3, 1 / 2])
    assert chrf(["abc"], ["abcd"]) == pytest.approx(100 * 5 * precision * recall / (4 * precision + recall))
    for score in (bleu, chrf):
        with pytest.raises(InputError, match="references: there are 0 for 1 hypotheses"):
            score(["a"], [])


def test_without_sacrebleu_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    with pytest.raises(InputError, match=r"sacrebleu: is not installed .*\[text\]"):
        bleu(["a"], ["a"])
