"""The denoising autoencoder: what its noise is, and what its losses are."""

from __future__ import annotations

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxai.core.errors import InputError
from jaxai.models import MLP, DenseDecoder
from jaxai.tasks import DenoisingAutoencoder

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(1, 256, (6, 4, 4, 2), dtype=np.uint8)
BATCH = {"image": IMAGES, "index": np.arange(6)}
SMALL = DenoisingAutoencoder(
    encoder=MLP(features=(), num_classes=5), decoder=DenseDecoder(shape=(4, 4, 2), features=())
)


@functools.cache
def compiled(task, train):
    return jax.jit(lambda variables, batch, key: task.loss(variables, batch, key, train))


@functools.cache
def initialised(task):
    return jax.jit(task.init)(jax.random.key(0), BATCH)


def spoilt(task, num=2000):
    """What the noise makes of one grey image, under many keys."""
    image = np.full((num, 4, 4, 2), 128, np.uint8)
    return task._spoil(image / np.float32(255), jnp.arange(num), jax.random.key(0))


def test_masking_sets_its_share_of_pixels_to_zero_in_all_channels():
    made = np.asarray(spoilt(dataclasses.replace(SMALL, strength=0.3)))
    gone = made == 0
    np.testing.assert_array_equal(gone[..., 0], gone[..., 1])
    np.testing.assert_allclose(made[~gone], 128 / 255, rtol=1e-6)
    # 32,000 pixels: four standard errors.
    assert gone.mean() == pytest.approx(0.3, abs=4 * math.sqrt(0.21 / 32_000))


def test_gaussian_noise_has_its_deviation():
    added = np.asarray(spoilt(dataclasses.replace(SMALL, noise="gaussian", strength=0.3))) - 128 / 255
    assert added.mean() == pytest.approx(0, abs=4 * 0.3 / math.sqrt(64_000))
    assert added.std() == pytest.approx(0.3, rel=4 / math.sqrt(2 * 64_000))


@pytest.mark.slow
def test_losses_of_a_decoder_that_knows_nothing():
    """Logits of zero are grey: a cross-entropy of log 2, and a squared error around 0.5."""
    variables = jax.tree.map(jnp.zeros_like, initialised(SMALL))
    out = compiled(SMALL, True)(variables, BATCH, jax.random.key(0))
    assert float(out.total / out.weight) == pytest.approx(math.log(2), rel=1e-6)
    grey = np.mean((IMAGES / 255 - 0.5) ** 2)
    assert out.metrics["squared_error"].compute() == pytest.approx(grey, rel=1e-5)
    squared = dataclasses.replace(SMALL, error="squared")
    out = compiled(squared, True)(variables, BATCH, jax.random.key(0))
    assert float(out.total / out.weight) == pytest.approx(np.mean((IMAGES / 255) ** 2), rel=1e-5)


@pytest.mark.slow
def test_without_noise_it_is_an_autoencoder():
    plain = dataclasses.replace(SMALL, strength=0.0)
    out = compiled(plain, False)(initialised(plain), BATCH, jax.random.key(0))
    assert out.metrics["squared_error_before"].compute() == 0
    error = np.mean((jax.jit(plain.predict)(initialised(plain), IMAGES) - IMAGES / np.float32(255)) ** 2)
    assert out.metrics["squared_error"].compute() == pytest.approx(float(error), rel=1e-5)


def test_padding_counts_nowhere_and_an_example_is_spoilt_alike_wherever_it_stands():
    variables, mask = initialised(SMALL), np.array([1, 1, 1, 1, 0, 0], np.float32)
    turned = {"image": IMAGES[[3, 2, 1, 0, 0, 0]], "index": np.array([3, 2, 1, 0, 0, 0]), "mask": mask}
    one, two = (
        compiled(SMALL, False)(variables, batch, jax.random.key(1)) for batch in (BATCH | {"mask": mask}, turned)
    )
    assert float(one.weight) == 4
    np.testing.assert_allclose(one.total, two.total, rtol=1e-5)
    for name in one.metrics:
        np.testing.assert_allclose(one.metrics[name].compute(), two.metrics[name].compute(), rtol=1e-5)


def test_codes_and_pictures():
    variables = initialised(SMALL)
    assert jax.jit(SMALL.embed)(variables, IMAGES).shape == (6, 5)
    pictures = jax.jit(SMALL.pictures)(variables, BATCH, jax.random.key(0))
    assert {name: (x.shape, str(x.dtype)) for name, x in pictures.items()} == {"denoised": ((18, 4, 4, 2), "uint8")}
    images, noisy, _ = np.split(np.asarray(pictures["denoised"]), 3)
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(noisy[noisy > 0], images[noisy > 0])


@pytest.mark.parametrize("change", [{"strength": 1.0}, {"strength": -0.1}, {"noise": "gaussian", "strength": -1.0}])
def test_impossible_noise_is_named(change):
    with pytest.raises(InputError, match=r"task.strength: is"):
        dataclasses.replace(SMALL, **change)
