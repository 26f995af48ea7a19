"""Attention by explicit products is JAX's own, forward and backward, whatever may be looked at."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxai import forms
from jaxai.forms import attention as module
from jaxai.forms.attention import attention

RNG = np.random.default_rng(0)
BATCH, LENGTH, NUM, HEADS, FEATURE = 2, 5, 7, 4, 8


def random(*shape):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


MASKS = {
    "all": None,
    "padding": np.arange(NUM)[None, None, None] < np.array([7, 4])[:, None, None, None],
    "of each head": RNG.random((1, HEADS, LENGTH, NUM)) < 0.6,
    "of each": RNG.random((BATCH, HEADS, LENGTH, NUM)) < 0.6,
    "nothing to see": np.arange(LENGTH)[None, None, :, None] * np.ones((BATCH, 1, 1, NUM), int) != 2,
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_values_and_gradients(mask, causal, kv_heads):
    arrays = (
        random(BATCH, LENGTH, HEADS, FEATURE),
        random(BATCH, NUM, kv_heads, FEATURE),
        random(BATCH, NUM, kv_heads, FEATURE),
    )
    cotangent = random(BATCH, LENGTH, HEADS, FEATURE)
    allowed = MASKS[mask]

    def run(*arrays):
        y, pull = jax.vjp(lambda q, k, v: attention(q, k, v, allowed, causal), *arrays)
        return y, *pull(cotangent)

    fast, plain = (forms.using(choice, jax.jit(lambda *arrays: run(*arrays)))(*arrays) for choice in ("fast", "plain"))
    for mine, theirs in zip(fast, plain, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=2e-6)


def test_the_backward_pass_keeps_one_array_of_weights():
    arrays = [random(BATCH, 64, HEADS, FEATURE)] * 3
    of_weights = BATCH * HEADS * 64 * 64

    def kept(choice):
        with forms.use(choice):
            pull = jax.eval_shape(
                lambda *arrays: jax.vjp(lambda q, k, v: attention(q, k, v, None, True), *arrays)[1], *arrays
            )
        return sum(leaf.size == of_weights and leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(pull))

    assert kept("fast") == 1 < kept("plain")


@pytest.mark.parametrize("causal", [False, True])
def test_half_precision_is_as_near_to_float32_as_jaxs_own(causal):
    if jax.__version_info__ < (0, 8):
        pytest.skip("JAX 0.7 multiplies no bfloat16 on CPUs")
    arrays = [random(BATCH, LENGTH, HEADS, FEATURE) for _ in range(3)]

    def run(choice, arrays):
        def passes(*arrays):
            y, pull = jax.vjp(lambda *arrays: attention(*arrays, None, causal), *arrays)
            return y, *pull(jnp.ones_like(y))

        return forms.using(choice, jax.jit(passes))(*arrays)

    exact = run("plain", arrays)
    half = [array.astype(jnp.bfloat16) for array in arrays]
    for true, mine, theirs in zip(exact, run("fast", half), run("plain", half), strict=True):
        assert mine.dtype == jnp.bfloat16
        errors = [jnp.sqrt(jnp.mean(jnp.square(each.astype(jnp.float32) - true))) for each in (mine, theirs)]
        assert errors[0] <= 1.25 * errors[1]


def test_a_gpu_without_cudnns_attention_takes_xlas(monkeypatch, caplog):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    module._has_cudnn.cache_clear()
    arrays = [random(BATCH, LENGTH, HEADS, FEATURE)] * 3
    with caplog.at_level("INFO", "jaxai"), forms.use("fast"):
        found = attention(*arrays)
    module._has_cudnn.cache_clear()
    assert "attention is XLA's, not cuDNN's" in caplog.text
    np.testing.assert_allclose(found, jax.nn.dot_product_attention(*arrays), atol=1e-6)
