"""Span F1 by hand, and against plain loops."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxai.core.errors import InputError
from jaxai.metrics import merge
from jaxai.metrics.spans import Spans

TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
of = jax.jit(Spans.of, static_argnames="tags")


def numbers(*sentences: str) -> jnp.ndarray:
    return jnp.array([[TAGS.index(tag) for tag in sentence.split()] for sentence in sentences])


def loops(row):
    """The spans of a row of tag numbers, -1 left out, as (type, first, last)."""
    spans, open_ = [], None
    tags = [TAGS[number] for number in row if number >= 0]
    for place, tag in enumerate([*tags, "O"]):
        prefix, _, kind = tag.partition("-")
        if open_ and (prefix != "I" or kind != open_[0]):
            spans.append((*open_, place - 1))
            open_ = None
        if prefix != "O" and open_ is None:
            open_ = (kind, place)
    return set(spans)


def test_by_hand():
    truth = numbers("B-PER I-PER O B-LOC O O", "B-LOC I-LOC I-LOC O B-PER B-PER")
    guess = numbers("B-PER I-PER O B-PER O B-LOC", "B-LOC I-LOC O O B-PER I-PER")
    # True: PER 0-1, LOC 3; LOC 0-2, PER 4, PER 5. Guessed: PER 0-1, PER 3, LOC 5; LOC 0-1, PER 4-5.
    spans = of(truth, guess, jnp.ones((2, 6)), tags=TAGS)
    assert (int(spans.true), int(spans.predicted), int(spans.both)) == (5, 5, 1)
    assert spans.compute() == pytest.approx({"span_precision": 0.2, "span_recall": 0.2, "span_f1": 0.2})


def test_an_i_after_another_type_or_nothing_begins_a_span():
    rows = numbers("I-PER I-PER I-LOC O I-LOC B-LOC")
    spans = of(rows, rows, jnp.ones((1, 6)), tags=TAGS)
    assert int(spans.true) == int(spans.both) == 4
    assert spans.compute()["span_f1"] == 1


@pytest.mark.parametrize("seed", range(3))
def test_is_what_plain_loops_count_over_padded_batches(seed):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 5, (30, 9))
    guess = np.where(rng.random((30, 9)) < 0.6, truth, rng.integers(0, 5, (30, 9)))
    weights = rng.random((30, 9)) < 0.8
    state = merge(*(of(truth[p], guess[p], weights[p], tags=TAGS) for p in (slice(15), slice(15, 30))))
    pairs = [
        [loops(np.where(weights[i], rows[i], -1)) for rows in (truth, guess)] for i in range(len(truth))
    ]  # fmt: skip
    counts = [sum(len(x) for x in each) for each in zip(*((t, g, t & g) for t, g in pairs), strict=True)]
    assert [int(state.true), int(state.predicted), int(state.both)] == counts
    assert counts[2] > 10
    p, r = counts[2] / counts[1], counts[2] / counts[0]
    assert state.compute()["span_f1"] == pytest.approx(2 * p * r / (p + r))


def test_nothing_to_find_scores_nothing():
    rows = numbers("O O O")
    assert of(rows, rows, jnp.ones((1, 3)), tags=TAGS).compute() == dict.fromkeys(
        ("span_precision", "span_recall", "span_f1"), 0
    )
    spans = of(numbers("B-PER O O"), numbers("B-PER O O"), jnp.zeros((1, 3)), tags=TAGS)
    assert int(spans.true) == int(spans.predicted) == 0


def test_what_is_no_tag_is_named():
    with pytest.raises(InputError, match="tags: 'PER' is no tag in BIO"):
        Spans.of(jnp.zeros((1, 2), int), jnp.zeros((1, 2), int), jnp.ones((1, 2)), ("O", "PER"))
    with pytest.raises(InputError, match="differ in shape"):
        Spans.of(jnp.zeros((1, 2), int), jnp.zeros((1, 3), int), jnp.ones((1, 2)), TAGS)


@pytest.mark.oracle
def test_is_what_seqeval_counts():
    from seqeval.metrics import f1_score, precision_score, recall_score

    rng = np.random.default_rng(0)
    truth = rng.integers(0, 5, (50, 9))
    guess = np.where(rng.random((50, 9)) < 0.7, truth, rng.integers(0, 5, (50, 9)))
    weights = np.arange(9) < rng.integers(1, 10, (50, 1))
    names = [
        [[TAGS[tag] for tag in row[kept]] for row, kept in zip(rows, weights, strict=True)] for rows in (truth, guess)
    ]
    found = of(truth, guess, weights, tags=TAGS).compute()
    assert 0.2 < found["span_f1"] < 0.9
    for name, score in (("span_precision", precision_score), ("span_recall", recall_score), ("span_f1", f1_score)):
        assert found[name] == pytest.approx(score(*names)), name
