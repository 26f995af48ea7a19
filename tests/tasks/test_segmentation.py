"""Segmentation: the loss of each pixel in closed form, and image and target that move alike."""

from __future__ import annotations

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import jaccard_score

from jaxai import metrics
from jaxai.core.errors import InputError
from jaxai.data.augment import ColorJitter, Normalize, RandomCrop, RandomFlip
from jaxai.tasks import Segmentation

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (10, 6, 5, 3)).astype(np.uint8)
KEY = jax.random.key(0)


def batch(num_classes=2):
    """Whose target can be read off the image: how bright the first channel is."""
    target = (IMAGES[..., :1].astype(np.int32) * num_classes // 256).astype(np.uint8)
    return {"image": IMAGES, "stain": target, "index": np.arange(10, dtype=np.int32)}


class Pixelwise(nn.Module):
    """A linear classifier of each pixel."""

    num_logits: int

    @nn.compact
    def __call__(self, inputs: jax.Array, train: bool = False) -> jax.Array:
        return nn.Conv(self.num_logits, (1, 1), name="head")(inputs)


def task(num_logits=1, **fields):
    return Segmentation(model=Pixelwise(num_logits), target="stain", **fields)


def loss(task, variables, batch, train):
    return jax.jit(lambda v, b: task.loss(v, b, KEY, train))(variables, batch)


@pytest.mark.parametrize("num_logits", [1, 2, 3])
def test_loss_and_metrics_are_their_definitions_over_unpadded_images(num_logits):
    data = batch(max(num_logits, 2))
    mask = np.where(np.arange(10) < 7, 1, 0).astype(np.float32)
    made = task(num_logits, augment=(Normalize(),))
    variables = jax.jit(made.init)(KEY, data)
    out = loss(made, variables, {**data, "mask": mask}, False)
    head = jax.tree.map(np.asarray, variables["params"]["head"])
    z = (IMAGES[:7] / 127.5 - 1) @ head["kernel"][0, 0] + head["bias"]
    z = np.concatenate([np.zeros_like(z), z], axis=-1) if num_logits == 1 else z
    truth = data["stain"][:7, ..., 0]
    log_p = z - np.log(np.exp(z).sum(-1, keepdims=True))
    chosen = np.take_along_axis(log_p, truth[..., None].astype(int), axis=-1)[..., 0]
    assert float(out.total) == pytest.approx(-chosen.mean(axis=(1, 2)).sum(), rel=1e-5)
    assert float(out.weight) == 7
    measured = metrics.compute(out.metrics)
    predicted = z.argmax(-1)
    assert measured["pixel_accuracy"] == pytest.approx((predicted == truth).mean())
    average = "binary" if num_logits == 1 else "macro"
    assert measured["iou"] == pytest.approx(jaccard_score(truth.ravel(), predicted.ravel(), average=average))
    probabilities = np.exp(log_p)[..., 1:] if num_logits == 1 else np.exp(log_p)
    np.testing.assert_allclose(jax.jit(made.predict)(variables, IMAGES[:7]), probabilities, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_image_and_target_move_alike_and_colours_change_in_the_image_alone(dtype):
    """The target is read off the image, so after any common movement it still can be."""
    data = batch()
    data["image"] = IMAGES if dtype == np.uint8 else (IMAGES / 255).astype(np.float32)
    spatial = (RandomFlip(), RandomCrop(padding=2))
    moved = jax.jit(lambda b: task(spatial=spatial)._move(b, KEY, True))(data)
    assert moved["image"].dtype == dtype
    level = np.asarray(moved["image"][..., :1]) * (1 if dtype == np.uint8 else 255)
    np.testing.assert_array_equal(moved["stain"], level >= 128)
    assert not np.array_equal(moved["image"], data["image"])
    still = jax.jit(lambda b: task(spatial=spatial)._move(b, KEY, False))(data)
    np.testing.assert_array_equal(still["stain"], data["stain"])
    with pytest.raises(InputError, match=r"task.spatial: made float32 of uint8"):
        task(spatial=(Normalize(mean=(0.5,) * 4, std=(1.0,) * 4),))._move(batch(), KEY, True)


@pytest.mark.slow
def test_learns_what_the_colour_tells():
    data = batch()
    made = task(spatial=(RandomFlip(),), augment=(ColorJitter(brightness=0.01, contrast=0), Normalize()))
    variables = jax.jit(made.init)(KEY, data)

    @jax.jit
    def step(variables):
        gradient = jax.grad(lambda v: made.loss(v, data, KEY, True).total)(variables)
        return jax.tree.map(lambda v, g: v - 3 * g, variables, gradient)

    for _ in range(100):
        variables = step(variables)
    measured = metrics.compute(loss(made, variables, data, False).metrics)
    assert measured["iou"] > 0.95
    assert measured["dice"] == pytest.approx(2 * measured["iou"] / (1 + measured["iou"]))


def test_pictures_show_image_truth_and_prediction():
    data = batch()
    made = task()
    head = {"kernel": jnp.zeros((1, 1, 3, 1)).at[0, 0, 0, 0].set(255.0), "bias": jnp.array([-127.5])}
    variables = {"params": {"head": head}}
    masks = jax.jit(lambda v, b: made.pictures(v, b, KEY))(variables, data)["masks"]
    assert masks.shape == (8, 6, 15, 3)
    assert masks.dtype == np.uint8
    np.testing.assert_array_equal(masks[:, :, :5], IMAGES[:8])
    np.testing.assert_array_equal(masks[:, :, 5:10], np.repeat(255 * data["stain"][:8], 3, axis=-1))
    np.testing.assert_array_equal(masks[:, :, 10:], masks[:, :, 5:10])
    assert made.images(data)["examples"].shape == (10, 6, 5, 3)


def test_what_cannot_be_learned_is_refused():
    data = batch()
    made = task()
    variables = jax.jit(made.init)(KEY, data)
    made.check(variables, data)
    with pytest.raises(InputError, match=r"stain: has a pixel of class 2 .classes go from 0 to 1"):
        made.check(variables, {**data, "stain": np.full((10, 6, 5, 1), 2)})
    assert np.isnan(float(loss(made, variables, {**data, "stain": np.full((10, 6, 5, 1), 2)}, True).total))
    with pytest.raises(InputError, match=r"task.target: 'stain' is \[6, 5\] for images of \[6, 5, 3\]"):
        made.check(variables, {**data, "stain": data["stain"][..., 0]})
    with pytest.raises(InputError, match=r"task.target: the data has no field 'stian' .did you mean 'stain'"):
        dataclasses.replace(made, target="stian").check(variables, data)
