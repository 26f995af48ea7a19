"""The dataset `digits`: 1,797 scans of handwritten digits, carried inside the package and written on first use.

The images are those of scikit-learn's `load_digits`: the test part of the UCI set "Optical recognition of handwritten
digits" (Alpaydin and Kaynak, 1998), 8x8 with values 0 to 16. They are stored as value * 15 (0 to 240) so that they look
right as 8-bit images; dividing by 15 gives the original back exactly. The split is fixed: ordered by class and, within
a class, by position in the original file, every fifth example (the first, the sixth, ...) is test.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from jaxai.data.builders import writer

NAME, VERSION = "digits", "1.0.0"
SCALE = 15


class Digits(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Images uint8 `[8, 8, 1]` and labels 0 to 9; 1,437 to train and 360 to test."""

    VERSION = tfds.core.Version(VERSION)
    name = NAME

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="1,797 handwritten digits, 8x8 pixels, values 0 to 16 times 15.",
            # Raw bytes decode more than twice as fast as PNG at this size.
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Tensor(shape=(8, 8, 1), dtype=np.uint8, encoding="bytes"),
                    "label": tfds.features.ClassLabel(num_classes=10),
                }
            ),
            supervised_keys=("image", "label"),
            homepage="https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits",
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        del dl_manager  # nothing is downloaded
        images, labels = load()
        test = is_test(labels)
        return {
            "train": self._generate_examples(images, labels, np.flatnonzero(~test)),
            "test": self._generate_examples(images, labels, np.flatnonzero(test)),
        }

    def _generate_examples(
        self, images: np.ndarray, labels: np.ndarray, positions: np.ndarray
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        for position in positions:
            yield int(position), {"image": images[position], "label": int(labels[position])}


def load() -> tuple[np.ndarray, np.ndarray]:
    """The embedded images, uint8 `[1797, 8, 8, 1]` of 0 to 240, and labels, uint8 `[1797]`, in the original order."""
    with np.load(Path(__file__).with_name("digits.npz")) as file:
        return file["images"][..., None] * np.uint8(SCALE), file["labels"]


def is_test(labels: np.ndarray) -> np.ndarray:
    """Which examples are in the test split, bool `[1797]`."""
    test = np.zeros(len(labels), bool)
    test[np.argsort(labels, kind="stable")[::5]] = True
    return test


def prepare(data_dir: Path) -> Path:
    """Writes the dataset under `data_dir` unless it is there; returns its folder."""
    directory = data_dir / NAME / VERSION
    if writer.is_prepared(directory):
        return directory
    return writer.write(Digits, data_dir)
