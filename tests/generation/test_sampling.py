"""Filters of logits, by hand."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from jaxai.core.errors import InputError
from jaxai.generation.sampling import Sampling, argmax, candidates, penalize

LOGITS = jnp.log(jnp.array([[0.1, 0.4, 0.05, 0.3, 0.15]]))


def kept(top_k, top_p):
    logits, tokens = candidates(LOGITS, top_k, top_p)
    assert tokens is not None
    return tokens[0][np.isfinite(np.asarray(logits[0]))].tolist()


def test_the_likeliest_are_kept():
    assert kept(3, None) == [1, 3, 4]
    assert kept(99, None) == [1, 3, 4, 0, 2]
    # The token that crosses the threshold is kept.
    assert kept(None, 0.69) == [1, 3]
    assert kept(None, 0.71) == [1, 3, 4]
    assert kept(None, 1e-9) == [1]
    # Of the three likeliest the first two have 0.7 / 0.85 = 0.82.
    assert kept(3, 0.8) == [1, 3]
    assert kept(3, 0.83) == [1, 3, 4]
    assert candidates(LOGITS, None, None) == (LOGITS, None)


def test_what_was_seen_becomes_less_likely_whatever_its_sign():
    logits, seen = jnp.array([[2.0, -2.0, 2.0]]), jnp.array([[True, True, False]])
    assert penalize(logits, seen, 4.0).tolist() == [[0.5, -8.0, 2.0]]


def test_argmax_is_that_of_numpy():
    x = np.random.default_rng(0).integers(0, 9, (7, 50)).astype(np.float32)
    np.testing.assert_array_equal(argmax(jnp.array(x)), x.argmax(axis=1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_new_tokens": 0}, "sampling.max_new_tokens: must be at least 1, is 0"),
        ({"temperature": -1.0}, "sampling.temperature: must be 0 or more"),
        ({"temperature": float("nan")}, "sampling.temperature: must be 0 or more"),
        ({"top_k": 0}, "sampling.top_k: must be at least 1"),
        ({"top_p": 0.0}, "sampling.top_p: must be above 0 and at most 1"),
        ({"top_p": 1.1}, "sampling.top_p: must be above 0 and at most 1"),
        ({"repetition_penalty": 0.0}, "sampling.repetition_penalty: must be above 0"),
        ({"stop": (-1,)}, "sampling.stop: -1 is no token number"),
        ({"stop": 3}, "sampling.stop: must be a tuple"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(InputError, match=message):
        Sampling(**settings)
