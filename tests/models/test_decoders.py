"""Decoders, generators and discriminators: sizes, order of pixels, and what depends on what."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxai.models import ConvDecoder, DenseDecoder, Discriminator, Generator, MaskedDecoder
from jaxai.models.autoencoders import depth_to_space

RNG = np.random.default_rng(0)
CODES = RNG.normal(size=(4, 5)).astype(np.float32)
LABELS = np.array([0, 1, 2, 0])
SMALL = {
    "dense": (DenseDecoder(shape=(6, 5, 2), features=(8,)), CODES, {}),
    "conv": (ConvDecoder(shape=(6, 5, 2), features=(4, 4), norm=True), CODES, {}),
    "generator": (Generator(shape=(6, 5, 2), features=(4,), num_classes=3), CODES, {"label": LABELS}),
}
CRITIC = Discriminator(features=(4, 4), dense=8, num_classes=3)


def count(model, inputs, **further):
    shapes = jax.eval_shape(functools.partial(model.init, **further), jax.random.key(0), inputs)
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes["params"]))


def test_parameter_counts_by_hand():
    code = jnp.zeros((1, 20))
    assert count(DenseDecoder(shape=(28, 28, 1)), code) == 20 * 500 + 500 + 500 * 784 + 784 == 403_284
    dense, blocks, head = 20 * 49 * 64 + 49 * 64, (9 * 64 * 128 + 128) + (9 * 32 * 64 + 64), 9 * 16 + 1
    assert count(ConvDecoder(shape=(28, 28, 1)), code) == dense + blocks + head
    convolutions, hidden = (16 * 32 + 32) + (16 * 32 * 64 + 64), 2 * 2 * 64 * 128 + 128
    critic = Discriminator(num_classes=10)
    assert count(critic, jnp.zeros((1, 8, 8, 1)), label=np.array([0])) == convolutions + hidden + 129 + 10 * 128


def test_four_channels_become_a_square_of_pixels():
    x = np.arange(8.0).reshape(1, 1, 2, 4)
    np.testing.assert_array_equal(depth_to_space(jnp.array(x))[0, :, :, 0], [[0, 1, 4, 5], [2, 3, 6, 7]])


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_images_have_their_shape_and_type_and_are_made_alone(name):
    model, codes, further = SMALL[name]
    variables = jax.jit(model.init)(jax.random.key(0), codes, **further)
    apply = jax.jit(model.apply)
    images = apply(variables, codes, **further)
    assert images.shape == (4, 6, 5, 2)
    turned = {key: value[::-1] for key, value in further.items()}
    np.testing.assert_allclose(images[::-1], apply(variables, codes[::-1], **turned), atol=1e-5)
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), variables)
    assert jax.eval_shape(model.apply, half, codes.astype(jnp.bfloat16), **further).dtype == jnp.bfloat16
    if name == "generator":
        assert float(jnp.abs(images).max()) <= 1
        assert not np.allclose(images, apply(variables, codes, label=(LABELS + 1) % 3))


@pytest.mark.slow
def test_the_critic_scores_each_image_alone_and_hears_the_class():
    images = RNG.normal(size=(4, 8, 8, 1)).astype(np.float32)
    variables = jax.jit(CRITIC.init)(jax.random.key(0), images, label=LABELS)
    apply = jax.jit(CRITIC.apply)
    scores = apply(variables, images, label=LABELS)
    assert scores.shape == (4,)
    np.testing.assert_allclose(
        scores[:2], apply(variables, images[[0, 1, 0, 1]], label=LABELS[[0, 1, 0, 1]])[:2], atol=1e-5
    )
    assert not np.isclose(scores, apply(variables, images, label=(LABELS + 1) % 3)).any()


@pytest.mark.slow
def test_the_masked_decoder_puts_each_token_in_its_place():
    """Without blocks, a place depends on its own token alone, and on none where the patch was left out."""
    model, tokens = MaskedDecoder(num_outputs=2, dim=4, depth=0), RNG.normal(size=(1, 2, 3)).astype(np.float32)
    further = {"keep": np.array([[3, 1]]), "num_patches": 5}
    variables = jax.jit(functools.partial(model.init, num_patches=5))(jax.random.key(0), tokens, keep=further["keep"])
    slopes = jax.jit(jax.jacobian(lambda tokens: model.apply(variables, tokens, **further)[0]))(tokens)[:, :, 0]
    np.testing.assert_array_equal(
        np.abs(slopes).max(axis=(1, 3)) > 0,
        [[False, False], [False, True], [False, False], [True, False], [False, False]],
    )
