"""RandAugment: its operations are Pillow's, its strengths torchvision's, and each example draws its own."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from jaxai.core.rng import example_keys, stream
from jaxai.data.augment import RandAugment
from jaxai.data.augment.rand_augment import OPERATIONS, _operate, operate
from tests.data.test_augment import KEY, make_batch, run

OPERATE = jax.jit(operate)


def smooth_images(num=6, height=24, width=20):
    """Pictures with flat parts and edges, of uneven brightness."""
    random = np.random.default_rng(1)
    coarse = random.integers(20, 220, (num, 6, 5, 3)).astype(np.uint8)
    return np.repeat(np.repeat(coarse, height // 6, axis=1), width // 5, axis=2) + random.integers(
        0, 30, (num, height, width, 3), dtype=np.uint8
    )


def affine(picture, matrix):
    return picture.transform(picture.size, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST)


PILLOW = {
    "identity": lambda p, s: p,
    "shear_x": lambda p, s: affine(p, (1, 0.3 * s, 0, 0, 1, 0)),
    "shear_y": lambda p, s: affine(p, (1, 0, 0, 0.3 * s, 1, 0)),
    "translate_x": lambda p, s: affine(p, (1, 0, int(150 / 331 * p.width * s), 0, 1, 0)),
    "translate_y": lambda p, s: affine(p, (1, 0, 0, 0, 1, int(150 / 331 * p.height * s))),
    "rotate": lambda p, s: p.rotate(30 * s, Image.Resampling.NEAREST),
    "brightness": lambda p, s: ImageEnhance.Brightness(p).enhance(1 + 0.9 * s),
    "color": lambda p, s: ImageEnhance.Color(p).enhance(1 + 0.9 * s),
    "contrast": lambda p, s: ImageEnhance.Contrast(p).enhance(1 + 0.9 * s),
    "sharpness": lambda p, s: ImageEnhance.Sharpness(p).enhance(1 + 0.9 * s),
    "posterize": lambda p, s: ImageOps.posterize(p, 8 - round(4 * abs(s))),
    "solarize": lambda p, s: ImageOps.solarize(p, 255 * (1 - abs(s))),
    "autocontrast": lambda p, s: ImageOps.autocontrast(p),
    "equalize": lambda p, s: ImageOps.equalize(p),
}
#: Where Pillow computes in single or double precision and truncates, a level more or less.
ROUNDED = ("brightness", "color", "contrast", "sharpness", "autocontrast")


@pytest.mark.parametrize("strength", [0.3, -0.7, 1.0])
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_is_pillows(name, strength):
    images = smooth_images()
    kinds = np.full(len(images), OPERATIONS.index(name), np.int32)
    out = np.asarray(OPERATE(images, kinds, np.full(len(images), strength, np.float32)))
    assert out.dtype == np.uint8
    expected = np.stack([np.asarray(PILLOW[name](Image.fromarray(image), strength)) for image in images])
    if name in ROUNDED:
        assert np.abs(out.astype(int) - expected).max() <= 1
        assert (out != expected).mean() < 0.05
    elif name in ("rotate", "shear_x", "shear_y"):
        # A source pixel on the border between two may be rounded to either.
        assert (out != expected).any(axis=-1).mean() < 0.01
    else:
        np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("name", ["autocontrast", "equalize"])
def test_one_value_stays(name):
    images = np.full((2, 5, 5, 3), 77, np.uint8)
    images[1, ..., 1] = 0
    kinds = np.full(2, OPERATIONS.index(name), np.int32)
    np.testing.assert_array_equal(OPERATE(images, kinds, np.ones(2, np.float32)), images)


@pytest.mark.slow
def test_the_form_for_accelerators_gives_the_same():
    images = np.repeat(smooth_images(2), 14, axis=0)
    kinds = np.tile(np.arange(14, dtype=np.int32), 2)
    strengths = np.linspace(-1, 1, 28, dtype=np.float32)
    together = jax.jit(jax.vmap(_operate))(images, kinds, strengths)
    np.testing.assert_array_equal(OPERATE(images, kinds, strengths), together)


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "same"), [((28, 8, 8, 1), "color"), ((28, 2, 2, 3), "sharpness")])
def test_grey_images_and_tiny_ones(shape, same):
    images = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    kinds = np.tile(np.arange(14, dtype=np.int32), 2)
    out = np.asarray(OPERATE(images, kinds, np.repeat(np.float32([-1, 1]), 14)))
    i = OPERATIONS.index(same)
    np.testing.assert_array_equal(out[i::14], images[i::14])


def drawn_by_hand(batch, magnitude=9):
    """The operations [batch, 2] of each example, and what comes of them."""
    keys = example_keys(stream(KEY, "augment/0"), batch["index"])
    drawn = np.asarray(jax.vmap(lambda key: jax.random.randint(key, (2,), 0, 28))(keys))
    images = batch["image"]
    for i in range(2):
        signs = np.where(drawn[:, i] < 14, 1, -1)
        images = OPERATE(images, drawn[:, i] % 14, (magnitude / 30 * signs).astype(np.float32))
    return drawn % 14, np.asarray(images)


@pytest.mark.slow
def test_each_example_draws_its_own_operations_evenly():
    batch = make_batch(size=2000, height=3, width=3)
    operations, expected = drawn_by_hand(batch)
    for column in operations.T:
        # 143 expected, standard deviation 11.5.
        assert abs(np.bincount(column, minlength=14) - 2000 / 14).max() < 5 * 11.5
    np.testing.assert_array_equal(run([RandAugment()], batch)["image"], expected)


@pytest.mark.slow
def test_floats_are_8_bit_values():
    batch = {"image": smooth_images(), "index": np.arange(6)}
    out = run([RandAugment()], batch | {"image": batch["image"].astype(np.float32) / 255})["image"]
    np.testing.assert_allclose(out, drawn_by_hand(batch)[1] / 255, atol=1e-6)


@pytest.mark.oracle
@pytest.mark.parametrize("magnitude", [0, 9, 20, 30])
def test_the_strengths_are_torchvisions(magnitude):
    from tests.oracle import torchvision

    height, width = 224, 320
    space = torchvision.transforms.RandAugment()._augmentation_space(31, (height, width))
    assert {name.lower().replace("translate", "translate_").replace("shear", "shear_") for name in space} == set(
        OPERATIONS
    )
    share = magnitude / 30
    mine = {
        "ShearX": 0.3 * share,
        "TranslateX": 150 / 331 * width * share,
        "TranslateY": 150 / 331 * height * share,
        "Rotate": 30 * share,
        "Contrast": 0.9 * share,
        "Posterize": 8 - round(4 * share),
        "Solarize": 255 * (1 - share),
    }
    for name, value in mine.items():
        levels, _ = space[name]
        theirs = float(levels[magnitude])
        assert theirs * (255 if name == "Solarize" and levels[0] <= 1 else 1) == pytest.approx(
            value, rel=1e-5, abs=1e-5
        )
