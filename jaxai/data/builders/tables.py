"""Datasets small enough to be made in memory: of each split a list of examples, each a dict of texts and numbers."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from jaxai.data.builders import writer

VERSION = "1.0.0"

Row = Mapping[str, Any]
#: Examples by the name of the split.
Splits = Mapping[str, Sequence[Row]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """What a dataset is called and what its examples hold."""

    name: str
    """That `Tfds` and `jaxai prepare` know it by."""
    description: str
    """In one sentence."""
    homepage: str
    """Where it is from."""
    features: Mapping[str, Any]
    """The features of tensorflow-datasets by field."""
    ordered: bool = False
    """The examples keep their order; otherwise tensorflow-datasets shuffles them by position, so slices are fair."""

    def prepare(self, data_dir: Path, make: Callable[[], Splits]) -> Path:
        """Writes the splits that `make` gives under `data_dir` unless they are there; returns their folder."""
        directory = data_dir / self.name / VERSION
        if writer.is_prepared(directory):
            return directory
        splits = {split: functools.partial(enumerate, rows) for split, rows in make().items()}
        return writer.write(writer.local_builder(self._builder(), self.name, splits), data_dir)

    def _builder(self) -> type:
        table = self

        class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
            """With the info of the table."""

            VERSION = tfds.core.Version(VERSION)

            def _info(self) -> tfds.core.DatasetInfo:
                return tfds.core.DatasetInfo(
                    builder=self,
                    description=table.description,
                    features=tfds.features.FeaturesDict(dict(table.features)),
                    homepage=table.homepage,
                    disable_shuffling=table.ordered,
                )

        return Builder


def words(text: str) -> str:
    """The words of a text in small letters and no more, by which texts are told apart."""
    return " ".join(re.findall(r"\w+", text.lower()))


def first_byte(key: str) -> int:
    """Of the sha256 of `key`: 0 to 255, by which examples are dealt to the splits."""
    return hashlib.sha256(key.encode()).digest()[0]


def is_test(key: str) -> bool:
    """Whether an example with this key is in the test split: one in five."""
    return first_byte(key) < 51


def train_and_test(rows: Mapping[str, Row]) -> Splits:
    """The split of examples by their keys."""
    return {
        "train": [row for key, row in rows.items() if not is_test(key)],
        "test": [row for key, row in rows.items() if is_test(key)],
    }
