"""The encoder of speech: its size, and that padding changes nothing."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxai.core.errors import InputError
from jaxai.models.speech import SpeechEncoder

MODEL = SpeechEncoder(vocab_size=5, dim=8, depth=1, num_heads=2)
SPECTRA = np.random.default_rng(0).normal(size=(2, 21, 6)).astype(np.float32)


@functools.cache
def variables():
    return jax.jit(MODEL.init)(jax.random.key(0), SPECTRA)


@functools.cache
def compiled():
    return jax.jit(lambda v, x, n: MODEL.apply(v, x, num_frames=n))


def test_parameter_count_by_hand():
    dim, block = 144, 2 * 2 * 144 + (3 * 144 * 144 + 3 * 144) + (144 * 144 + 144) + 2 * 4 * 144 * 144 + 5 * 144
    convolutions = 5 * 80 * dim + dim + 5 * dim * dim + dim
    shapes = jax.eval_shape(SpeechEncoder().init, jax.random.key(0), jnp.zeros((1, 9, 80)))
    total = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
    assert total == convolutions + 4 * block + 2 * dim + dim * 262 + 262 == 1_202_662


@pytest.mark.slow
def test_padding_and_what_lies_in_it_changes_nothing():
    num_frames = np.array([21, 14])
    logits = compiled()(variables(), SPECTRA, num_frames)
    assert logits.shape == (2, 6, 5)
    np.testing.assert_array_equal(MODEL.num_steps(num_frames), [6, 4])
    longer = np.full((2, 30, 6), 7.0, np.float32)
    longer[0, :21], longer[1, :14] = SPECTRA[0], SPECTRA[1, :14]
    padded = compiled()(variables(), longer, num_frames)
    np.testing.assert_allclose(padded[0, :6], logits[0], atol=1e-5)
    np.testing.assert_allclose(padded[1, :4], logits[1, :4], atol=1e-5)
    alone = jax.jit(MODEL.apply)(variables(), SPECTRA[1:, :14])
    np.testing.assert_allclose(alone[0], logits[1, :4], atol=1e-5)


def test_what_is_no_spectrum_is_refused():
    with pytest.raises(InputError, match=r"SpeechEncoder inputs: shape \(2, 9\) .*\[batch, frame, mel\]"):
        SpeechEncoder().init(jax.random.key(0), jnp.zeros((2, 9)))
