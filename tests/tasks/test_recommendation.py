"""Recommendation: the sampled softmax against a double loop, and ranks and gains made by hand."""

from __future__ import annotations

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxai.core.errors import InputError
from jaxai.data.source import Arrays
from jaxai.models.clip import TextEncoder
from jaxai.models.two_tower import TwoTower
from jaxai.tasks.ranking import Ranking, sampled_softmax

RNG = np.random.default_rng(0)
TEXT = TextEncoder(vocab_size=12, dim=8, depth=1, num_heads=2, max_length=5, pad=0, causal=False, pool="mean")
COUNT = np.array([5, 1, 9, 0, 2, 3])
CATALOGUE = Arrays({"tokens": RNG.integers(1, 12, (6, 5)), "count": COUNT})
TASK = Ranking(model=TwoTower(num_users=4, num_items=6, text=TEXT, dim=4, hidden=8), catalogue=CATALOGUE, at=(1, 3))


class Table(nn.Module):
    """Scores that are known: a user's row of them, each item by itself."""

    scores: tuple[tuple[float, ...], ...]

    @nn.compact
    def __call__(self, inputs, history, items, texts, train=False):
        return self.encode_query(inputs, history), self.encode_candidate(items, texts)

    def encode_query(self, inputs, history, train=False):
        return jnp.asarray(self.scores)[inputs]

    def encode_candidate(self, inputs, texts, train=False):
        return jnp.eye(6)[inputs]


def make_batch(**fields):
    return {
        "user": np.array([0, 1, 2], np.int32),
        "history": np.array([[1, -1], [2, 0], [-1, -1]], np.int32),
        "item": np.array([4, 2, 5], np.int32),
        "seen": np.array([[0, -1], [5, 0], [-1, -1]], np.int32),
        "index": np.arange(3, dtype=np.int32),
        **fields,
    }


def test_hits_and_gains_of_ranks_made_by_hand():
    #                 items  0    1    2    3    4    5
    scores = ((9.0, 0.0, 0.0, 0.0, 8.0, 0.0), (5.0, 4.0, 3.0, 2.0, 1.0, 6.0), (5.0, 4.0, 3.0, 2.0, 1.0, 0.0))
    task = Ranking(model=Table(scores), catalogue=CATALOGUE, at=(1, 3))
    out = jax.jit(task.loss, static_argnames="train")({"params": {}}, make_batch(), jax.random.key(0), train=False)
    # Items 0 and 5 were seen by two of the users: the right ones come first, second and last.
    got = {name: metric.compute() for name, metric in out.metrics.items()}
    assert got["hr@1"] == pytest.approx(1 / 3)
    assert got["hr@3"] == pytest.approx(2 / 3)
    assert got["ndcg@3"] == pytest.approx((1 + 1 / math.log2(3)) / 3)
    assert got["mrr"] == pytest.approx((1 + 1 / 2 + 1 / 6) / 3)
    # By counts 5 1 9 0 2 3: item 4 is third of those not seen, item 2 first, item 5 third of all; never taken is once.
    assert got["popular-hr@1"] == pytest.approx(1 / 3)
    assert got["popular-hr@3"] == pytest.approx(1)
    assert got["popular-ndcg@3"] == pytest.approx((1 + 2 / math.log2(4)) / 3)
    exponentials = np.exp([scores[0][i] for i in (1, 2, 3, 4, 5)])
    one = jax.jit(task.loss, static_argnames="train")(
        {"params": {}}, make_batch(mask=np.array([1.0, 0, 0], np.float32)), jax.random.key(0), train=False
    )
    assert float(one.total) == pytest.approx(-np.log(np.exp(8.0) / exponentials.sum()), rel=1e-4)
    assert float(one.weight) == 1


