"""The loss of a large vocabulary, some tokens at a time, is that of all logits at once, and these are never there."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxai import forms, metrics
from jaxai.forms import cross_entropy as module
from jaxai.forms.cross_entropy import linear_cross_entropy
from jaxai.models import GPT2, Llama
from jaxai.tasks import LanguageModel
from jaxai.tasks.generative import weighted_sum
from jaxai.tasks.text import cross_entropy

RNG = np.random.default_rng(0)
BATCH, LENGTH, DIM, VOCAB = 2, 7, 8, 50


def random(*shape):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


def plain(x, table, targets, weights):
    logits = x @ table.T
    losses = cross_entropy(logits, targets)
    return weighted_sum(losses, weights), losses, jnp.argmax(logits, axis=-1) == targets


@pytest.mark.parametrize("at_once", [1, 2 * 3 * VOCAB, 10**6])
@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_values_and_gradients(monkeypatch, at_once, backend):
    """Token by token, three at a time with one part that is not full, all at once; on GPU with a padded vocabulary."""
    monkeypatch.setattr(module, "_AT_ONCE", {"cpu": at_once, "gpu": at_once})
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    x, table = random(BATCH, LENGTH, DIM), random(VOCAB, DIM)
    targets = jnp.asarray(RNG.integers(0, VOCAB, (BATCH, LENGTH)))
    weights = jnp.asarray(RNG.random((BATCH, LENGTH)) * (RNG.random((BATCH, LENGTH)) < 0.7), jnp.float32)

    def both(fn):
        def loss(x, table, weights):
            total, *others = fn(x, table, targets, weights)
            return 3 * total, others

        return jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)(x, table, weights)

    mine, theirs = both(linear_cross_entropy), both(plain)
    np.testing.assert_array_equal(mine[0][1][1], theirs[0][1][1])
    # What weighs nothing has no gradient of its weight there.
    of_weights = [jnp.where(weights > 0, each[1][2], 0) for each in (mine, theirs)]
    compared = [(a[0][0], a[0][1][0], a[1][0], a[1][1], w) for a, w in zip((mine, theirs), of_weights, strict=True)]
    for a, b in zip(*compared, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)


def test_what_is_no_token_is_not_a_number():
    targets = jnp.array([[1, VOCAB, -1]])
    total, losses, _ = linear_cross_entropy(
        random(1, 3, DIM), random(VOCAB, DIM), targets, jnp.array([[1.0, 1.0, 0.0]])
    )
    np.testing.assert_array_equal(jnp.isnan(losses), [[False, True, True]])
    assert jnp.isnan(total)


MODELS = {
    "tied": GPT2(vocab_size=4096, dim=8, depth=1, num_heads=2, max_length=16),
    "untied": Llama(vocab_size=4096, dim=8, depth=1, num_heads=2, hidden=16, max_length=16),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_language_model_never_has_all_its_logits(name, monkeypatch):
    monkeypatch.setattr(module, "_AT_ONCE", {"cpu": 64 * 4 * 4096})
    task = LanguageModel(model=MODELS[name])
    batch = {"tokens": jnp.asarray(RNG.integers(0, 4096, (64, 17))), "index": jnp.arange(64)}
    variables = jax.jit(task.init)(jax.random.key(0), batch)

    def step(params):
        def loss(params):
            out = task.loss({"params": params}, batch, jax.random.key(1), True)
            return out.total, out._replace(outputs=None)

        return jax.value_and_grad(loss, has_aux=True)(params)

    found = {}
    for choice in ("fast", "plain"):
        with forms.use(choice):
            compiled = jax.jit(lambda params: step(params)).lower(variables["params"]).compile()
        found[choice] = compiled(variables["params"])
        has_all = re.search(r"f32\[(64,16|1024),4096\]|f32\[4096,(64,16|1024)\]", compiled.as_text())
        assert (has_all is None) == (choice == "fast")
    (mine, out), of_mine = found["fast"]
    (theirs, their_out), of_theirs = found["plain"]
    assert float(mine) == pytest.approx(float(theirs), rel=1e-6)
    assert metrics.compute(out.metrics) == pytest.approx(metrics.compute(their_out.metrics), rel=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4 * float(jnp.abs(b).max())), of_mine, of_theirs)
