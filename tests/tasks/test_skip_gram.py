"""Skip-gram: closed forms on two words, what is drawn and kept, and words that come to lie near each other."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxai.core import rng
from jaxai.core.errors import InputError
from jaxai.data.text.words import Words
from jaxai.models.word2vec import Word2Vec
from jaxai.tasks.skip_gram import SkipGram, nearest


@dataclasses.dataclass(frozen=True)
class Counts:
    """A vocabulary of words that are numbers."""

    counts: tuple[int, ...]

    def open(self) -> Words:
        return Words(tuple(map(str, range(len(self.counts)))), np.array(self.counts, np.int32))


def task(*counts, **settings):
    return SkipGram(model=Word2Vec(vocab_size=len(counts), dim=4), vocabulary=Counts(counts), **settings)


def make_batch(center, context):
    return {
        "center": np.array(center, np.int32),
        "context": np.array(context, np.int32),
        "index": np.arange(len(center), dtype=np.int32),
    }


def test_the_loss_on_two_words_is_the_closed_form():
    """Each word stands by the other; drawn words are the two by count to 3/4, and one that was there does not count."""
    model = task(3, 1, num_negatives=2)
    table = np.array([[0.3, -1, 0.5, 0], [1, 0.2, 0, -0.7]], np.float32)
    others = np.array([[0.1, 0.4, -0.2, 1], [0.6, 0, 0.9, 0.5]], np.float32)
    variables = {"params": {"tokens": {"embedding": table}, "contexts": {"embedding": others}}}
    batch = make_batch(np.tile([0, 1], 4000), np.tile([[1, -1], [0, -1]], (4000, 1)))
    out = jax.jit(model.loss, static_argnames="train")(variables, batch, jax.random.key(0), train=False)
    scores, sigmoid = table @ others.T, lambda x: 1 / (1 + np.exp(-x))
    share = np.array([3, 1]) ** 0.75 / np.sum(np.array([3, 1]) ** 0.75)
    expected = np.mean(
        [
            -np.log(sigmoid(scores[word, 1 - word])) - 2 * share[word] * np.log(sigmoid(-scores[word, word]))
            for word in (0, 1)
        ]
    )
    assert float(out.weight) == 8000  # places without a word do not count
    assert float(out.total / out.weight) == pytest.approx(expected, rel=0.02)  # a hundredth of a standard deviation
    drawn = 2 * share.sum() * 8000 / 2
    assert int(out.metrics["ranked"].weight) == pytest.approx(drawn, rel=0.03)


def test_the_loss_and_its_gradients_are_those_of_the_published_code():
    """The inner loop of word2vec.c: `g`, `neu1e` and `syn1neg` as there, at a learning rate of 1."""
    model, batch, random = (
        task(3, 2, 4, num_negatives=3),
        make_batch([0, 2], [[1, -1], [0, 1]]),
        np.random.default_rng(0),
    )
    table, others = random.normal(size=(2, 3, 4)).astype(np.float32)
    key = jax.random.key(1)

    def loss(table, others):
        params = {"tokens": {"embedding": table}, "contexts": {"embedding": others}}
        return model.loss({"params": params}, batch, key, False).total

    total, gradients = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(table, others)
    drawn = model._draw(rng.stream(key, "negatives"), batch["index"], (2, 3))
    expected, syn0, syn1neg = 0.0, np.zeros((3, 4)), np.zeros((3, 4))
    for row, place in [(0, 0), (1, 0), (1, 1)]:
        word, target = batch["center"][row], batch["context"][row, place]
        for other, label in [(target, 1), *((other, 0) for other in np.asarray(drawn[row, place]) if other != target)]:
            share = 1 / (1 + np.exp(-(table[word] @ others[other])))
            expected -= np.log(share if label else 1 - share)
            g = label - share
            syn0[word] += g * others[other]
            syn1neg[other] += g * table[word]
    assert float(total) == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(gradients, [-syn0, -syn1neg], atol=1e-5)


def test_at_first_nothing_is_known():
    model, batch = task(5, 3, 2, num_negatives=1), make_batch([0, 1], [[1, 2], [0, -1]])
    variables = jax.jit(model.init)(jax.random.key(0), batch)
    assert np.abs(variables["params"]["tokens"]["embedding"]).max() <= 0.5 / 4
    np.testing.assert_array_equal(variables["params"]["contexts"]["embedding"], 0)
    out = jax.jit(model.loss, static_argnames="train")(variables, batch, jax.random.key(0), train=False)
    assert np.log(2) - 1e-5 <= float(out.total / out.weight) <= 2 * np.log(2) + 1e-5


def test_words_are_drawn_by_their_count_to_the_power():
    model = task(1000, 100, 10, 1)
    drawn = np.asarray(jax.jit(lambda index: model._draw(jax.random.key(0), index, (10,)))(jnp.arange(4000)))
    share = np.array([1000, 100, 10, 1]) ** 0.75
    share /= share.sum()
    found = np.bincount(drawn.ravel(), minlength=4) / 40_000
    assert (np.abs(found - share) <= 5 * np.sqrt(share * (1 - share) / 40_000)).all()


def test_frequent_words_are_left_out_and_near_ones_count_more():
    model, num = task(90, 10, subsample=0.025), 20_000
    keep = np.minimum(1, np.sqrt(0.025 / np.array([0.9, 0.1])))
    kept = jax.jit(model._kept)(make_batch(np.zeros(num), np.tile([0, 1, 1, 0], (num, 1))), jax.random.key(0))
    near, far = keep[0] * keep, 0.5 * keep[0] * keep  # two places away only in half of the windows
    expected = np.array([far[0], near[1], near[1], far[0]])
    found = np.asarray(kept).mean(axis=0)
    assert (np.abs(found - expected) <= 5 * np.sqrt(expected * (1 - expected) / num)).all()
    everything = task(90, 10, subsample=1.0)._kept(make_batch([0] * 9, np.ones((9, 2))), jax.random.key(0))
    assert np.asarray(everything).all()


def test_an_example_draws_alike_wherever_it_is_in_a_batch():
    model = task(5, 3, 2)
    whole = model._draw(jax.random.key(0), jnp.array([7, 8, 9]), (4, 5))
    np.testing.assert_array_equal(model._draw(jax.random.key(0), jnp.array([9]), (4, 5))[0], whole[2])


def test_nearest_are_by_cosine_and_without_the_word_itself():
    table = np.array([[1.0, 0], [5, 0.1], [0, 1], [-1, 0]])
    found = nearest(table, 0, num=3)
    assert [number for number, _ in found] == [1, 2, 3]
    assert [cosine for _, cosine in found] == pytest.approx([5 / np.hypot(5, 0.1), 0, -1])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: task(1, 1, num_negatives=0), "task.num_negatives: must be at least 1"),
        (lambda: task(1, 1, subsample=0.0), "task.subsample: must be positive, is 0"),
        (lambda: task(1, 1).check({}, make_batch([0], [[1, 2]])), "is 2, the model has a vocabulary of 2"),
        (lambda: task(1, 1).check({}, make_batch([0], [[1, -2]])), "is -2, the model has a vocabulary of 2"),
        (lambda: task(1, 1).init(jax.random.key(0), make_batch([0], [[1, 1, 0]])), r"\[1, 3\] .*\[batch, 2 window\]"),
        (
            lambda: SkipGram(model=Word2Vec(vocab_size=3), vocabulary=Counts((1, 1))).check(
                {}, make_batch([0], [[1, 1]])
            ),
            r"task.vocabulary: has 2 words, the model 3 \(vocab_size=2\)",
        ),
    ],
)
def test_what_cannot_be_is_named(make, message):
    with pytest.raises(InputError, match=message):
        make()
