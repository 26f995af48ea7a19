"""Pictures decoded and cropped on the host: what comes out, that it is a function of the position, and damage."""

from __future__ import annotations

import io
import itertools
import logging

import numpy as np
import pytest
from PIL import Image

from jaxai import Pipeline
from jaxai.core.errors import InputError
from jaxai.data.crops import CenterCropped, RandomCropped, decode
from jaxai.data.folder import ImageFolder
from jaxai.data.pipeline import _Drawn
from jaxai.data.source import open_source
from jaxai.data.subset import Subset
from jaxai.data.tfds import Tfds
from jaxai.experiment.json import decode as from_json
from jaxai.experiment.json import encode as to_json


def photograph(seed, width, height):
    """Smooth colours, such as survive compression."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def encoded(picture, suffix="png", **options):
    file = io.BytesIO()
    picture.save(file, {"jpg": "jpeg"}.get(suffix, suffix), **options)
    return file.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("photographs")
    for i in range(20):
        (path / "ab"[i % 2]).mkdir(exist_ok=True)
        photograph(i, 40 + i, 60 - i).save(path / "ab"[i % 2] / f"{i:02}.jpg", quality=90)
    return path


@pytest.fixture
def damaged(folder, tmp_path):
    """A copy of the folder with two pictures cut off, the fourth and the fifth."""
    for path in folder.rglob("*.jpg"):
        content = path.read_bytes()
        copy = tmp_path / "damaged" / path.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(content[: len(content) // 2] if path.stem in ("06", "08") else content)
    return tmp_path / "damaged"


def random(folder, **fields):
    return RandomCropped(ImageFolder(str(folder), decode=False), **{"size": 16, **fields})


def middle(folder, **fields):
    return CenterCropped(ImageFolder(str(folder), decode=False), **{"size": 16, "resize": 20, **fields})


def test_the_middle_is_that_of_the_resized_picture():
    picture = photograph(0, 64, 64)
    crop = CenterCropped(None, size=24, resize=32)
    expected = np.asarray(picture.resize((32, 32), Image.Resampling.BILINEAR))[4:28, 4:28]
    np.testing.assert_array_equal(decode(encoded(picture), crop.middle, 24, 3), expected)
    assert crop.middle(100, 64) == (26, 8, 74, 56)
    assert CenterCropped(None, size=8, resize=8).middle(30, 20) == (5, 0, 25, 20)
    assert RandomCropped(None, size=8).middle(30, 20) == (5, 0, 25, 20)


def test_a_crop_is_its_box_resized():
    picture = photograph(1, 50, 40)
    crop = RandomCropped(None, size=12)
    for seed in range(5):
        box = crop.box(50, 40, np.random.default_rng(seed))
        out = decode(encoded(picture), lambda w, h, seed=seed: crop.box(w, h, np.random.default_rng(seed)), 12, 3)
        np.testing.assert_array_equal(out, picture.resize((12, 12), Image.Resampling.BILINEAR, box))
        assert all(isinstance(side, int) for side in box)


def test_boxes_lie_inside_with_their_area_and_ratio():
    crop, generator = RandomCropped(None, scale=(0.08, 0.5)), np.random.default_rng(0)
    boxes = np.array([crop.box(120, 90, generator) for _ in range(4000)])
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= (120, 90)).all()
    sizes = boxes[:, 2:] - boxes[:, :2]
    area = sizes.prod(axis=1) / (120 * 90)
    assert 0.075 < area.min() < 0.09
    assert 0.49 < area.max() < 0.515
    assert area.mean() == pytest.approx(0.29, abs=0.01)
    aspect = np.log(sizes[:, 0] / sizes[:, 1])
    assert abs(aspect).max() < np.log(4 / 3) + 0.04
    assert abs(aspect.mean()) < 0.015
    assert (boxes[:, :2].min(axis=0) == 0).all()
    assert (boxes[:, 2:].max(axis=0) == (120, 90)).all()


def test_where_no_box_fits_it_is_the_widest_in_the_middle():
    crop = RandomCropped(None, scale=(1.0, 1.0))
    assert crop.box(40, 6, np.random.default_rng(0)) == (16, 0, 24, 6)
    assert crop.box(6, 40, np.random.default_rng(0)) == (0, 16, 6, 24)


@pytest.mark.oracle
def test_boxes_are_drawn_as_torchvision_draws_them():
    import torch

    from tests.oracle import torchvision

    torch.manual_seed(0)
    image = torch.zeros(3, 60, 80)
    theirs = torchvision.transforms.RandomResizedCrop
    params = np.array([theirs.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(4000)])
    crop, generator = RandomCropped(None), np.random.default_rng(0)
    boxes = np.array([crop.box(80, 60, generator) for _ in range(4000)])
    mine = np.stack([boxes[:, 1], boxes[:, 0], boxes[:, 3] - boxes[:, 1], boxes[:, 2] - boxes[:, 0]], axis=1)
    spread = params.std(axis=0) / np.sqrt(4000)
    assert (np.abs(mine.mean(axis=0) - params.mean(axis=0)) < 5 * np.sqrt(2) * spread).all()
    np.testing.assert_allclose(mine.std(axis=0), params.std(axis=0), rtol=0.06)


def test_a_large_jpeg_is_decoded_at_a_fraction_that_leaves_pixels_enough():
    content = encoded(photograph(2, 512, 384), "jpg", quality=95)
    whole = np.asarray(Image.open(io.BytesIO(content)))
    for box, size, shrunk in (((0, 0, 512, 384), 48, 8), ((100, 50, 300, 250), 32, 4), ((0, 0, 64, 64), 48, 1)):
        out = decode(content, lambda *_, box=box: box, size, 3)
        small = Image.open(io.BytesIO(content))
        small.draft(None, (512 // shrunk, 384 // shrunk))
        assert small.size == (512 // shrunk, 384 // shrunk)
        scaled = tuple(side / shrunk for side in box)
        np.testing.assert_array_equal(out, small.resize((size, size), Image.Resampling.BILINEAR, scaled))
        exact = Image.fromarray(whole).resize((size, size), Image.Resampling.BILINEAR, box)
        assert np.abs(out - np.asarray(exact, np.float32)).mean() < 2


@pytest.mark.parametrize(
    ("mode", "suffix"), [("CMYK", "jpg"), ("L", "jpg"), ("RGBA", "png"), ("LA", "png"), ("P", "gif"), ("1", "png")]
)
def test_pictures_of_every_mode_become_three_channels(mode, suffix):
    picture = photograph(3, 40, 40).convert(mode)
    out = decode(encoded(picture, suffix), CenterCropped(None, size=20, resize=20).middle, 20, 3)
    assert out.shape == (20, 20, 3)
    assert out.dtype == np.uint8
    expected = np.asarray(picture.convert("RGB").resize((20, 20), Image.Resampling.BILINEAR), np.float32)
    assert np.abs(out - expected).mean() < (4 if suffix == "jpg" else 0.01)


def test_channels():
    content = encoded(photograph(3, 40, 40))
    for channels in (1, 4):
        assert decode(content, CenterCropped(None, size=9).middle, 9, channels).shape == (9, 9, channels)


def test_crops_are_a_function_of_seed_epoch_and_example(folder):
    def batches(count, batch_size=8, position=0, seed=0, **fields):
        reader = Pipeline(source=random(folder), batch_size=batch_size, **fields).open("train", seed=seed)
        return list(itertools.islice(reader.batches(position), count))

    first = batches(10)
    by_place = {}
    for number, batch in enumerate(first):
        assert batch["image"].shape == (8, 16, 16, 3)
        for row, index in enumerate(batch["index"]):
            by_place[(8 * number + row) // 20, int(index)] = batch["image"][row], batch["label"][row]
    assert len(by_place) == 80
    for position in (3, 21):
        for number, batch in enumerate(batches(3, batch_size=5, position=position)):
            for row, index in enumerate(batch["index"]):
                image, label = by_place[(position + 5 * number + row) // 20, int(index)]
                np.testing.assert_array_equal(batch["image"][row], image)
                assert batch["label"][row] == label
    assert not np.array_equal(by_place[0, 5][0], by_place[1, 5][0])
    unshuffled, other = (batches(1, shuffle=False, seed=seed)[0]["image"] for seed in (0, 1))
    np.testing.assert_array_equal(unshuffled[5], by_place[0, 5][0])
    assert (unshuffled != other).any(axis=(1, 2, 3)).all()


@pytest.mark.slow
def test_worker_processes_give_the_same_batches(folder):
    def batches(workers, position):
        reader = Pipeline(source=random(folder), batch_size=8, workers=workers).open("train")
        return list(itertools.islice(reader.batches(position), 6))

    for position in (0, 24):
        for mine, theirs in zip(batches(0, position), batches(2, position), strict=True):
            for name in mine:
                np.testing.assert_array_equal(mine[name], theirs[name])


def test_processes_share_a_batch(folder):
    whole = Pipeline(source=random(folder), batch_size=8).open("train").at(16)
    parts = [Pipeline(source=random(folder), batch_size=8).open("t", process=i, num_processes=2).at(16) for i in (0, 1)]
    for name in whole:
        np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), whole[name])


def test_a_draw_has_numbers_of_its_own():
    """Not those that shuffle the epoch, and the same on every machine."""

    class Numbers:
        def draw(self, index, random):
            return random.random()

    drawn = [_Drawn(Numbers(), seed=3, epoch=epoch)[index] for epoch in (0, 1) for index in (0, 1)]
    assert drawn == pytest.approx(
        [0.46518192761052835, 0.34460207697382506, 0.6872230379130739, 0.7393176091588988], rel=1e-12
    )
    shuffling = np.random.Philox(np.random.SeedSequence([3, 0]))
    assert np.random.Generator(shuffling).random() not in drawn


def test_evaluations_never_draw(folder):
    def images(declared):
        reader = Pipeline(source=declared, batch_size=8).open("test")
        return np.concatenate([batch["image"] for batch in reader.evaluation()])

    np.testing.assert_array_equal(images(random(folder)), images(random(folder, scale=(0.1, 0.2))))
    np.testing.assert_array_equal(images(random(folder)), images(middle(folder, resize=16)))
    assert not np.array_equal(images(random(folder)), images(middle(folder)))


def test_declarations_are_values_and_keep_the_classes(folder):
    for declared in (random(folder), middle(folder)):
        assert from_json(to_json(declared)) == declared
        assert open_source(declared).classes == ("a", "b")
        assert len(open_source(declared)) == 20
    rows = RandomCropped(Subset(ImageFolder(str(folder), decode=False), (3, 1)), size=16)
    assert Pipeline(source=rows, batch_size=2).open("train").at(0)["image"].shape == (2, 16, 16, 3)


@pytest.mark.parametrize("pictures", [random, middle])
@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_damaged_picture_stops_and_is_named(damaged, pictures, workers):
    reader = Pipeline(source=pictures(damaged), batch_size=20, workers=workers).open("train")
    with pytest.raises(InputError) as error:
        next(reader.batches())
    assert str(error.value).startswith(
        f"train: example 3: cannot be read: image: {damaged}/a/06.jpg cannot be decoded: "
    )
    assert "truncated" in str(error.value).lower()
    assert str(error.value).endswith('(repair or delete it, or on_damaged="skip")')


def test_in_training_the_next_picture_stands_in(damaged, folder, caplog):
    # Crops that never fit are the middle, so that what stands in can be told.
    fields = {"scale": (1.0, 1.0), "ratio": (0.5, 0.5)}
    skipping, whole = random(damaged, on_damaged="skip", **fields), random(folder, **fields)
    reader = Pipeline(source=skipping, batch_size=20, shuffle=False).open("train")
    with caplog.at_level(logging.WARNING, "jaxai"):
        batch, again = reader.at(0), reader.at(20)
    good = Pipeline(source=whole, batch_size=20, shuffle=False).open("train").at(0)
    stand_in = [0, 1, 2, 5, 5, *range(5, 20)]
    for name in ("image", "label"):
        np.testing.assert_array_equal(batch[name], good[name][stand_in])
        np.testing.assert_array_equal(again[name], batch[name])
    np.testing.assert_array_equal(batch["index"], np.arange(20))
    source = reader.source
    assert source.damaged == {3, 4}
    assert len(caplog.records) == 1
    assert caplog.records[0].getMessage().startswith(f"skipped: {damaged}/a/06.jpg cannot be decoded: ")
    assert caplog.records[0].getMessage().endswith("damaged pictures met by this process so far: 1")


@pytest.mark.parametrize("cache", [False, True])
def test_in_evaluation_a_damaged_picture_does_not_count(damaged, cache):
    reader = Pipeline(source=middle(damaged, on_damaged="skip"), batch_size=8, cache=cache).open("test")
    for _ in range(2):
        mask = np.concatenate([batch["mask"] for batch in reader.evaluation()])
        assert mask.dtype == np.float32
        assert np.flatnonzero(mask[:20] == 0).tolist() == [3, 4]
        assert not mask[20:].any()


def test_rows_of_damaged_pictures(damaged):
    rows = Subset(middle(damaged, on_damaged="skip"), (9, 4, 0, 3))
    assert next(Pipeline(source=rows, batch_size=4).open("test").evaluation())["mask"].tolist() == [1, 0, 1, 0]


def test_warnings_get_rarer(tmp_path, caplog):
    (tmp_path / "a").mkdir()
    for i in range(25):
        (tmp_path / f"a/{i:02}.jpg").write_bytes(b"no picture")
    source = open_source(middle(tmp_path, on_damaged="skip"))
    with caplog.at_level(logging.WARNING, "jaxai"):
        assert not source[0]["image"].any()
        for index in range(25):
            _ = source[index]
    assert [record.getMessage().rsplit(": ", 1)[1] for record in caplog.records] == ["1", "10"]
    assert "00.jpg cannot be decoded: not an image" in caplog.text
    drawing = open_source(random(tmp_path, on_damaged="skip"))
    with pytest.raises(InputError, match="image: none of the 25 pictures can be decoded"):
        drawing.draw(3, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CenterCropped("x", size=32, resize=16), r"resize: 16 is below the size 32 \(at least the size\)"),
        (lambda: CenterCropped("x", size=0), r"size: 0 pixels"),
        (lambda: RandomCropped("x", channels=2), r"channels: 2 is not a number of channels \(1 \(grey\), 3"),
        (lambda: RandomCropped("x", scale=(0.0, 1.0)), r"scale: \(0.0, 1.0\) is no range above 0 and up to 1"),
        (lambda: RandomCropped("x", scale=(0.5, 2.0)), r"scale: \(0.5, 2.0\) is no range above 0 and up to 1"),
        (lambda: RandomCropped("x", ratio=(2.0, 1.0)), r"ratio: \(2.0, 1.0\) is no range above 0$"),
        (lambda: RandomCropped("x", on_damaged="ignore"), r"on_damaged: 'ignore' is unknown"),
        (lambda: Tfds("digits", decode=False).open(), r"decode: digits holds no encoded images"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_what_cannot_be_read_is_refused(folder):
    for declared, message in (
        (RandomCropped(ImageFolder(str(folder), size=8)), r"train: example 0: .*'image' as ndarray, not an encoded"),
        (ImageFolder(str(folder), decode=False), r"train: example 0: image holds bytes, not numbers"),
    ):
        with pytest.raises(InputError, match=message):
            Pipeline(source=declared).open("train")
    with pytest.raises(InputError, match=r"train.cache: would keep one crop of each example"):
        Pipeline(source=random(folder), cache=True).open("train")
