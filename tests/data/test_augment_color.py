"""Augmentations of values: closed forms, the standard library's HSV, and torchvision."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
from PIL import Image

from jaxai.data.augment import ColorJitter, GaussianBlur, Grayscale, Grey, Solarize
from jaxai.data.augment.color import turn_hue
from tests.data.test_augment import grey_of, make_batch, run


def test_the_hue_turns_as_in_the_standard_library():
    batch = make_batch(size=3, height=6, width=5, dtype=np.float32)["image"]
    batch[0, 0, 0] = 0.4  # grey
    batch[0, 0, 1] = 0
    batch[0, 0, 2] = [1, 1, 0]
    turn = np.array([0.1, -0.37, 0.5], np.float32)
    out = np.asarray(turn_hue(batch, turn))
    for image, by, turned in zip(batch, turn, out, strict=True):
        for pixel, new in zip(image.reshape(-1, 3), turned.reshape(-1, 3), strict=True):
            hue, saturation, value = colorsys.rgb_to_hsv(*map(float, pixel))
            expected = colorsys.hsv_to_rgb((hue + float(by)) % 1, saturation, value)
            np.testing.assert_allclose(new, expected, atol=2e-6)


def test_jitter_of_hue_keeps_value_and_chroma_and_differs_by_example():
    batch = make_batch(size=50, dtype=np.float32)
    out = run([ColorJitter(brightness=0, contrast=0, saturation=0, hue=0.3)], batch)["image"]
    np.testing.assert_allclose(out.max(-1), batch["image"].max(-1), atol=1e-6)
    np.testing.assert_allclose(out.min(-1), batch["image"].min(-1), atol=1e-6)
    assert (np.abs(out - batch["image"]).max(axis=(1, 2, 3)) > 1e-3).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [lambda p: Grayscale(probability=p), lambda p: Solarize(probability=p), lambda p: ColorJitter(probability=p)],
)
def test_a_share_of_the_images_is_changed(make):
    batch = make_batch(size=1000, height=3, width=3, dtype=np.float32)
    for probability in (0.3, 1.0):
        out = run([make(probability)], batch)["image"]
        changed = (out != batch["image"]).any(axis=(1, 2, 3)).mean()
        # Five standard deviations of a binomial.
        assert abs(changed - probability) <= 5 * np.sqrt(probability * (1 - probability) / 1000)


@pytest.mark.parametrize("train", [True, False])
def test_grey_is_the_luma_in_three_channels(train):
    for dtype, scale, tolerance in ((np.uint8, 1, 0.501), (np.float32, 255, 1e-4)):
        batch = make_batch(size=4, dtype=dtype)
        out = run([Grey()], batch, train)["image"]
        assert out.dtype == dtype
        expected = np.broadcast_to(grey_of(batch["image"].astype(np.float64)), out.shape)
        np.testing.assert_allclose(out * scale, expected * scale, atol=tolerance)
    pillow = np.asarray(Image.fromarray(make_batch(size=1)["image"][0]).convert("L"))
    np.testing.assert_allclose(run([Grey()], make_batch(size=1))["image"][0, ..., 0].astype(int), pillow, atol=1)


def test_solarize_inverts_from_the_threshold_on():
    values = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    batch = {"image": values, "index": np.arange(1)}
    out = run([Solarize(probability=1)], batch)["image"]
    np.testing.assert_array_equal(out, np.where(values < 128, values, 255 - values))
    floats = run([Solarize(probability=1, threshold=0.25)], batch | {"image": values.astype(np.float32) / 255})["image"]
    np.testing.assert_allclose(floats, np.where(values < 63.75, values, 255.0 - values) / 255, atol=1e-6)


def blurred(image, sigma, size):
    """By the definition, in float64."""
    offsets = np.arange(size) - size // 2
    taps = np.exp(-0.5 * (offsets / sigma) ** 2)
    taps /= taps.sum()
    padded = np.pad(image, ((size // 2,) * 2, (size // 2,) * 2, (0, 0)), mode="reflect")
    height, width = image.shape[:2]
    return sum(a * b * padded[i : i + height, j : j + width] for i, a in enumerate(taps) for j, b in enumerate(taps))


def test_blur_is_the_gaussian_filter():
    batch = make_batch(size=4)
    out = run([GaussianBlur(size=5, sigma=(1.3, 1.3), probability=1)], batch)["image"]
    for image, new in zip(batch["image"] / 255, out, strict=True):
        np.testing.assert_allclose(new, blurred(image, 1.3, 5), atol=1e-5)


def test_blur_draws_its_width_for_a_share_of_the_images():
    batch = make_batch(size=500, height=13, width=13, dtype=np.float32)
    batch["image"] = np.zeros_like(batch["image"])
    batch["image"][:, 6, 6] = 1
    out = run([GaussianBlur(size=7, sigma=(0.5, 2.0), probability=0.6)], batch)["image"]
    np.testing.assert_allclose(out.sum(axis=(1, 2)), 1, atol=1e-5)
    centre, beside = out[:, 6, 6, 0], out[:, 6, 7, 0]
    untouched = centre == 1
    assert abs(untouched.mean() - 0.4) < 5 * np.sqrt(0.24 / 500)
    sigma = np.sqrt(-0.5 / np.log((beside / centre)[~untouched]))
    assert 0.5 - 1e-3 < sigma.min() < 0.52
    assert 1.98 < sigma.max() < 2 + 1e-3
    assert sigma.mean() == pytest.approx(1.25, abs=0.13)


@pytest.mark.oracle
def test_blur_and_hue_are_torchvisions():
    import torch

    from tests.oracle import torchvision

    functional = torchvision.transforms.functional
    batch = make_batch(size=3, height=20, width=17, dtype=np.float32)
    theirs = torch.from_numpy(batch["image"]).permute(0, 3, 1, 2)
    out = run([GaussianBlur(size=7, sigma=(1.7, 1.7), probability=1)], batch)["image"]
    expected = functional.gaussian_blur(theirs, [7, 7], [1.7, 1.7]).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(out, expected, atol=1e-5)
    for turn in (0.1, -0.4):
        expected = functional.adjust_hue(theirs, turn).permute(0, 2, 3, 1).numpy()
        np.testing.assert_allclose(turn_hue(batch["image"], np.full(3, turn, np.float32)), expected, atol=1e-5)