def test_the_sampled_softmax_is_that_of_a_double_loop():
    queries, candidates = RNG.normal(size=(2, 6, 3)).astype(np.float32)
    items = np.array([0, 1, 1, 2, 0, 3])
    log_share = np.log(np.array([0.5, 0.2, 0.2, 0.1], np.float32))
    weights = np.array([1, 1, 1, 1, 1, 0], np.float32)
    losses, ranks = jax.jit(sampled_softmax)(queries, candidates, items, log_share, weights)
    for i in range(5):
        scores = {j: queries[i] @ candidates[j] for j in range(5) if j == i or items[j] != items[i]}
        expected = {j: 4 * np.exp(log_share[items[j]]) if j != i else 1 for j in scores}
        total = sum(np.exp(score) / expected[j] for j, score in scores.items())
        assert losses[i] == pytest.approx(np.log(total) - scores[i], rel=1e-4)
        assert ranks[i] == sum(score >= scores[i] for score in scores.values())
    assert np.isfinite(losses).all()


def test_corrected_scores_learn_the_share_that_was_taken():
    """One user who takes item i with share p_i: at the optimum the scores are log p_i, not flat."""
    share = np.array([0.6, 0.3, 0.1], np.float32)
    items = np.repeat(np.arange(3), [60, 30, 10])

    def loss(scores):
        queries = jnp.ones((100, 1))
        return jnp.sum(sampled_softmax(queries, scores[items][:, None], items, np.log(share), jnp.ones(100))[0])

    step = jax.jit(lambda scores: scores - 0.02 * jax.grad(loss)(scores))
    scores = jnp.zeros(3)
    for _ in range(300):
        scores = step(scores)
    np.testing.assert_allclose(jax.nn.softmax(scores), share, atol=0.02)


@pytest.mark.slow
def test_towers_read_history_and_text():
    variables = jax.jit(TASK.init)(jax.random.key(0), make_batch())
    assert set(variables["params"]) == {"users", "items", "text", "query_tower", "candidate_tower"}
    encode = jax.jit(lambda v, u, h: TASK.model.apply(v, u, h, method="encode_query"))
    history = np.array([[1, -1, -1], [1, 3, -1], [-1, -1, -1]])
    users = np.zeros(3, int)
    first = encode(variables, users, history)
    np.testing.assert_allclose(encode(variables, users, history[:, ::-1]), first, atol=1e-6)  # an average
    assert np.abs(first[0] - first[1]).max() > 1e-4
    assert np.abs(first[0] - first[2]).max() > 1e-4
    scores = jax.jit(TASK.predict)(variables, make_batch())
    assert scores.shape == (3, 6)
    np.testing.assert_array_equal(np.argwhere(np.isinf(scores)), [[0, 0], [1, 0], [1, 5]])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TASK.check({}, make_batch(user=np.array([0, 4, 1]))), "user: is 4 in example 1, the model has 4"),
        (lambda: TASK.check({}, make_batch(item=np.array([0, 1, -1]))), "item: is -1 in example 2, the model has 6"),
        (lambda: TASK.check({}, make_batch(history=np.full((3, 2), 6))), "history: is 6 in example 0, the model has 6"),
        (lambda: with_items(5).check({}, make_batch()), "task.catalogue: has 6 items, the model 5"),
        (lambda: with_catalogue({"count": COUNT}).init(jax.random.key(0), make_batch()), "has no field 'tokens', only"),
        (lambda: TASK.init(jax.random.key(0), {"user": 0, "item": 0}), "task.history: the data has no field 'history'"),
        (lambda: Ranking(model=TASK.model, catalogue=CATALOGUE, at=(0,)), "task.at: the first 0"),
    ],
)
def test_what_cannot_be_ranked_is_named(make, message):
    with pytest.raises(InputError, match=message):
        make()


def with_items(num):
    return Ranking(model=TASK.model.clone(num_items=num), catalogue=CATALOGUE)


def with_catalogue(fields):
    return Ranking(model=TASK.model, catalogue=Arrays(fields))
