"""The datasets made of pictures of scikit-image: small files in the true format, splits, the stain, the real ones."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from jaxai import Pipeline
from jaxai.core.errors import InputError
from jaxai.data.builders import ihc_patches, lfw_faces, photo_patches
from jaxai.data.crops import RandomCropped
from jaxai.data.packages import Packaged, digest, read
from jaxai.data.prepare import prepare
from jaxai.data.source import open_source
from jaxai.data.source import read as read_batch
from jaxai.data.tfds import Tfds


def package(tmp_path, module, files, monkeypatch):
    """A wheel with these files, which the builder takes for the published one."""
    path = tmp_path / "scikit_image-0.26.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**files, "other.png": b""}.items():
            archive.writestr(f"skimage/data/{name}", content)
    assert read(module.PACKAGED, path) == files
    made = Packaged(**{**vars(module.PACKAGED), "sha256": digest(files)})
    monkeypatch.setattr(module, "PACKAGED", made)
    return path


def picture(seed, width, height, mode="RGB"):
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def encoded(image, form="png"):
    file = io.BytesIO()
    image.save(file, form)
    return file.getvalue()


def array_file(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def test_faces_are_the_first_half_in_256_levels(tmp_path, monkeypatch):
    values = np.random.default_rng(0).random((20, 25, 25))
    wheel = package(tmp_path, lfw_faces, {"lfw_subset.npy": array_file(values)}, monkeypatch)
    prepare("lfw_faces", data_dir=tmp_path / "data", source_path=wheel)
    source = tfds.data_source("lfw_faces", data_dir=tmp_path / "data")
    test = np.isin(np.arange(20), (0, 5, 10, 15))
    for split, chosen in (("train", ~test), ("test", test)):
        found = {(example["image"].tobytes(), int(example["label"])) for example in source[split]}
        levels = np.rint(values * 255).astype(np.uint8)
        assert found == {(levels[i].tobytes(), int(i < 10)) for i in np.flatnonzero(chosen)}
        assert source[split][0]["image"].shape == (25, 25, 1)


@pytest.mark.parametrize("shape", [(20, 24, 25), (21, 25, 25), (20, 625)])
def test_a_file_of_other_faces_is_refused(shape):
    with pytest.raises(InputError, match=r"lfw_subset.npy: has shape"):
        lfw_faces.parse(array_file(np.zeros(shape)))


def test_patches_of_photographs_are_jpeg_of_disjoint_parts(tmp_path, monkeypatch):
    sizes = [(400 + 10 * i, 300) for i in range(12)]
    pictures = {name: picture(i, *sizes[i], mode="L" if i % 2 else "RGB") for i, name in enumerate(photo_patches.FILES)}
    files = {name: encoded(image, "jpeg" if name.endswith("jpg") else "png") for name, image in pictures.items()}
    wheel = package(tmp_path, photo_patches, files, monkeypatch)
    prepare("photo_patches", data_dir=tmp_path / "data", source_path=wheel)
    for split, count in (("train", 40), ("test", 10)):
        source = open_source(Tfds("photo_patches", split=split, data_dir=str(tmp_path / "data")))
        batch = read_batch(source, range(len(source)))
        assert batch["image"].shape == (12 * count, 96, 96, 3)
        assert np.bincount(batch["label"]).tolist() == [count] * 12
        assert source.classes[7] == "hubble_deep_field"
        raw = open_source(Tfds("photo_patches", split=split, data_dir=str(tmp_path / "data"), decode=False))
        assert raw[0]["image"][:3] == b"\xff\xd8\xff"
    crops = RandomCropped(Tfds("photo_patches", data_dir=str(tmp_path / "data"), decode=False), size=48)
    assert Pipeline(source=crops, batch_size=4).open("train").at(0)["image"].shape == (4, 48, 48, 3)


@pytest.mark.parametrize(("width", "height"), [(384, 303), (451, 300), (1411, 1411)])
def test_no_pixel_is_in_both_parts_and_all_patches_differ(width, height):
    numbered = np.arange(width * height, dtype=np.uint32).reshape(height, width)[..., None].repeat(3, -1)
    parts = {split: photo_patches.patches(numbered, split) for split in ("train", "test")}
    assert {split: len(found) for split, found in parts.items()} == {"train": 40, "test": 10}
    pixels = {split: set(np.unique(np.stack(found)).tolist()) for split, found in parts.items()}
    assert not pixels["train"] & pixels["test"]
    for found in parts.values():
        assert all(patch.shape == (96, 96, 3) for patch in found)
        corners = [int(patch[0, 0, 0]) for patch in found]
        assert corners[0] in (0, width * 3 // 4)
    assert len({int(patch[0, 0, 0]) for patch in parts["train"]}) == 40


def test_stains_are_those_of_scikit_image():
    """`skimage.color.rgb2hed` of version 0.26.0."""
    colors = np.array(
        [[200, 120, 40], [10, 20, 30], [255, 255, 255], [90, 60, 140], [0, 128, 255], [150] * 3], np.uint8
    )
    expected = [
        [0.0, 0.0, 0.193813379],
        [0.334862008, 0.0, 0.088417094],
        [0.0, 0.0, 0.0],
        [0.108541222, 0.022029265, 0.01218186],
        [1.874694691, 0.0, 0.0],
        [0.046480292, 0.0, 0.033874089],
    ]
    np.testing.assert_allclose(ihc_patches.amount_of_stains(colors), expected, atol=1e-9)


def test_pure_stains_are_found():
    """The colour of each stain alone, by the law of Beer and Lambert, is that stain and no other."""
    for i in range(3):
        color = np.exp(np.log(1e-6) * 0.05 * ihc_patches.STAINS[i]) * 255
        amounts = ihc_patches.amount_of_stains(color)
        assert amounts == pytest.approx(np.eye(3)[i] * 0.05, abs=1e-6)


@pytest.fixture(scope="module")
def stained(tmp_path_factory):
    """Both sizes, made of a random picture, and the picture."""
    path = tmp_path_factory.mktemp("ihc")
    image = picture(5, 512, 512)
    with pytest.MonkeyPatch.context() as monkeypatch:
        wheel = package(path, ihc_patches, {"ihc.png": encoded(image)}, monkeypatch)
        assert prepare("ihc_patches", data_dir=path / "data", source_path=wheel) == path / "data/ihc_patches"
        assert prepare("ihc_patches", data_dir=path / "data", source_path=path / "missing") == path / "data/ihc_patches"
    return path / "data", np.asarray(image)


@pytest.mark.parametrize(("size", "train", "test"), [(64, 522, 145), (256, 78, 13)])
def test_patches_of_the_section(stained, size, train, test):
    folder, image = stained
    labels = {}
    for split, count in (("train", train), ("test", test)):
        source = open_source(Tfds(f"ihc_patches/{size}", split=split, data_dir=str(folder)))
        batch = read_batch(source, range(len(source)))
        assert batch["image"].shape == (count, size, size, 3)
        assert batch["stain"].shape == (count, size, size, 1)
        assert set(np.unique(batch["stain"])) <= {0, 1}
        labels[split] = batch["label"], batch["stain"].mean(axis=(1, 2, 3))
        if size == 64:  # every patch is where it should be, with its stain
            left, right = (224, 352) if split == "test" else (0, 224)
            first = next(i for i in range(count) if (batch["image"][i] == image[:64, left : left + 64]).all())
            dab = ihc_patches.amount_of_stains(batch["image"][first])[..., 2:]
            np.testing.assert_array_equal(batch["stain"][first], dab > 0.05)
            places = {image[y : y + 64, x : x + 64].tobytes() for y in range(449) for x in range(left, right - 63)}
            inside = sum(patch.tobytes() in places for patch in batch["image"])
            assert inside == (count if split == "test" else 11 * 29)
    median = np.median(labels["train"][1])
    for label, share in labels.values():
        np.testing.assert_array_equal(label, share > median)


def test_one_of_the_forms_has_to_be_named(stained):
    with pytest.raises(InputError, match=r"name: 'ihc_patches' has several forms \(ihc_patches/256 or ihc_patches/64"):
        Tfds("ihc_patches", data_dir=str(stained[0])).open()
    with pytest.raises(InputError, match=r"'ihc_patches/32' is not prepared in .*prepared: ihc_patches/256/1.0.0, "):
        Tfds("ihc_patches/32", data_dir=str(stained[0])).open()


def test_another_picture_is_refused():
    with pytest.raises(InputError, match=r"ihc.png: has shape \[64, 64, 3\]"):
        ihc_patches.parse(encoded(picture(0, 64, 64)))


def test_imports_neither_tensorflow_nor_jax():
    code = "import sys; from jaxai.data.builders import ihc_patches, lfw_faces, photo_patches\n"
    code += "assert not {'jax', 'tensorflow', 'skimage'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "train", "test"),
    [
        ("lfw_faces", [80, 80], [20, 20]),
        ("photo_patches", [40] * 12, [10] * 12),
        ("ihc_patches/64", [261, 261], [70, 75]),
        ("ihc_patches/256", [39, 39], [6, 7]),
    ],
)
def test_the_real_datasets(name, train, test):
    """Fetched where this is the first use; the counts of each class are those the builders document."""
    for split, counts in (("train", train), ("test", test)):
        source = Tfds(name, split=split).open()
        labels = [example["label"] for example in source.__getitems__(range(len(source)))]
        assert np.bincount(labels).tolist() == counts
