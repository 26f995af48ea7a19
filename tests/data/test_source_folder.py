"""A folder of images as a dataset."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from jaxai.core.errors import InputError
from jaxai.data.folder import ImageFolder
from jaxai.data.source import open_source, read


def picture(path, height, width, value, mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.random.default_rng(value).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(array).convert(mode).save(path)
    return np.asarray(Image.fromarray(array).convert(mode))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "pets"


def test_reads_pixels_exactly_with_classes_sorted_by_name(folder):
    dog = picture(folder / "dog/1.png", 6, 4, 1)
    cat = picture(folder / "cat/deep/2.PNG", 6, 4, 2)
    (folder / "cat/notes.txt").write_text("not an image")
    (folder / ".hidden").mkdir()
    source = open_source(ImageFolder(str(folder)))
    assert source.classes == ("cat", "dog")
    batch = read(source, [0, 1])
    np.testing.assert_array_equal(batch["image"], [cat, dog])
    assert batch["image"].shape == (2, 6, 4, 3)
    assert batch["label"].tolist() == [0, 1]
    assert batch["label"].dtype == np.int32
    assert str(folder) not in repr(source)


@pytest.mark.parametrize("suffix", ["jpg", "bmp", "gif", "webp", "tiff"])
def test_other_formats(folder, suffix):
    picture(folder / f"a/1.{suffix}", 5, 7, 0)
    assert open_source(ImageFolder(str(folder)))[0]["image"].shape == (5, 7, 3)


def test_size_and_channels(folder):
    colour = picture(folder / "a/1.png", 20, 30, 0)
    picture(folder / "b/2.png", 8, 8, 1, "RGBA")
    picture(folder / "b/3.png", 8, 8, 2, "L")
    picture(folder / "b/4.png", 8, 8, 3, "P")
    grey = read(open_source(ImageFolder(str(folder), size=(6, 5), channels=1)), range(4))["image"]
    assert grey.shape == (4, 6, 5, 1)
    expected = Image.fromarray(colour).convert("L").resize((5, 6), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(grey[0, ..., 0], np.asarray(expected))
    assert read(open_source(ImageFolder(str(folder), size=7)), range(4))["image"].shape == (4, 7, 7, 3)
    alpha = read(open_source(ImageFolder(str(folder), size=7, channels=4)), range(4))["image"]
    assert (alpha[0, ..., 3] == 255).all()
    with pytest.raises(InputError, match=r"example 1: image has shape \[8, 8, 3\], the first has \[20, 30, 3\]"):
        read(open_source(ImageFolder(str(folder))), [0, 1])


def test_sixteen_bit_grey_is_scaled_not_clipped(folder):
    (folder / "a").mkdir(parents=True)
    values = np.array([[0, 255, 256], [32768, 40000, 65535]], np.uint16)
    Image.fromarray(values).save(folder / "a/1.png")
    image = open_source(ImageFolder(str(folder), channels=1))[0]["image"]
    assert image[..., 0].tolist() == [[0, 0, 1], [128, 156, 255]]


def test_a_split_is_a_folder(folder):
    picture(folder / "train/a/1.png", 4, 4, 0)
    picture(folder / "test/a/1.png", 4, 4, 1)
    picture(folder / "test/b/1.png", 4, 4, 2)
    assert open_source(ImageFolder(str(folder), split="test")).classes == ("a", "b")
    with pytest.raises(InputError, match=r"has no folder 'tset' .did you mean 'test'"):
        open_source(ImageFolder(str(folder), split="tset"))


def test_parts_are_disjoint_complete_and_stay_when_images_are_added(folder):
    for index in range(200):
        picture(folder / f"{'ab'[index % 2]}/{index}.png", 1, 1, index)

    def names(part):
        return {str(path) for path in open_source(ImageFolder(str(folder), part=part, test_fraction=0.25)).files}

    train, test = names("train"), names("test")
    assert not train & test
    assert train | test == names("all")
    assert 30 <= len(test) <= 70  # 50 expected, 6 the standard deviation
    for index in range(200, 300):
        picture(folder / f"a/{index}.png", 1, 1, index)
    assert train < names("train")
    assert test < names("test")


def test_the_split_is_the_same_everywhere(folder):
    """Pinned: a changed hash would move images from training to test between versions."""
    for name in "abcdefghij":
        picture(folder / f"x/{name}.png", 1, 1, 0)
    source = open_source(ImageFolder(str(folder), part="test", test_fraction=0.5))
    assert "".join(path.stem for path in source.files) == "bcdehi"


@pytest.mark.parametrize(
    ("make", "changes", "message"),
    [
        ([], {}, "train.path: {} is not a folder"),
        ([""], {}, "train.path: {} has no class folders"),
        (["a"], {}, "train.path: {}/a has no images"),
        (["a/1.png"], {"part": "test", "test_fraction": 1e-9}, "train.part: 'test' has none of the 1 images"),
        (["a/1.png"], {"channels": 2}, "train.channels: 2 is not a number of channels"),
        (["a/1.png"], {"test_fraction": 1.5}, "train.test_fraction: 1.5 is not between 0 and 1"),
    ],
)
def test_refuses(folder, make, changes, message):
    for name in make:
        if name.endswith(".png"):
            picture(folder / name, 2, 2, 0)
        else:
            (folder / name).mkdir(parents=True)
    with pytest.raises(InputError) as error:
        open_source(ImageFolder(str(folder), **changes), "train")
    assert str(error.value).startswith(message.format(folder))


@pytest.mark.parametrize("damage", ["text", "cut"])
def test_an_unreadable_image_is_named(folder, damage):
    picture(folder / "a/1.png", 32, 32, 0)
    bad = folder / "a/2.png"
    picture(bad, 32, 32, 1)
    bad.write_bytes(b"hello" if damage == "text" else bad.read_bytes()[:200])
    with pytest.raises(InputError) as error:
        read(open_source(ImageFolder(str(folder))), [0, 1], "train")
    assert str(error.value).startswith(f"train: example 1: cannot be read: path: {bad} cannot be read: ")
