"""The search in eight bits finds what all logits say, and knows when it cannot."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxai.generation import generator as module
from jaxai.generation.generator import Generator
from jaxai.generation.sampling import Sampling
from jaxai.generation.table import _bounds, likeliest, make_table, search

from .small import MODEL, PROMPTS, larger, variables

RNG = np.random.default_rng(0)
VOCAB, DIM = 3001, 48


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


@pytest.fixture(scope="module")
def table():
    # A feature that all tokens share, and that dwarfs the others, as trained models have.
    return make_table(jnp.array(normal(VOCAB, DIM) + 30 * np.eye(DIM, dtype=np.float32)[3]))


def test_no_logit_exceeds_its_bound(table):
    x = normal(5, DIM) * np.array([1e-3, 1, 1, 30, 1e4], np.float32)[:, None]
    logits = x.astype(np.float64) @ (np.asarray(table.exact, np.float64) - np.asarray(table.middle, np.float64)).T
    bounds = np.asarray(_bounds(table, jnp.array(x)), np.float64)
    assert (logits <= bounds[:VOCAB].T).all()
    # And none is far above: a 2^7th of the lengths is what eight bits lack, of 48 roundings at random.
    loose = (bounds[:VOCAB].T - logits) / np.linalg.norm(x, axis=1)[:, None]
    assert loose.max() < 2 * np.abs(np.asarray(table.exact) - np.asarray(table.middle)).max() / 127 * np.sqrt(DIM)
    assert (bounds[VOCAB:] == -np.inf).all()


def test_it_finds_the_largest_logit(table):
    x = jnp.array(normal(64, DIM))
    found, is_proven = jax.jit(search)(table, x)
    exact = np.argmax(np.asarray(x, np.float64) @ np.asarray(table.exact, np.float64).T, axis=1)
    assert np.mean(is_proven) > 0.9
    np.testing.assert_array_equal(np.asarray(found)[np.asarray(is_proven)], exact[np.asarray(is_proven)])
    np.testing.assert_array_equal(jax.jit(likeliest)(table, x), exact)
    # The last token has neighbours that only pad.
    last = jnp.array(np.asarray(table.exact)[-1:] - np.asarray(table.middle))
    assert jax.jit(likeliest)(table, last).tolist() == [VOCAB - 1]


def test_what_eight_bits_cannot_tell_apart_is_looked_at_in_full():
    """All tokens have one logit to one part in 10,000, and differ in what has no part in it."""
    x = normal(1, DIM)
    x /= np.linalg.norm(x)
    rows = normal(VOCAB, DIM)
    rows += (1 + 1e-4 * normal(VOCAB, 1) - rows @ x.T) * x
    table = make_table(jnp.array(rows))
    found, is_proven = jax.jit(search)(table, jnp.array(x))
    exact = int(np.argmax(rows @ x[0]))
    assert not is_proven[0]
    assert int(found[0]) != exact
    assert jax.jit(likeliest)(table, jnp.array(x)).tolist() == [exact]


@pytest.mark.slow
def test_texts_are_the_same_with_and_without(monkeypatch):
    model = MODEL.clone(vocab_size=500)
    made = larger(jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 2), jnp.int32)))
    sampling = Sampling(temperature=0, max_new_tokens=20)
    monkeypatch.setattr(module, "is_quick", lambda: True)
    assert Generator.of(MODEL, variables()).table is None, "a small vocabulary needs none"
    monkeypatch.setattr(module, "LARGE_VOCABULARY", 500)
    quick = Generator.of(model, made)
    assert quick.table is not None
    monkeypatch.setattr(module, "is_quick", lambda: False)
    plain = Generator.of(model, made)
    assert plain.table is None
    texts = quick.generate(PROMPTS, sampling)
    for mine, theirs in zip(texts, plain.generate(PROMPTS, sampling), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert len(np.unique(np.concatenate(texts))) > 5
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), made)
    monkeypatch.setattr(module, "is_quick", lambda: True)
    assert Generator.of(model, half).table is None, "logits of sixteen bits have ties"
