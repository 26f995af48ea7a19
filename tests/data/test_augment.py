from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxai.core.errors import InputError
from jaxai.core.rng import example_keys, stream
from jaxai.data import augment
from jaxai.data.augment import (
    ColorJitter,
    CutMix,
    Cutout,
    GaussianBlur,
    Grayscale,
    Grey,
    Mixup,
    Normalize,
    RandAugment,
    RandomCrop,
    RandomErasing,
    RandomFlip,
    RandomResizedCrop,
    Solarize,
)
from jaxai.experiment.json import decode, encode

KEY = jax.random.key(7)
ALL = [
    RandomCrop(padding=2),
    RandomCrop(padding=2, mode="reflect"),
    RandomFlip(),
    Normalize(mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.1)),
    Cutout(size=4),
    ColorJitter(),
    ColorJitter(hue=0.3, probability=0.8),
    Mixup(),
    RandomResizedCrop(size=6),
    Grey(),
    Grayscale(probability=0.5),
    GaussianBlur(size=5),
    Solarize(probability=0.5),
    RandAugment(),
    CutMix(probability=0.7),
    RandomErasing(probability=0.7),
]
#: What does something in evaluation too.
ALWAYS = (Normalize, RandomResizedCrop, Grey)
KEEPS_BYTES = (RandomCrop, RandomFlip, Cutout, Grey, Grayscale, Solarize, RandAugment, CutMix, RandomErasing)
APPLY = jax.jit(augment.apply, static_argnums=(0, 3))


def make_batch(size=64, height=9, width=7, dtype=np.uint8):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (size, height, width, 3)).astype(np.uint8)
    image = image if dtype == np.uint8 else (image / 255).astype(dtype)
    target = np.eye(10, dtype=np.float32)[rng.integers(0, 10, size)]
    return {"image": image, "target": target, "index": np.arange(1000, 1000 + size), "label": target.argmax(-1)}


def run(augmentations, batch, train=True, key=KEY):
    result = APPLY(tuple(augmentations), batch, key, train)
    return {name: np.asarray(value) for name, value in result.items()}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("mode", ["constant", "reflect"])
def test_crop_is_one_of_the_windows_and_each_is_met(mode, dtype):
    batch = make_batch(size=512, height=5, width=6, dtype=dtype)
    out = run([RandomCrop(padding=1, mode=mode)], batch)["image"]
    assert out.dtype == dtype
    padded = np.pad(batch["image"], ((0, 0), (1, 1), (1, 1), (0, 0)), mode=mode)
    windows = np.stack([padded[:, i : i + 5, j : j + 6] for i in range(3) for j in range(3)])
    equal = (windows == out).all(axis=(2, 3, 4))
    assert (equal.sum(axis=0) == 1).all()
    # 512 draws over 9 windows: 57 expected, standard deviation 7.
    counts = equal.sum(axis=1)
    assert counts.min() > 57 - 5 * 7
    assert counts.max() < 57 + 5 * 7


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_flip_is_identity_or_mirror_at_its_frequency(probability):
    batch = make_batch(size=1000)
    out = run([RandomFlip(probability=probability)], batch)["image"]
    assert out.dtype == np.uint8
    same = (out == batch["image"]).all(axis=(1, 2, 3))
    mirrored = (out == batch["image"][:, :, ::-1]).all(axis=(1, 2, 3))
    assert (same ^ mirrored).all()
    # Five standard deviations of a binomial.
    assert abs(mirrored.mean() - probability) <= 5 * np.sqrt(probability * (1 - probability) / 1000)


