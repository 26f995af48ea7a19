"""Edits counted within the step against those counted on the host."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from jaxai.metrics.edits import edit_distance, token_error_rate, words_of
from jaxai.metrics.text import character_error_rate, word_error_rate
from jaxai.metrics.text import edit_distance as on_the_host

RNG = np.random.default_rng(0)


def padded(rows, length):
    out = np.full((len(rows), length), 99, np.int32)
    for row, items in zip(out, rows, strict=True):
        row[: len(items)] = items
    return out, np.array([len(items) for items in rows], np.int32)


def test_the_edits_of_kitten_and_sitting_are_three():
    first, second = (
        [list(word.encode()) for word in words] for words in (["kitten", "", "abc"], ["sitting", "xy", "abc"])
    )
    np.testing.assert_array_equal(edit_distance(*padded(first, 6), *padded(second, 9)), [3, 2, 0])


def test_edits_and_rates_are_those_counted_on_the_host():
    hypotheses, references = (
        ["".join(RNG.choice(list("ab c"), size)) for size in RNG.integers(0, 12, 60)] for _ in range(2)
    )
    first, second = (padded([list(text.encode()) for text in texts], 14) for texts in (hypotheses, references))
    got = jax.jit(edit_distance)(*first, *second)
    np.testing.assert_array_equal(got, list(map(on_the_host, hypotheses, references)))
    ones = np.ones(60, np.float32)
    rate = token_error_rate(*first, *second, ones).compute()
    assert rate == pytest.approx(character_error_rate(hypotheses, references))
    words = [words_of(*each, space=32) for each in (first, second)]
    np.testing.assert_array_equal(words[0][1], [len(text.split()) for text in hypotheses])
    rate = token_error_rate(*words[0], *words[1], ones).compute()
    assert rate == pytest.approx(word_error_rate(hypotheses, references))


def test_what_pads_is_not_counted():
    first, second = padded([[1, 2], [3]], 3), padded([[1, 2, 3], [4]], 3)
    state = token_error_rate(*first, *second, np.array([1.0, 0.0], np.float32))
    assert (int(state.total), int(state.weight)) == (1, 3)


def test_words_that_differ_only_in_order_or_in_length_have_other_numbers():
    texts = ["ab", "ba", "aba", "a", "aa", "aaa", "b"]
    tokens, num = padded([list(text.encode()) for text in texts], 3)
    numbers, _ = words_of(tokens, num, space=32)
    assert len(set(np.asarray(numbers)[:, 0].tolist())) == len(texts)
