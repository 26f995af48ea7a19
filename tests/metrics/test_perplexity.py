"""Perplexity and bits a byte are those of all tokens together, however they come in batches."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
import pytest

from jaxai.metrics import Mean, merge
from jaxai.metrics.perplexity import Perplexity, bits_per_byte

RNG = np.random.default_rng(0)
LOSSES = RNG.uniform(0, 4, (7, 5)).astype(np.float32)
BYTES = RNG.integers(1, 6, (7, 5)).astype(np.int32)
COUNTED = RNG.random((7, 5)) < 0.6


def test_are_those_of_all_tokens_of_uneven_batches():
    parts = [slice(0, 1), slice(1, 7)]
    perplexity = merge(*(Perplexity.of(jnp.array(LOSSES[p]), jnp.array(COUNTED[p])) for p in parts))
    assert perplexity.compute() == pytest.approx(np.exp(LOSSES[COUNTED].mean()), rel=1e-6)
    means = [np.exp(LOSSES[p][COUNTED[p]].mean()) for p in parts]
    assert abs(np.mean(means) - perplexity.compute()) > 0.01
    bits = merge(*(bits_per_byte(jnp.array(LOSSES[p]), jnp.array(BYTES[p]), jnp.array(COUNTED[p])) for p in parts))
    assert bits.compute() == pytest.approx(LOSSES[COUNTED].sum() / np.log(2) / BYTES[COUNTED].sum(), rel=1e-6)
    assert bits.weight.dtype == jnp.int32


def test_a_uniform_guess_of_256_bytes_has_perplexity_256_and_8_bits():
    losses = jnp.full((2, 3), math.log(256))
    assert Perplexity.of(losses, jnp.ones((2, 3))).compute() == pytest.approx(256, rel=1e-5)
    assert bits_per_byte(losses, jnp.ones((2, 3), jnp.int32), jnp.ones((2, 3))).compute() == pytest.approx(8, rel=1e-6)
    # Of tokens of four bytes each, a byte costs a fourth.
    assert bits_per_byte(losses, jnp.full((2, 3), 4), jnp.ones((2, 3))).compute() == pytest.approx(2, rel=1e-6)


def test_padding_need_not_be_finite_and_what_counts_is_not_hidden():
    losses, weights = jnp.array([[1.0, math.nan]]), jnp.array([[1.0, 0.0]])
    assert Perplexity.of(losses, weights).compute() == pytest.approx(math.e)
    assert bits_per_byte(losses, jnp.array([[2, 9]]), weights).compute() == pytest.approx(0.5 / math.log(2))
    assert math.isnan(Perplexity.of(losses, jnp.ones((1, 2))).compute())
    assert math.isnan(Perplexity.of(losses, jnp.zeros((1, 2))).compute())
    assert Perplexity(jnp.float32(1e6), jnp.float32(1)).compute() == math.inf


def test_the_loss_is_weighted_and_bits_count_once():
    losses, weights = jnp.array([[1.0, 3.0]]), jnp.array([[3.0, 1.0]])
    assert Perplexity.of(losses, weights).compute() == pytest.approx(math.exp(1.5))
    assert isinstance(bits := bits_per_byte(losses, jnp.array([[1, 1]]), weights), Mean)
    assert bits.compute() == pytest.approx(2 / math.log(2))