@pytest.mark.parametrize("train", [True, False])
def test_normalize_is_its_formula(train):
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.1)
    batch = make_batch()
    expected = (batch["image"].astype(np.float64) / 255 - np.array(mean)) / np.array(std)
    for dtype in (np.uint8, np.float32):
        out = run([Normalize(mean=mean, std=std)], make_batch(dtype=dtype), train)["image"]
        assert out.dtype == np.float32
        np.testing.assert_allclose(out, expected, atol=1e-5)
    one = run([Normalize()], batch)["image"]
    np.testing.assert_allclose(one, batch["image"] / 127.5 - 1, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("size", [3, 4])
def test_cutout_is_one_square_about_a_pixel(size):
    batch = make_batch(size=256, height=12, width=10)
    batch["image"] = np.maximum(batch["image"], 1)
    out = run([Cutout(size=size)], batch)["image"]
    assert out.dtype == np.uint8
    hole = (out == 0).all(axis=-1)
    np.testing.assert_array_equal(out, batch["image"] * ~hole[..., None])
    for axis in (1, 2):
        lines = hole.any(axis=axis)
        counts = lines.sum(axis=1)
        first = lines.argmax(axis=1)
        last = lines.shape[1] - 1 - lines[:, ::-1].argmax(axis=1)
        np.testing.assert_array_equal(counts, last - first + 1)
        at_edge = (first == 0) | (last == lines.shape[1] - 1)
        assert (counts[~at_edge] == size).all()
        assert counts.max() == size
        assert counts.min() >= size // 2
        assert at_edge.any()
    np.testing.assert_array_equal(hole.sum(axis=(1, 2)), hole.any(1).sum(1) * hole.any(2).sum(1))


def test_jitter_of_nothing_changes_only_the_scale():
    batch = make_batch()
    out = run([ColorJitter(brightness=0, contrast=0, saturation=0)], batch)["image"]
    np.testing.assert_allclose(out, batch["image"] / 255, atol=1e-6)


def grey_of(x):
    return (x * [0.299, 0.587, 0.114]).sum(-1, keepdims=True)


OTHERS = {
    "brightness": np.zeros_like,
    "contrast": lambda x: np.broadcast_to(grey_of(x).mean((1, 2), keepdims=True), x.shape),
    "saturation": lambda x: np.broadcast_to(grey_of(x), x.shape),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", OTHERS)
def test_jitter_blends_each_image_by_one_factor_within_its_range(kind):
    batch = make_batch(size=200)
    batch["image"] = batch["image"] // 4 + 64  # keeps clear of the clipping
    strengths = dict.fromkeys(OTHERS, 0.0) | {kind: 0.3}
    out = run([ColorJitter(**strengths)], batch)["image"].astype(np.float64)
    x = batch["image"] / 255
    other = OTHERS[kind](x)
    factor = ((out - other) * (x - other)).sum((1, 2, 3)) / ((x - other) ** 2).sum((1, 2, 3))
    blended = factor[:, None, None, None] * (x - other) + other
    np.testing.assert_allclose(out, blended, atol=1e-5)
    assert 0.7 - 1e-5 <= factor.min() < 0.75
    assert 1.25 < factor.max() <= 1.3 + 1e-5


def test_jitter_stays_in_range_and_takes_grey_images():
    batch = make_batch()
    jitter = [ColorJitter(brightness=2, contrast=2, saturation=2)]
    out = run(jitter, batch)["image"]
    assert out.min() == 0
    assert out.max() == 1
    grey = batch | {"image": batch["image"][..., :1]}
    only_saturation = [ColorJitter(brightness=0, contrast=0)]
    np.testing.assert_allclose(run(only_saturation, grey)["image"], grey["image"] / 255, atol=1e-6)


@pytest.mark.slow
def test_mixup_is_one_convex_blend_of_image_and_target_with_betas_moments():
    batch = make_batch(size=4000, height=3, width=3)
    out = run([Mixup(alpha=0.2)], batch)
    x, y = batch["image"] / 255, batch["target"]
    difference = x - x[::-1]
    share = ((out["image"] - x[::-1]) * difference).sum((1, 2, 3)) / (difference**2).sum((1, 2, 3))
    np.testing.assert_allclose(out["image"], share[:, None, None, None] * difference + x[::-1], atol=1e-5)
    np.testing.assert_allclose(out["target"], share[:, None] * (y - y[::-1]) + y[::-1], atol=1e-5)
    np.testing.assert_allclose(out["target"].sum(-1), 1, atol=1e-6)
    np.testing.assert_array_equal(out["label"], batch["label"])
    assert share.min() > -1e-5
    assert share.max() < 1 + 1e-5
    assert abs(share.mean() - 0.5) < 0.03
    assert abs(share.var() - 1 / (4 * (2 * 0.2 + 1))) < 0.01


@pytest.mark.parametrize("i", range(len(ALL)))
def test_evaluation_leaves_all_alone_but_what_is_not_random(i):
    batch = make_batch(size=4)
    out = run([ALL[i]], batch, train=False)
    changed = {name for name in batch if not np.array_equal(out[name], batch[name])}
    assert changed == ({"image"} if isinstance(ALL[i], ALWAYS) else set())


@pytest.mark.parametrize("i", range(len(ALL)))
def test_what_only_moves_values_keeps_bytes_and_the_rest_gives_floats(i):
    for dtype in (np.uint8, np.float32):
        out = jax.eval_shape(lambda batch: augment.apply([ALL[i]], batch, KEY, True), make_batch(dtype=dtype))["image"]
        assert out.dtype == (np.uint8 if dtype == np.uint8 and isinstance(ALL[i], KEEPS_BYTES) else np.float32)


@pytest.mark.parametrize("i", range(len(ALL)))
def test_json_of_a_run_names_the_package(i):
    written = encode(ALL[i])
    assert written["$class"] == f"jaxai.data.augment:{type(ALL[i]).__name__}"
    assert decode(written) == ALL[i]


@pytest.mark.slow
def test_halves_of_a_batch_have_the_bits_of_the_whole():
    augmentations = [a for a in ALL[:8] if not isinstance(a, Mixup)]
    batch = make_batch()
    whole = run(augmentations, batch)
    parts = (slice(32), slice(32, 64))
    halves = [run(augmentations, {name: value[part] for name, value in batch.items()}) for part in parts]
    for name in batch:
        np.testing.assert_array_equal(whole[name], np.concatenate([half[name] for half in halves]))


@pytest.mark.slow
def test_an_example_is_augmented_alike_in_any_company():
    augmentations = [a for a in ALL[8:] if not isinstance(a, CutMix)]
    # Sized last: the others are to see the whole images.
    augmentations.sort(key=lambda a: isinstance(a, RandomResizedCrop))
    batch = make_batch(size=32)
    order = np.random.default_rng(1).permutation(32)
    out = run(augmentations, batch)["image"]
    np.testing.assert_array_equal(run(augmentations, {k: v[order] for k, v in batch.items()})["image"], out[order])


@pytest.mark.slow
def test_keys_come_from_the_place_in_the_list_and_the_index():
    batch = make_batch(size=64)
    crop = RandomCrop(padding=2)
    out = run([RandomFlip(probability=1), crop], batch)["image"]
    keys = example_keys(stream(KEY, "augment/1"), jnp.array(batch["index"]))
    by_hand = jax.jit(crop, static_argnums=2)(batch | {"image": batch["image"][:, :, ::-1]}, keys, True)["image"]
    np.testing.assert_array_equal(out, by_hand)
    for other in (
        run([RandomFlip(probability=1), crop], batch, key=jax.random.key(8)),
        run([RandomFlip(probability=1), crop], batch | {"index": batch["index"] + 1}),
    ):
        assert not np.array_equal(out, other["image"])


@pytest.mark.parametrize("i", range(len(ALL)))
def test_what_is_not_a_batch_of_images_is_refused_by_name(i):
    name = type(ALL[i]).__name__
    batch = make_batch(size=4)
    for train in (True, False):
        with pytest.raises(InputError, match=rf"{name}: 'image' has shape \(4, 9, 7\).*height, width"):
            run([ALL[i]], batch | {"image": batch["image"][..., 0]}, train)
    with pytest.raises(InputError, match=rf"{name}: the batch has no 'image', only \['index'\]"):
        run([ALL[i]], {"index": batch["index"]})
    with pytest.raises(InputError, match=rf"{name}: 'image' is int32"):
        run([ALL[i]], batch | {"image": batch["image"].astype(np.int32)})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomCrop(padding=-1), r"RandomCrop.padding: -1 pixels \(0 or more\)"),
        (lambda: RandomFlip(probability=1.5), r"RandomFlip.probability: 1.5 \(0 to 1\)"),
        (lambda: Normalize(std=(0.0,)), r"Normalize.std: \(0.0,\) \(more than 0\)"),
        (lambda: Mixup(alpha=0), r"Mixup.alpha: 0 \(more than 0\)"),
        (lambda: CutMix(alpha=0), r"CutMix.alpha: 0 \(more than 0\)"),
        (lambda: CutMix(probability=-1), r"CutMix.probability: -1 \(0 to 1\)"),
        (lambda: ColorJitter(hue=0.6), r"ColorJitter.hue: 0.6 \(0 to 0.5\)"),
        (lambda: Grayscale(probability=2), r"Grayscale.probability: 2 \(0 to 1\)"),
        (lambda: GaussianBlur(size=4), r"GaussianBlur.size: 4 pixels \(an odd number\)"),
        (lambda: GaussianBlur(sigma=(0.0, 1.0)), r"GaussianBlur.sigma: \(0.0, 1.0\) \(\(from, to\), above 0\)"),
        (lambda: run([GaussianBlur(size=15)], make_batch()), r"GaussianBlur.size: 15 pixels .*a smaller one"),
        (lambda: RandomResizedCrop(size=0), r"RandomResizedCrop.size: 0 pixels \(1 or more\)"),
        (lambda: RandomResizedCrop(size=8, scale=(0.5, 1.5)), r"Crop.scale: \(0.5, 1.5\) .*above 0 and at most 1"),
        (lambda: RandomErasing(ratio=(3.0, 0.3)), r"RandomErasing.ratio: \(3.0, 0.3\) \(\(from, to\), above 0\)"),
        (lambda: run([RandomErasing(fill="noise")], make_batch()), r"'noise' in uint8 images \(put it after Norm"),
        (lambda: RandAugment(magnitude=31), r"RandAugment.magnitude: 31 \(0 to 30\)"),
        (lambda: RandAugment(num_ops=0), r"RandAugment.num_ops: 0 \(1 or more\)"),
        (lambda: run([Grey()], {**make_batch(), "image": np.zeros((64, 9, 7, 4), np.uint8)}), "needs 1 or 3 channels"),
        (lambda: run([CutMix()], {k: v for k, v in make_batch().items() if k != "target"}), "CutMix: .* no 'target'"),
        (lambda: run([Normalize(mean=(0.5, 0.5))], make_batch()), r"Normalize.mean: 2 values .* \(needs 1 or 3\)"),
        (lambda: run([Mixup()], make_batch() | {"target": np.zeros(64, np.int32)}), r"'target' int32 \(64,\)"),
        (lambda: run([RandomFlip()], {"image": make_batch()["image"]}), r"augment.0: the batch has no 'index'"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
