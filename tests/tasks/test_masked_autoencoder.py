"""The masked autoencoder: what is left out, what the encoder sees, and where its parameters fit."""

from __future__ import annotations

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxai.adapt import FromRun
from jaxai.core import tree
from jaxai.core.errors import InputError
from jaxai.models import MaskedDecoder, ViT
from jaxai.tasks import MaskedAutoencoder
from jaxai.tasks.masked_autoencoder import patches, unpatched

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (6, 8, 12, 2), dtype=np.uint8)
BATCH = {"image": IMAGES, "index": np.arange(6)}
VIT = ViT(patch=4, dim=8, depth=1, num_heads=2)
SMALL = MaskedAutoencoder(encoder=VIT, decoder=MaskedDecoder(dim=8), mask_ratio=0.5)


@functools.cache
def compiled(task, train):
    return jax.jit(lambda variables, batch, key: task.loss(variables, batch, key, train))


@functools.cache
def initialised(task):
    return jax.jit(task.init)(jax.random.key(0), BATCH)


def zeros(task):
    return jax.tree.map(lambda x: jnp.zeros(x.shape), jax.eval_shape(task.init, jax.random.key(0), BATCH))


@functools.cache
def shown(task):
    return jax.jit(task.pictures)


def test_patches_are_numbered_row_by_row():
    x = np.asarray(patches(jnp.asarray(IMAGES), 4))
    assert x.shape == (6, 6, 32)
    np.testing.assert_array_equal(x[:, 4].reshape(6, 4, 4, 2), IMAGES[:, 4:8, 4:8])
    np.testing.assert_array_equal(unpatched(x, 4, IMAGES.shape), IMAGES)


@pytest.mark.parametrize(("ratio", "kept"), [(0.75, 12), (0.6, 20), (0.5, 24)])
def test_the_patches_left_out_are_a_uniform_share(ratio, kept):
    task, num = dataclasses.replace(SMALL, mask_ratio=ratio), 4_000
    keep, masked = jax.jit(lambda index: task._masks(49, index, jax.random.key(0)))(jnp.arange(num))
    assert keep.shape == (num, kept)
    np.testing.assert_array_equal(np.asarray(masked).sum(axis=1), 49 - kept)
    assert all(not np.asarray(masked)[i, np.asarray(keep)[i]].any() for i in range(100))
    share = kept / 49
    np.testing.assert_allclose(
        1 - np.asarray(masked).mean(axis=0), share, atol=4.5 * (share * (1 - share) / num) ** 0.5
    )


@pytest.mark.slow
def test_a_decoder_that_knows_nothing_loses_the_variance_of_normalized_pixels():
    """32 pixels normalized with their sample variance have a mean square of 31 / 32."""
    variables = zeros(SMALL)
    out = compiled(SMALL, True)(variables, BATCH, jax.random.key(0))
    assert float(out.total / out.weight) == pytest.approx(31 / 32, rel=1e-4)


@pytest.mark.slow
def test_the_model_never_sees_what_it_is_to_fill_in():
    variables, key = initialised(SMALL), jax.random.key(0)
    task = dataclasses.replace(SMALL, normalize=False)
    image, seen, filled = np.split(np.asarray(shown(task)(variables, BATCH, key)["filled in"]), 3)
    np.testing.assert_array_equal(image, IMAGES)
    hidden = np.asarray(patches(seen == 128, 4)).all(axis=-1)
    np.testing.assert_array_equal(hidden.sum(axis=1), 3)
    mask = np.asarray(unpatched(np.repeat(hidden[:, :, None], 32, axis=2), 4, IMAGES.shape))
    np.testing.assert_array_equal(filled[~mask], IMAGES[~mask])
    other = {**BATCH, "image": np.where(mask, 255 - IMAGES, IMAGES)}
    np.testing.assert_array_equal(np.split(np.asarray(shown(task)(variables, other, key)["filled in"]), 3)[2], filled)


@pytest.mark.slow
def test_the_loss_is_that_of_the_patches_left_out():
    """The pixels of a decoder of zeros are zero: the loss is the mean square of the hidden ones, whatever is seen."""
    task = dataclasses.replace(SMALL, normalize=False)
    variables = zeros(SMALL)
    _, masked = task._masks(6, jnp.arange(6), jax.random.key(0))
    hidden = np.asarray(masked) > 0
    expected = np.mean([np.asarray(patches(IMAGES / np.float32(255), 4))[i, hidden[i]] ** 2 for i in range(6)])
    out = compiled(task, True)(variables, BATCH, jax.random.key(0))
    assert float(out.total / out.weight) == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_padding_counts_nowhere_and_an_example_is_masked_alike_wherever_it_stands():
    mask = np.array([1, 1, 1, 1, 0, 0], np.float32)
    turned = {name: values[[3, 2, 1, 0, 0, 0]] for name, values in BATCH.items()}
    batches = (BATCH | {"mask": mask}, turned | {"mask": mask})
    one, two = (compiled(SMALL, False)(initialised(SMALL), batch, jax.random.key(1)) for batch in batches)
    assert float(one.weight) == 4
    np.testing.assert_allclose(one.total, two.total, rtol=1e-5)


@pytest.mark.slow
def test_the_encoder_is_a_vision_transformer_to_classify_with():
    """By the renaming that the docstring gives, all parameters but the head's are there, and features agree."""
    start = FromRun(run="", rename=(("^encoder/", ""),))
    variables = initialised(SMALL)
    mine = {start._renamed(path): leaf for path, leaf in tree.flatten(dict(variables)).items()}
    classifier = VIT.clone(pool="mean", num_classes=10)
    wanted = tree.flatten(jax.eval_shape(classifier.init, jax.random.key(0), IMAGES / np.float32(255)))
    assert {path for path in mine if not path.startswith("params/decoder/")} == {
        path for path in wanted if not path.startswith("params/head/")
    }
    chex.assert_trees_all_equal_shapes(*({p: x[p] for p in mine if p in wanted} for x in (mine, wanted)))
    features = classifier.clone(num_classes=0).apply(
        {"params": variables["params"]["encoder"]}, IMAGES / np.float32(255)
    )
    np.testing.assert_allclose(jax.jit(SMALL.embed)(variables, IMAGES), features, atol=1e-5)


def test_mistakes_are_named():
    with pytest.raises(InputError, match=r"task.mask_ratio: must lie between 0 and 1, is 1.0"):
        dataclasses.replace(SMALL, mask_ratio=1.0)
    with pytest.raises(InputError, match=r"task.mask_ratio: 0.95 leaves 0 of 6 patches"):
        jax.eval_shape(dataclasses.replace(SMALL, mask_ratio=0.95).init, jax.random.key(0), BATCH)
