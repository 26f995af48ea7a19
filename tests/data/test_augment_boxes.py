"""Augmentations that draw boxes: what they draw, and what becomes of the pixels, against Pillow and torchvision."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from PIL import Image

from jaxai.data.augment import CutMix, Normalize, RandomErasing, RandomResizedCrop
from jaxai.data.augment.base import draw_box
from jaxai.data.augment.geometry import resize_weights
from tests.data.test_augment import make_batch, run


def draws(limit, scale, ratio, num=4000):
    """Corners, sizes and whether each was found."""
    keys = jax.random.split(jax.random.key(3), num)
    drawn = jax.jit(jax.vmap(lambda key: draw_box(key, limit, scale, ratio)))(keys)
    return [np.asarray(x) for x in drawn]


@pytest.mark.slow
def test_a_box_lies_inside_and_has_its_area_and_ratio():
    limit, scale, ratio = (90, 120), (0.08, 0.5), (3 / 4, 4 / 3)
    corner, size, found = draws(limit, scale, ratio)
    assert found.all()
    assert (corner >= 0).all()
    assert (corner + size <= limit).all()
    area = size.prod(axis=1) / (90 * 120)
    # Sides are rounded to pixels: up to half of one in each.
    assert 0.075 < area.min() < 0.09
    assert 0.49 < area.max() < 0.515
    aspect = np.log(size[:, 1] / size[:, 0])
    assert abs(aspect).max() < np.log(4 / 3) + 0.04
    assert abs(aspect.mean()) < 0.01
    # Uniform: the mean, and a sixth of the range as the mean deviation from it.
    assert area.mean() == pytest.approx(0.29, abs=0.01)
    assert area.std() == pytest.approx(0.42 / np.sqrt(12), abs=0.005)
    free = np.array(limit) - size
    assert (corner / np.maximum(free, 1)).mean(axis=0) == pytest.approx([0.5, 0.5], abs=0.02)
    assert (corner == free).any(axis=0).all()


def test_a_box_that_cannot_fit_is_not_found():
    _, _, found = draws((10, 100), (0.9, 1.0), (1.0, 1.0))
    assert not found.any()


@pytest.mark.parametrize(
    ("start", "size", "to"), [(0, 9, 9), (2, 5, 12), (3, 20, 6), (0, 31, 7), (29, 2, 5), (7, 1, 4)]
)
def test_resizing_is_pillows(start, size, to):
    line = np.random.default_rng(size).integers(0, 256, (1, 31)).astype(np.float32)
    weights = np.asarray(resize_weights(np.int32(start), np.int32(size), 31, to))
    cut = Image.fromarray(line[:, start : start + size], mode="F")
    np.testing.assert_allclose(line @ weights.T, np.asarray(cut.resize((to, 1), Image.Resampling.BILINEAR)), atol=1e-3)


@pytest.mark.slow
def test_a_resized_crop_is_pillows_of_some_box():
    batch = make_batch(size=6, height=8, width=10)
    out = run([RandomResizedCrop(size=5, scale=(0.2, 0.8))], batch)["image"]
    assert out.shape == (6, 5, 5, 3)
    boxes = [
        (x, y, x + w, y + h) for w in range(1, 11) for h in range(1, 9) for x in range(11 - w) for y in range(9 - h)
    ]
    for image, cropped in zip(batch["image"], out, strict=True):
        picture = Image.fromarray(image)
        errors = [
            np.abs(np.asarray(picture.crop(box).resize((5, 5), Image.Resampling.BILINEAR)) / 255 - cropped).max()
            for box in boxes
        ]
        assert min(errors) < 1.01 / 255  # Pillow rounds twice to 8 bits


def test_resized_crop_in_evaluation_is_the_whole_image():
    batch = make_batch(size=3, height=12, width=20)
    out = run([RandomResizedCrop(size=8)], batch, train=False)["image"]
    for image, resized in zip(batch["image"], out, strict=True):
        expected = np.asarray(Image.fromarray(image).resize((8, 8), Image.Resampling.BILINEAR)) / 255
        np.testing.assert_allclose(resized, expected, atol=1.01 / 255)
    same = run([RandomResizedCrop(size=9)], make_batch(size=3, height=9, width=9), train=False)["image"]
    np.testing.assert_allclose(same, make_batch(size=3, height=9, width=9)["image"] / 255, atol=1e-6)


@pytest.mark.slow
def test_where_no_box_fits_the_crop_is_the_widest_in_the_middle():
    batch = make_batch(size=2, height=6, width=40)
    out = run([RandomResizedCrop(size=4, scale=(1.0, 1.0))], batch)["image"]
    middle = np.stack([batch["image"][:, :, 16:24]])[0] / 255  # 6 x 8 pixels
    weights = [np.asarray(resize_weights(np.int32(0), np.int32(n), n, 4)) for n in (6, 8)]
    expected = np.einsum("oh,pw,bhwc->bopc", *weights, middle)
    np.testing.assert_allclose(out, expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("fill", ["zeros", "noise"])
def test_erasing_covers_one_box_of_the_share_of_images(fill):
    batch = make_batch(size=400, height=20, width=16)
    batch["image"] = np.maximum(batch["image"], 1)
    before = run([Normalize(mean=(0.0,), std=(1.0,))], batch)["image"]
    out = run([Normalize(mean=(0.0,), std=(1.0,)), RandomErasing(probability=0.4, fill=fill)], batch)["image"]
    changed = (out != before).any(axis=-1)
    touched = changed.any(axis=(1, 2))
    assert abs(touched.mean() - 0.4) < 5 * np.sqrt(0.4 * 0.6 / 400)
    area = changed.sum(axis=(1, 2))
    np.testing.assert_array_equal(area, changed.any(axis=1).sum(axis=1) * changed.any(axis=2).sum(axis=1))
    shares = area[touched] / 320
    assert 0.005 < shares.min() < 0.06
    assert 0.28 < shares.max() < 0.36
    covered = out[changed]
    if fill == "zeros":
        assert not covered.any()
    else:
        assert abs(covered.mean()) < 5 / np.sqrt(covered.size)
        assert abs(covered.std() - 1) < 5 / np.sqrt(covered.size)


@pytest.mark.slow
def test_cutmix_puts_one_box_of_the_partner_in_and_mixes_the_target_by_its_share():
    batch = make_batch(size=2000, height=8, width=12)
    # Own and partner's pixels must differ everywhere.
    batch["image"] = np.broadcast_to(np.arange(2000, dtype=np.float32)[:, None, None, None] / 2000, (2000, 8, 12, 3))
    out = run([CutMix(probability=0.8)], batch)
    x, y = batch["image"], batch["target"]
    theirs = (out["image"] == x[::-1]).all(axis=-1)
    np.testing.assert_array_equal(out["image"], np.where(theirs[..., None], x[::-1], x))
    area = theirs.sum(axis=(1, 2))
    np.testing.assert_array_equal(area, theirs.any(axis=1).sum(axis=1) * theirs.any(axis=2).sum(axis=1))
    share = (area / 96)[:, None]
    np.testing.assert_allclose(out["target"], (1 - share) * y + share * y[::-1], atol=1e-6)
    np.testing.assert_array_equal(out["label"], batch["label"])
    # The whole box covers half on average; what lies outside is lost, so less.
    assert 0.15 < share.mean() < 0.4
    assert (area == 0).mean() > 0.2
    assert share.max() > 0.5


@pytest.mark.oracle
@pytest.mark.parametrize(("height", "width"), [(60, 80), (20, 100)])
def test_boxes_are_drawn_as_torchvision_draws_them(height, width):
    import torch

    from tests.oracle import torchvision

    torch.manual_seed(0)
    image = torch.zeros(3, height, width)
    theirs = torchvision.transforms.RandomResizedCrop
    params = np.array([theirs.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(4000)])
    crop = RandomResizedCrop(size=8)
    keys = jax.random.split(jax.random.key(5), 4000)
    corner, size = jax.jit(jax.vmap(lambda key: crop._box(key, (height, width))))(keys)
    mine = np.concatenate([corner, size], axis=1)
    spread = params.std(axis=0) / np.sqrt(4000)
    assert (np.abs(mine.mean(axis=0) - params.mean(axis=0)) < 5 * np.sqrt(2) * spread).all()
    np.testing.assert_allclose(mine.std(axis=0), params.std(axis=0), rtol=0.06)
